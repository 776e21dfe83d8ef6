//! Retries by the schedule, 406, exhaustion, disabling.

use std::time::Duration;

use protocol::v1::event::Kind;
use protocol::v1::{Event, QuotaChange, UpdateAccountRequest};
use testkit::proxy::{Manner, Proxy};
use testkit::verify::Verifier;
use testkit::{Received, Reply, eventually};

use crate::system::{SOON, System, alert, clicked, example, opened, payload_event_id};

/// What the signature block of a Send webhook says: timestamp and token.
fn block(post: &Received) -> (u64, String) {
    let signature = &post.json()["signature"];
    let timestamp = signature["timestamp"].as_str().expect("a string").parse().expect("seconds");
    (timestamp, signature["token"].as_str().expect("a token").to_owned())
}

#[tokio::test]
async fn retries_follow_the_schedule_with_new_signatures_and_the_same_event_id() {
    let system = System::start(&[("SEND_RETRY_SCHEDULE", "1s,1s,2s")]).await;
    let verifier = Verifier::start();
    let key = system.signing_keys("demo").await.http_signing_key;
    system.receiver.on_post("/hook", [500, 404, 204, 200].map(Reply::status));
    system
        .add_domain_webhook(
            "demo",
            "mail.demo.example",
            "clicked",
            &[&system.receiver.url("/hook")],
        )
        .await;
    system.publish(clicked("retried")).await;
    // 204 is not success in this family: only the fourth is taken.
    let posts = system.receiver.wait_for_posts("/hook", 4, SOON).await;
    let mut tokens = std::collections::BTreeSet::new();
    for (number, post) in (1..).zip(&posts) {
        verifier.assert_send(post, &key, None);
        assert_eq!(payload_event_id(&post.json()), "retried");
        assert_eq!(post.header("x-postrider-attempt"), Some(number.to_string().as_str()));
        assert_eq!(post.header("x-postrider-delivery"), posts[0].header("x-postrider-delivery"));
        tokens.insert(block(post).1);
    }
    assert_eq!(tokens.len(), 4, "every attempt has a token of its own");
    assert!(block(&posts[3]).0 >= block(&posts[0]).0 + 4, "the timestamp is that of the attempt");
    for (pair, wait) in posts.windows(2).zip([1000, 1000, 2000]) {
        let waited = (pair[1].at - pair[0].at).as_millis();
        // Never early; the broker's tick, a tenth of jitter and a busy machine make it late.
        assert!(waited >= wait, "{waited} ms after a wait of {wait} ms");
        assert!(waited <= wait + wait / 10 + 1500, "{waited} ms after a wait of {wait} ms");
    }
    system.wait_for_end("retried", "delivered").await;
    assert_eq!(system.receiver.posts("/hook").len(), 4);
}

#[tokio::test]
async fn a_406_stops_at_once_and_a_delivered_event_gets_one_try() {
    let system = System::start(&[]).await;
    system.receiver.on_post("/rejects", [Reply::status(406)]);
    system.receiver.on_post("/fails", [Reply::status(500)]);
    let url = system.receiver.url("/rejects");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&url]).await;
    let url = system.receiver.url("/fails");
    system.add_domain_webhook("demo", "mail.demo.example", "delivered", &[&url]).await;
    system.publish(clicked("rejected")).await;
    system.publish(Event { id: "one-try".into(), ..example("delivered") }).await;
    system.wait_for_end("rejected", "rejected").await;
    system.wait_for_end("one-try", "exhausted").await;
    assert_eq!(system.receiver.posts("/rejects").len(), 1);
    assert_eq!(system.receiver.posts("/fails").len(), 1);
    // What was not delivered keeps its body.
    assert_eq!(system.sql("SELECT count(*) FROM undelivered").trim(), "2");
}

#[tokio::test]
async fn a_fault_of_ours_is_not_charged_and_the_delivery_comes_back() {
    // Code 1 of a proxy: it is in trouble itself.
    let proxy = Proxy::start(Manner::Answers(1)).await;
    let url = format!("socks5://{}", proxy.address());
    let system = System::start(&[("EGRESS_PROXY", &url)]).await;
    let hook = system.receiver.url("/hook");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&hook]).await;
    system.publish(clicked("not-your-fault")).await;
    let tries = || {
        let query = "SELECT reason, charged, attempt FROM attempts ORDER BY started_at";
        system.sql(query).trim().to_owned()
    };
    eventually(SOON, "the first try to be told", || async { (!tries().is_empty()).then_some(()) })
        .await;
    assert_eq!(tries(), "egress_proxy|f|0");
    proxy.set(Manner::LetsThrough);
    let posts = system.receiver.wait_for_posts("/hook", 1, SOON).await;
    assert_eq!(posts[0].header("x-postrider-attempt"), Some("1"), "it has all its tries");
    system.wait_for_end("not-your-fault", "delivered").await;
    assert!(tries().ends_with("ok|t|1"), "{}", tries());
}

#[tokio::test]
async fn what_finds_a_full_backlog_ends_by_that_name_and_can_be_sent_again() {
    let extra = [("SEND_RETRY_SCHEDULE", "1h"), ("TARGET_BACKLOG", "3")];
    let system = System::start(&extra).await;
    system.receiver.on_post("/dead", [Reply::status(500)]);
    let dead = system.receiver.url("/dead");
    let well = system.receiver.url("/well");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&dead, &well]).await;
    for n in 0..5 {
        system.publish(clicked(&format!("event-{n}"))).await;
        system.receiver.wait_for_posts("/dead", n + 1, SOON).await;
        // Three wait; what comes then has its one try, and ends.
        let (waiting, ended) = ((n + 1).min(3), (n + 1).saturating_sub(3));
        eventually(SOON, &format!("event {n} to wait or to end"), || async {
            let count = |query: &str| system.sql(query).trim().parse::<usize>();
            let there = count("SELECT count(*) FROM attempts WHERE next_attempt_at IS NOT NULL");
            let ends = count(
                "SELECT count(*) FROM ends JOIN undelivered USING (delivery_id) \
                 WHERE ends.outcome = 'exhausted' AND ends.reason = 'target_backlog'",
            );
            (there == Ok(waiting) && ends == Ok(ended)).then_some(())
        })
        .await;
    }
    // Nobody else is touched by it.
    system.receiver.wait_for_posts("/well", 5, SOON).await;
}

#[tokio::test]
async fn what_finds_its_accounts_backlog_full_ends_by_that_name_and_disables_nothing() {
    let system = System::start(&[("SEND_RETRY_SCHEDULE", "1h"), ("ACCOUNT_BACKLOG", "50")]).await;
    system.create_account("other", None).await;
    system.create_domain("mail.other.example", "other").await;
    for path in ["/dead", "/alert"] {
        system.receiver.on_post(path, [Reply::status(500)]);
    }
    let dead = system.receiver.url("/dead");
    for (account, domain) in [("demo", "mail.demo.example"), ("other", "mail.other.example")] {
        system.add_domain_webhook(account, domain, "clicked", &[&dead]).await;
    }
    system.add_alert("demo", "ip_listed", &system.receiver.url("/alert")).await;
    let quota = |name: &str, limit| QuotaChange { name: name.into(), limit: Some(limit) };
    let request = UpdateAccountRequest {
        account_name: "demo".into(),
        contact_email: None,
        quotas: vec![quota("waiting_deliveries", 2)],
    };
    let account = system.admin().await.update_account(request).await.expect("updated");
    assert_eq!(account.into_inner().waiting_deliveries, Some(2));

    for n in 0..3 {
        system.publish(clicked(&format!("event-{n}"))).await;
        system.receiver.wait_for_posts("/dead", n + 1, SOON).await;
        eventually(SOON, "the try to be settled", || async {
            let tries = "SELECT count(*) FROM attempts";
            (system.sql(tries).trim() == (n + 1).to_string()).then_some(())
        })
        .await;
    }
    system.publish(alert("alert")).await;
    for id in ["event-2", "alert"] {
        system.wait_for_end(id, "exhausted").await;
        let query = format!(
            "SELECT reason FROM ends JOIN undelivered USING (delivery_id) \
             JOIN events USING (event_key) WHERE event_id = '{id}'"
        );
        assert_eq!(system.sql(&query).trim(), "account_backlog", "its body is kept");
    }
    assert!(system.alert_settings("demo").await["events"][0]["disabled_at"].is_null());

    // Another account has a backlog of its own.
    system.publish(Event { domain: "mail.other.example".into(), ..clicked("others") }).await;
    eventually(SOON, "it to wait", || async {
        let waits = "SELECT count(*) FROM attempts JOIN events USING (event_key) \
                     WHERE event_id = 'others' AND next_attempt_at IS NOT NULL";
        (system.sql(waits).trim() == "1").then_some(())
    })
    .await;
}

#[tokio::test]
async fn alerts_that_find_their_targets_backlog_full_disable_nothing() {
    let system = System::start(&[("ALERTS_RETRY_SCHEDULE", "1h"), ("TARGET_BACKLOG", "2")]).await;
    system.receiver.on_post("/alert", [Reply::status(500)]);
    system.add_alert("demo", "ip_listed", &system.receiver.url("/alert")).await;
    for n in 0..8 {
        let id = format!("alert-{n}");
        system.publish(alert(&id)).await;
        // Of a setting that were disabled nothing more would be sent.
        system.receiver.wait_for_posts("/alert", n + 1, SOON).await;
        if n < 2 {
            eventually(SOON, "it to wait", || async {
                let waits = "SELECT count(*) FROM attempts WHERE next_attempt_at IS NOT NULL";
                (system.sql(waits).trim() == (n + 1).to_string()).then_some(())
            })
            .await;
        } else {
            system.wait_for_end(&id, "exhausted").await;
        }
    }
    let reasons = "SELECT DISTINCT reason FROM ends WHERE outcome = 'exhausted'";
    assert_eq!(system.sql(reasons).trim(), "target_backlog");
    assert!(system.alert_settings("demo").await["events"][0]["disabled_at"].is_null());
}

#[tokio::test]
async fn an_alert_that_is_exhausted_is_disabled_and_nothing_more_is_sent() {
    let system = System::start(&[("ALERTS_RETRY_SCHEDULE", "1s,1s")]).await;
    system.receiver.on_post("/alert", [Reply::status(503)]);
    let id = system.add_alert("demo", "ip_listed", &system.receiver.url("/alert")).await;
    system.publish(alert("first")).await;
    system.receiver.wait_for_posts("/alert", 3, SOON).await;
    let disabled_at = eventually(SOON, "the alert to be disabled", || async {
        let setting = system.alert_settings("demo").await["events"][0].clone();
        assert_eq!(setting["id"], id.as_str());
        setting["disabled_at"].as_str().map(str::to_owned)
    })
    .await;
    assert!(disabled_at.contains('T'), "{disabled_at}");

    // The list shows it a moment before fanout knows: publish until it does.
    let verdict = async |id: &str| {
        system.publish(alert(id)).await;
        let query = format!(
            "SELECT verdict FROM routing_decisions JOIN events USING (event_key) WHERE event_id = '{id}'"
        );
        eventually(SOON, &format!("the decision about {id}"), || async {
            Some(system.sql(&query).trim().to_owned()).filter(|verdict| !verdict.is_empty())
        })
        .await
    };
    for number in 0.. {
        if verdict(&format!("early-{number}")).await == "disabled" {
            break;
        }
    }
    let before = system.receiver.posts("/alert").len();
    assert_eq!(verdict("second").await, "disabled");
    assert_eq!(system.receiver.posts("/alert").len(), before, "a disabled alert was sent");

    // Saving it again validates the URL by GET and enables it.
    system.receiver.on_post("/alert", [Reply::status(204)]);
    system.save_alert("demo", &id, "ip_listed", &system.receiver.url("/alert")).await;
    system.publish(alert("third")).await;
    let posts = system.receiver.wait_for_posts("/alert", before + 1, SOON).await;
    assert_eq!(payload_event_id(&posts[before].json()), "third");
}

#[tokio::test]
async fn a_slow_receiver_keeps_its_lease_and_is_asked_once() {
    // The lease is three seconds; the receiver takes seven.
    let system = System::start(&[("EGRESS_TIMEOUT", "20s")]).await;
    system.receiver.on_post("/slow", [Reply::status(200).after(Duration::from_secs(7))]);
    system
        .add_domain_webhook(
            "demo",
            "mail.demo.example",
            "clicked",
            &[&system.receiver.url("/slow")],
        )
        .await;
    system.publish(clicked("slow")).await;
    system.wait_for_end("slow", "delivered").await;
    assert_eq!(system.receiver.posts("/slow").len(), 1);
}

#[tokio::test]
async fn redirects_are_not_followed_and_private_addresses_are_refused() {
    let system = System::start(&[("SEND_RETRY_SCHEDULE", "1s")]).await;
    system.receiver.on_post("/moved", [Reply::redirect(302, &system.receiver.url("/secret"))]);
    system
        .add_domain_webhook(
            "demo",
            "mail.demo.example",
            "clicked",
            &[&system.receiver.url("/moved")],
        )
        .await;
    system.publish(clicked("moved")).await;
    system.wait_for_end("moved", "exhausted").await;
    assert!(system.receiver.posts("/secret").is_empty());

    // A name and a literal that lead to loopback, saved while that was allowed.
    let mut strict = System::start(&[
        ("SEND_RETRY_SCHEDULE", "1s"),
        ("EGRESS_ALLOW_CIDRS", "127.0.0.0/8,::1/128"),
    ])
    .await;
    let port = strict.receiver.address().port();
    for (id, host) in [("clicked", "localhost"), ("opened", "127.0.0.1")] {
        let url = format!("http://{host}:{port}/private");
        strict.add_domain_webhook("demo", "mail.demo.example", id, &[&url]).await;
    }
    strict.set("EGRESS_ALLOW_CIDRS", "192.0.2.0/24");
    strict.process("all").terminate(SOON).await;
    strict.run("all", None).await;
    strict.publish(clicked("by-name")).await;
    strict.publish(opened("by-literal")).await;
    strict.wait_for_end("by-name", "exhausted").await;
    strict.wait_for_end("by-literal", "exhausted").await;
    assert!(strict.receiver.requests().is_empty(), "a private address was reached");
    let reasons = strict.sql("SELECT DISTINCT reason FROM attempts");
    assert_eq!(reasons.trim(), "blocked");
    for literal in ["127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"] {
        let url = format!("http://{literal}:{port}/private");
        let request = testkit::http::post(strict.url("/v3/domains/mail.demo.example/webhooks"));
        let request =
            request.basic_auth("api", "key-demo").form(&[("id", "complained"), ("url", &url)]);
        request.send().await.expect("answered").expect_status(400);
        let body = serde_json::json!({"event_type": "ip_listed", "channel": "webhook", "settings": {"url": url}});
        let request = testkit::http::post(strict.url("/v1/alerts/settings/events"));
        let request = request.basic_auth("api", "key-demo").json(&body);
        request.send().await.expect("answered").expect_status(400);
    }
    assert!(strict.receiver.requests().is_empty(), "a private address was reached");
}

/// Its target is left alone for a minute; the schedule's time is over in two seconds.
#[tokio::test]
async fn what_waits_for_its_target_ends_when_its_schedules_time_is_up() {
    let extra = [
        ("SEND_RETRY_SCHEDULE", "1s"),
        ("EGRESS_CONNECT_TIMEOUT", "100ms"),
        ("EGRESS_TIMEOUT", "100ms"),
    ];
    let system = System::start(&extra).await;
    let url = system.receiver.url("/busy");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&url]).await;
    system.receiver.on_post("/busy", [Reply::status(429).header("Retry-After", "60")]);
    system.publish(clicked("opens")).await;
    system.receiver.wait_for_posts("/busy", 1, SOON).await;
    let waits = std::time::Instant::now();
    system.publish(clicked("waits")).await;
    system.wait_for_end("waits", "exhausted").await;
    assert!(waits.elapsed() < Duration::from_secs(20), "{:?}", waits.elapsed());
    let reason = "SELECT ends.reason FROM ends JOIN events USING (event_key) \
                  WHERE event_id = 'waits'";
    assert_eq!(system.sql(reason).trim(), "breaker_open");
    assert_eq!(system.receiver.posts("/busy").len(), 1);
}

/// Of sixty deliveries that are large, a dispatcher has no more in work than it has room
/// for, however many slots there are.
#[tokio::test]
async fn large_deliveries_take_their_room() {
    const COUNT: usize = 30;
    const PARTS: usize = 50;
    const PART_BYTES: usize = 4_000;
    let system = System::start(&[("DISPATCHER_BYTES", "1MiB"), ("FANOUT_BYTES", "1MiB")]).await;
    let url = system.receiver.url("/large");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&url]).await;
    // A target that has taken something may have all slots at once.
    system.publish(clicked("first")).await;
    system.receiver.wait_for_posts("/large", 1, SOON).await;
    // All could be handed over in the time that one of them takes.
    system.receiver.on_post("/large", [Reply::status(200).after(Duration::from_millis(2_000))]);
    for n in 0..COUNT {
        let mut event = clicked(&format!("large-{n}"));
        let Some(Kind::Clicked(clicked)) = &mut event.kind else { panic!("another kind") };
        let labels = clicked.labels.get_or_insert_default();
        labels.user_variables =
            (0..PARTS).map(|part| (format!("part-{part}"), "x".repeat(PART_BYTES))).collect();
        system.publish(event).await;
    }
    system.receiver.wait_for_posts("/large", COUNT + 1, SOON).await;
    // Five fit; a pull goes beyond by one message, and a second one may be on its way.
    let most = system.receiver.most_at_once("/large");
    assert!((3..=12).contains(&most), "{most} at once");
}
