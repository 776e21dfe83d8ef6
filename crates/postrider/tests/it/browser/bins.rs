//! The request bin's pages.

use testkit::http::get;
use testkit::{Browser, Look, free_port};

use super::{axe, looked_at};
use crate::system::System;

#[tokio::test(flavor = "multi_thread")]
async fn a_bin_is_for_everybody_in_both_themes_on_both_widths() {
    let bin = format!("127.0.0.1:{}", free_port().expect("a free port"));
    let mut system = System::start(&[("REQUEST_BIN_ADDR", &bin)]).await;
    system.run("request-bin", None).await;
    let (axe, browser) = tokio::join!(axe(), Browser::start());
    // Each width and each theme; what is of both together is of one of them.
    for (width, look, dark) in [("phone", Look::PHONE, true), ("desk", Look::DESK, false)] {
        let page = browser.page(Look { dark, ..look }).await;
        let name = format!("{width}-{}", if dark { "dark" } else { "light" });
        page.go(&format!("http://{bin}/")).await;
        looked_at(&page, &axe, &format!("bins-{name}")).await;
        page.click_to(".main-action").await;
        looked_at(&page, &axe, &format!("bin-empty-{name}")).await;
        let url = page.eval("document.querySelector('.copy').textContent").await;
        let url = url.as_str().expect("a URL");
        let hostile = "<script>document.title='taken'</script>\u{202e}".repeat(50);
        for request in [
            get(format!("{url}/%3Cimg%20src=x%20onerror=alert(1)%3E?a=%22%3E%3Cscript%3E")),
            testkit::http::post(url.to_owned()).form(&[("event", hostile.as_str())]),
        ] {
            request.header("x-hostile", "\"><svg onload=alert(1)>").send().await.expect("taken");
        }
        page.go(page.eval("location.href").await.as_str().expect("a URL")).await;
        looked_at(&page, &axe, &format!("bin-{name}")).await;
        page.click_to("main a[href*='/requests/']").await;
        looked_at(&page, &axe, &format!("bin-request-{name}")).await;
        assert_ne!(page.eval("document.title").await, "taken");
        assert_eq!(page.complaints(), [""; 0], "{name}");
    }
}
