//! The ways through the console: with scripts and without, on a phone and on a desk.

use testkit::{Browser, Look, Page, Reply};

use super::{furnished, sign_in};
use crate::system::{SOON, System};

/// Both widths, with scripts and without.
const LOOKS: [Look; 3] = [Look::PHONE, Look::DESK, Look { scripts: false, ..Look::PHONE }];

/// Panics unless the page says this.
async fn says(page: &Page, text: &str) {
    let found = page.text().await;
    assert!(found.contains(text), "{text:?} is not in {found}");
}

/// Opens what is folded away, and ticks its box.
async fn make_sure(page: &Page, summary: &str) {
    page.click(&format!("{summary} summary")).await;
    page.click(&format!("{summary} [name=sure]")).await;
}

/// Sends a test from the page that is open, and waits for the answer.
async fn test(page: &Page, look: Look) {
    if look.scripts {
        page.click("[name=test]").await;
        let answered = "new Promise(done => { const look = () => document.querySelector('#answer')\
            .textContent ? done(true) : setTimeout(look, 20); look(); })";
        page.eval(answered).await;
    } else {
        page.click_to("[name=test]").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_added_tested_changed_paused_and_deleted() {
    let ((system, _mailbox), browser) = tokio::join!(furnished(), Browser::start());
    system.receiver.on_post("/flow", [Reply::status(418).body("<b>no</b>")]);
    for (number, look) in LOOKS.into_iter().enumerate() {
        let page = browser.page(look).await;
        sign_in(&page, &system, "key-demo").await;
        page.click_to(".sections a[href='/console/webhooks']").await;
        page.click("[popovertarget=add]").await;
        let url = system.receiver.url(&format!("/flow?{number}"));
        // What is wrong is told beside what was typed.
        page.write("[name=url]", &url).await;
        page.click("[value=account]").await;
        page.write("[name=description]", "Made in a browser").await;
        page.click_to(".draft .main-action").await;
        says(&page, "Choose at least one event").await;
        let kept = page.eval("document.querySelector('[name=url]').value").await;
        assert_eq!(kept, url.as_str());
        page.click("[name=event_types][value=clicked]").await;
        page.click_to(".draft .main-action").await;
        says(&page, "The webhook is there").await;

        test(&page, look).await;
        says(&page, "418").await;
        says(&page, "<b>no</b>").await;
        page.click("[name=event_types][value=opened]").await;
        page.click_to("[name=save]").await;
        says(&page, "Saved").await;
        page.click_to("[name=pause]").await;
        says(&page, "Held since").await;
        page.click_to("[name=resume]").await;
        says(&page, "Resumed").await;
        page.go(&system.url("/console/webhooks?search=made+in+a+browser")).await;
        says(&page, "opened").await;
        page.click_to("tbody td a").await;
        page.click("details summary").await;
        page.click_to("[name=delete]").await;
        says(&page, "Tick the box").await;
        make_sure(&page, "details").await;
        page.click_to("[name=delete]").await;
        says(&page, "The webhook is deleted").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_added_tested_enabled_again_and_deleted() {
    let ((system, mailbox), browser) = tokio::join!(furnished(), Browser::start());
    for look in LOOKS {
        let page = browser.page(look).await;
        sign_in(&page, &system, "key-demo").await;
        page.click_to(".sections a[href='/console/alerts']").await;
        system.sql(
            "UPDATE alert_settings SET disabled_at = now(), disabled_reason = 'schedule' \
             WHERE channel = 'webhook'",
        );
        page.go(&system.url("/console/alerts")).await;
        says(&page, "All attempts of its schedule failed").await;
        // Its receiver answers nothing to a GET: it stays disabled.
        system.receiver.on_get("/hook", [Reply::status(500), Reply::status(200)]);
        page.click_to("[name=enable]").await;
        says(&page, "did not return a 200 response").await;
        page.click_to("[name=enable]").await;
        says(&page, "Enabled again").await;

        page.click("[popovertarget=add]").await;
        page.click("[value=email]").await;
        page.eval("document.querySelector('[name=event_type]').value = 'validation_job'").await;
        page.write("[name=emails]", "one@demo.example\ntwo@demo.example").await;
        page.click_to(".draft .main-action").await;
        says(&page, "The alert is there").await;
        test(&page, look).await;
        says(&page, "test alert sent to 2 addresses").await;
        make_sure(&page, "details").await;
        page.click_to("[name=delete]").await;
        says(&page, "The alert is deleted").await;

        page.write("[name=contact_email]", "owner@demo.example").await;
        page.click_to("[action$=contact] button").await;
        says(&page, "Saved").await;
    }
    drop(mailbox);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_found_and_sent_again() {
    let ((system, _mailbox), browser) = tokio::join!(furnished(), Browser::start());
    for (number, look) in LOOKS.into_iter().enumerate() {
        let page = browser.page(look).await;
        sign_in(&page, &system, "key-demo").await;
        page.click_to(".sections a[href='/console/failures']").await;
        says(&page, "500").await;
        page.write("[name=status]", "500").await;
        page.click_to("form .main-action").await;
        page.click_to("tbody td a").await;
        says(&page, "exhausted").await;
        let text = page.eval("document.querySelector('.timeline pre').textContent").await;
        assert_eq!(text, "<b>busy</b>");
        // Its receiver is well again, and what is sent arrives there.
        let (before, path) = (system.receiver.posts("/broken").len(), "/broken");
        system.receiver.on_post(path, [Reply::status(if number == 2 { 200 } else { 500 })]);
        page.click_to("form.row.apart .main-action").await;
        says(&page, "One delivery was sent again").await;
        system.receiver.wait_for_posts(path, before + 1, SOON).await;
        if number < 2 {
            let ends = "SELECT count(*) FROM ends WHERE outcome = 'exhausted'";
            testkit::eventually(SOON, "its end", || async {
                (system.sql(ends).trim() == (number + 2).to_string()).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_shown_replaced_made_and_revoked() {
    let ((system, _mailbox), browser) = tokio::join!(furnished(), Browser::start());
    for look in LOOKS {
        let page = browser.page(look).await;
        sign_in(&page, &system, "key-demo").await;
        page.click_to(".sections a[href='/console/security']").await;
        assert_eq!(page.eval("document.querySelector('.copy')").await, serde_json::Value::Null);
        let shown = "document.querySelector('.copy').textContent";
        page.click_to("[name=show]").await;
        let first = page.eval(shown).await;
        let key = testkit::http::get(system.url("/v5/accounts/http_signing_key"));
        let key = key.basic_auth("api", "key-demo").send().await.expect("answered").json();
        assert_eq!(first, key["http_signing_key"]);
        let http = "section[aria-labelledby=key-http] details";
        make_sure(&page, http).await;
        page.click_to(&format!("{http} [name=regenerate]")).await;
        says(&page, "There is a new key").await;
        says(&page, "The key before this one signs as well until").await;
        page.click_to("[name=show]").await;
        assert_ne!(page.eval(shown).await, first);

        page.click("details.apart summary").await;
        page.write("[name=description]", "For a browser").await;
        page.click_to("[name=create_key]").await;
        says(&page, "it is not shown again").await;
        page.go(&system.url("/console/security")).await;
        assert_eq!(page.eval("document.querySelector('.copy')").await, serde_json::Value::Null);
        let last = "tr:has(.over)";
        make_sure(&page, last).await;
        page.click_to(&format!("{last} [name=revoke]")).await;
        says(&page, "opens nothing any more").await;
        page.click_to("[aria-labelledby=pii] [name=redact]").await;
        says(&page, "for all its domains and subaccounts").await;
        page.click_to("[aria-labelledby=pii] [name=reveal]").await;

        page.click_to(".sections a[href='/console/domains']").await;
        page.click("[popovertarget=add]").await;
        page.write("dialog [name=name]", "new.demo.example").await;
        page.click_to("[name=create]").await;
        says(&page, "The domain is there").await;
        let row = "tr:has([value='new.demo.example'])";
        page.click_to(&format!("{row} [name=redact]")).await;
        says(&page, "redacted").await;
        make_sure(&page, row).await;
        page.click_to(&format!("{row} [name=delete]")).await;
        says(&page, "The domain is deleted").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_look_is_shown_nothing_else() {
    let ((system, _mailbox), browser) = tokio::join!(furnished(), Browser::start());
    let basic = make_key(&system, "basic").await;
    let developer = make_key(&system, "developer").await;
    let page = browser.page(Look::DESK).await;
    sign_in(&page, &system, &basic).await;
    let buttons = "[...document.querySelectorAll('main :is(button, dialog, form[method=post])')]\
        .filter(it => !it.closest('[role=search]')).map(it => it.outerHTML)";
    for path in ["webhooks", "webhooks/new", "alerts", "alerts/new", "domains"] {
        page.go(&system.url(&format!("/console/{path}"))).await;
        let found = page
            .eval(&buttons.replace("'main :is(button,", "'main :is(button:not([role=search] *),"))
            .await;
        assert_eq!(found, serde_json::json!([]), "{path}");
    }
    for list in ["webhooks", "alerts"] {
        page.go(&system.url(&format!("/console/{list}"))).await;
        page.click_to("tbody td a").await;
        assert_eq!(page.eval(buttons).await, serde_json::json!([]), "one of {list}");
    }
    page.go(&system.url("/console/security")).await;
    says(&page, "Your API key may not see it").await;
    let found = page.eval("document.querySelectorAll('main button').length").await;
    assert_eq!(found, 0, "security");

    let page = browser.page(Look::DESK).await;
    sign_in(&page, &system, &developer).await;
    page.go(&system.url("/console/security")).await;
    let names = page.eval("[...document.querySelectorAll('main button')].map(it => it.name)").await;
    let expected = ["show", "regenerate", "show", "regenerate", "redact"];
    assert_eq!(names, serde_json::json!(expected));
}

async fn make_key(system: &System, role: &str) -> String {
    let request = testkit::http::post(system.url("/v1/keys")).basic_auth("api", "key-demo");
    let made = request.form(&[("role", role)]).send().await.expect("answered").expect_status(200);
    made.json()["key"]["secret"].as_str().expect("a key").to_owned()
}
