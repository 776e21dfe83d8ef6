//! How deliveries go, as visitors see it: figures, events, failures, sending again.

use protocol::v1::Event;
use protocol::v1::event::Kind;
use testkit::{Reply, eventually, http};

use super::Visitor;
use crate::system::{SOON, System, clicked, example, opened};

const DOMAIN: &str = "mail.demo.example";
const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>";

/// A system in which `demo` has clicks delivered, while opens are answered with 500 by
/// the other URL until their one retry is over. Both are in history.
async fn start() -> System {
    let system = System::start(&[("SEND_RETRY_SCHEDULE", "1s")]).await;
    let (good, bad) = (system.receiver.url("/good"), system.receiver.url("/bad"));
    system.receiver.on_post("/good", [Reply::status(200)]);
    system.receiver.on_post("/bad", [Reply::status(500).body(HOSTILE)]);
    system.add_domain_webhook("demo", DOMAIN, "clicked", &[&good]).await;
    system.add_domain_webhook("demo", DOMAIN, "opened", &[&bad]).await;
    system.publish(clicked("click-1")).await;
    system.publish(opened("open-1")).await;
    system.wait_for_end("click-1", "delivered").await;
    system.wait_for_end("open-1", "exhausted").await;
    system
}

/// The page says this by and by.
async fn says(visitor: &mut Visitor, path: &str, wanted: &str) {
    let request = || visitor.get(path);
    eventually(SOON, &format!("{wanted:?} on {path}"), || {
        let request = request();
        async move {
            let page = request.send().await.ok()?.expect_status(200).text();
            page.contains(wanted).then_some(())
        }
    })
    .await;
    visitor.look(path).await;
}

#[tokio::test]
async fn the_overview_tells_how_the_account_is_doing() {
    let system = start().await;
    let mut visitor = Visitor::signed_in(&system, "key-demo").await;
    let shown = system.receiver.url("/bad");
    says(&mut visitor, "/console", &format!(">{shown}</a>")).await;
    let page = visitor.look("/console").await.to_owned();
    for wanted in [
        "<h2>Delivered</h2><p>1</p><small>1 not delivered</small>",
        "<h2>Success rate</h2><p>50 %</p><small>33.33 % of tries</small>",
        "<title>",
        "class=\"bad\"",
        "delivered: 1",
        "not delivered: 1",
        "1 failed, not sent again",
        "<span class=\"tag bad\">status</span>",
        "hx-get=\"/console/live?range=24h\"",
    ] {
        assert!(page.contains(wanted), "{wanted}\n{page}");
    }
    for range in ["1h", "24h", "7d", "30d", "90d", "nonsense"] {
        let page = visitor.look(&format!("/console?range={range}")).await;
        assert!(page.contains("<p>1</p><small>1 not delivered</small>"), "{range}");
    }
    // What is fetched anew is a part of the page, and not a page in it.
    let part = visitor.look("/console/live?range=7d").await;
    assert!(part.starts_with("<div") && !part.contains("<main"), "{part}");
    // Somebody else sees nothing of it.
    system.create_account("other", None).await;
    let mut other = Visitor::signed_in(&system, "key-other").await;
    let page = other.look("/console").await;
    assert!(page.contains("<h2>Delivered</h2><p>0</p>") && !page.contains(&shown), "{page}");
}

#[tokio::test]
async fn an_event_is_found_its_journey_told_and_sent_again() {
    let system = start().await;
    let mut visitor = Visitor::signed_in(&system, "key-demo").await;
    says(&mut visitor, "/console/events", "open%2D1").await;
    let page = visitor.look("/console/events?event=clicked").await;
    assert!(page.contains("/console/events/click%2D1?event_type=clicked"), "{page}");
    assert!(!page.contains("open%2D1") && page.contains("<option selected>clicked</option>"));
    let answer = visitor.send(visitor.get("/console/events?id=open-1")).await.expect_status(303);
    assert_eq!(answer.header("location"), Some("/console/events/open%2D1"));
    let wrong = visitor.get("/console/events?size=big");
    assert!(visitor.send(wrong).await.expect_status(400).text().contains("role=\"alert\""));

    let path = "/console/events/open%2D1";
    let page = visitor.look(path).await.to_owned();
    for wanted in [
        "<strong>Try 1</strong>",
        "<strong>Try 2</strong>",
        "answered 500",
        "<strong>Ended</strong> <span class=\"tag bad\">exhausted</span>",
        "Send this one again",
        "&#34;opened&#34;",
        "<span class=\"tag good\">chosen</span>",
    ] {
        assert!(page.contains(wanted), "{wanted}\n{page}");
    }
    // What the receiver answered is text.
    assert!(page.contains("&#60;script&#62;alert(1)"), "{page}");
    assert!(!page.contains("<script>alert") && !page.contains("<img src=x"), "{page}");

    system.receiver.on_post("/bad", [Reply::status(200)]);
    let resend = format!("{path}/resend");
    let fields = [("event_type", "opened")];
    let answer = visitor.submit(&resend, &fields).await.expect_status(303);
    let to = answer.header("location").expect("leads on").to_owned();
    assert_eq!(to, format!("{path}?event_type=opened&sent=1&not_sent=0"));
    assert!(visitor.look(&to).await.contains("One delivery was sent again."));
    says(&mut visitor, path, ", sent again once").await;
    says(&mut visitor, path, "<span class=\"tag good\">delivered</span>").await;
    // The delivery itself was sent again, and is not a second time.
    let delivery = visitor.page.split("<code>").nth(1).expect("an id");
    let delivery = delivery.split('<').next().expect("the end").to_owned();
    let fields = [("event_type", "opened"), ("delivery_id", delivery.as_str())];
    let answer = visitor.submit(&resend, &fields).await.expect_status(409);
    assert!(answer.text().contains("role=\"alert\""), "{}", answer.text());
}

#[tokio::test]
async fn failures_are_listed_and_what_was_not_delivered_is_sent_again() {
    let system = start().await;
    let mut visitor = Visitor::signed_in(&system, "key-demo").await;
    let bad = system.receiver.url("/bad");
    says(&mut visitor, "/console/failures?status=500", "Send again</button>").await;
    let page = visitor.look("/console/failures").await.to_owned();
    assert!(page.contains(&bad) && page.contains("/console/events/open%2D1?event_type=opened"));
    assert!(page.contains("&#60;script&#62;") && !page.contains("<script>alert"), "{page}");
    assert!(visitor.look("/console/failures?status=404").await.contains("Nothing meets"));
    let wrong = visitor.get("/console/failures?status=x");
    let wrong = visitor.send(wrong).await.expect_status(400).text();
    assert!(wrong.contains("status must be an HTTP status"), "{wrong}");

    says(&mut visitor, "/console/resends", "exhausted at").await;
    assert!(visitor.page.contains(&format!("name=\"url\" value=\"{bad}\"")), "{}", visitor.page);
    // One a second, so that it can be stopped.
    for number in 2..8 {
        system.publish(opened(&format!("open-{number}"))).await;
    }
    // In whatever order: their waits differ, and a job takes what history has by then.
    for number in 2..8 {
        system.wait_for_end(&format!("open-{number}"), "exhausted").await;
    }
    system.receiver.on_post("/bad", [Reply::status(200)]);
    let none = visitor.submit("/console/resends", &[("url", &bad)]).await.expect_status(400);
    assert!(none.text().contains("outcomes: at least one"), "{}", none.text());
    visitor.look("/console/resends").await;
    let fields = [("url", bad.as_str()), ("outcome", "exhausted"), ("per_second", "1")];
    visitor.submit("/console/resends", &fields).await.expect_status(303);
    let page = visitor.look("/console/resends").await.to_owned();
    assert!(page.contains("hx-get=\"/console/resends/jobs\""), "{page}");
    assert!(page.contains("<progress max="), "{page}");
    let (_, rest) = page.split_once("action=\"/console/resends/").expect("a job");
    let job = format!("/console/resends/{}", rest.split('"').next().expect("the end"));
    for (state, shown) in
        [("paused", "Go on</button>"), ("running", "Pause</button>"), ("cancelled", ">cancelled<")]
    {
        visitor.submit(&job, &[("state", state)]).await.expect_status(303);
        let page = visitor.look("/console/resends").await;
        assert!(page.contains(shown), "{state}: {page}");
    }
    visitor.submit(&job, &[("state", "running")]).await.expect_status(409);
    visitor.look("/console/resends").await;
    visitor.submit("/console/resends", &[("outcome", "exhausted")]).await.expect_status(303);
    says(&mut visitor, "/console/resends", ">done<").await;
    says(&mut visitor, "/console/resends", "everything has arrived, or was sent again").await;
}

#[tokio::test]
async fn who_may_only_look_sees_everything_and_sends_nothing() {
    let system = start().await;
    let made = http::post(system.url("/v1/keys")).basic_auth("api", "key-demo");
    let made = made.form(&[("role", "basic")]).send().await.expect("answered");
    let key = made.expect_status(200).json()["key"]["secret"].as_str().expect("a key").to_owned();
    let mut visitor = Visitor::signed_in(&system, &key).await;
    says(&mut visitor, "/console/failures", "open%2D1").await;
    for path in ["/console", "/console/failures", "/console/resends", "/console/events/open%2D1"] {
        let page = visitor.look(path).await;
        assert!(
            !page.contains("Send again</button>") && !page.contains("again</button>"),
            "{path}"
        );
    }
    for (path, fields) in [
        ("/console/events/open%2D1/resend", &[("all", "on")][..]),
        ("/console/resends", &[("outcome", "held")][..]),
    ] {
        let answer = visitor.submit(path, fields).await;
        assert_eq!(answer.status, 403, "{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn whatever_an_event_says_is_text() {
    let system = System::start(&[]).await;
    let hostile = |kind: Kind| match kind {
        Kind::Clicked(mut clicked) => {
            clicked.url = format!("https://a.example/{HOSTILE}");
            let headers = clicked.message.as_mut().and_then(|message| message.headers.as_mut());
            if let Some(headers) = headers {
                headers.subject = HOSTILE.to_owned();
            }
            Kind::Clicked(clicked)
        }
        other => other,
    };
    let id = format!("{HOSTILE}/..%2f");
    let event = Event { id: id.clone(), ..example("clicked") };
    let kind = event.kind.clone().map(hostile);
    system.publish(Event { kind, ..event }).await;
    let mut visitor = Visitor::signed_in(&system, "key-demo").await;
    says(&mut visitor, "/console/events", "&#60;script&#62;alert(1)").await;
    let found = visitor.get(&format!("/console/events?id={}", "%3Cscript%3E"));
    let to = visitor.send(found).await.expect_status(303);
    assert_eq!(to.header("location"), Some("/console/events/%3Cscript%3E"));
    let (_, rest) = visitor.page.split_once("href=\"/console/events/").expect("a link");
    let path = format!("/console/events/{}", rest.split('"').next().expect("the end"));
    for asked in [
        "/console/events?subject=script&tags=%22%3E%3Cscript%3Ealert(3)",
        path.as_str(),
        "/console/failures?url=%22%3E%3Cscript%3Ealert(3)",
        "/console/failures?reason=%22%3E%3Cscript%3Ealert(3)&page=%3Cscript%3E",
        "/console?range=%22%3E%3Cscript%3Ealert(3)",
    ] {
        let page = visitor.send(visitor.get(asked)).await.text();
        assert!(page.contains("</html>"), "{asked}: {page}");
        let lower = page.to_lowercase();
        // The one script is ours.
        assert_eq!(lower.matches("<script").count(), 1, "{page}");
        assert!(!lower.contains("<img src=x") && !lower.contains("<b>"), "{page}");
    }
    let nobody = visitor.get("/console/events/nobody");
    visitor.send(nobody).await.expect_status(404);
}
