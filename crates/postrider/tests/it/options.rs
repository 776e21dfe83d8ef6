//! Deliveries as accounts want them: held, with headers of their own, under
//! policies of their own, as forms; and sent again.

use serde_json::{Value, json};
use testkit::verify::Verifier;
use testkit::{Reply, eventually, http};

use crate::system::{SOON, System, alert, clicked, payload_event_id};

const DOMAIN: &str = "mail.demo.example";

async fn call(system: &System, method: &str, path: &str, body: &Value) -> Value {
    let url = system.url(path);
    let request = if method == "POST" { http::post(url) } else { http::put(url) };
    let request = request.basic_auth("api", "key-demo").json(body);
    request.send().await.expect("answered").expect_status(200).json()
}

async fn pause(system: &System, url: &str, paused: bool) {
    let body = json!({"url": url, "paused": paused});
    call(system, "PUT", "/postrider/v1/urls/paused", &body).await;
}

async fn undelivered(system: &System) -> Value {
    let request = http::get(system.url("/postrider/v1/undelivered"));
    let request = request.basic_auth("api", "key-demo");
    request.send().await.expect("answered").expect_status(200).json()["undelivered"].clone()
}

async fn wait_for_held(system: &System, count: u64) -> Value {
    eventually(SOON, &format!("{count} held deliveries"), || async {
        let groups = undelivered(system).await;
        let counts = groups.as_array()?.iter().filter(|group| group["outcome"] == "held");
        let sum: u64 = counts.filter_map(|group| group["count"].as_u64()).sum();
        (sum == count).then_some(groups)
    })
    .await
}

/// That something was sent again is noted when it is on its way already.
async fn wait_for_none(system: &System) {
    eventually(SOON, "everything to be noted as sent again", || async {
        (undelivered(system).await == json!([])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_happens_while_a_url_is_paused_is_held_and_released_later() {
    let system = System::start(&[]).await;
    let url = system.receiver.url("/hook");
    system.add_domain_webhook("demo", DOMAIN, "clicked", &[&url]).await;
    pause(&system, &url, true).await;
    for n in 0..20 {
        system.publish(clicked(&format!("held-{n}"))).await;
    }
    let groups = wait_for_held(&system, 20).await;
    assert_eq!((&groups[0]["url"], groups.as_array().map(Vec::len)), (&json!(url), Some(1)));
    assert!(system.receiver.requests().is_empty(), "nothing is sent while it is paused");
    let verdicts = system.sql("SELECT DISTINCT verdict FROM routing_decisions");
    assert_eq!(verdicts.trim(), "paused");

    pause(&system, &url, false).await;
    system.publish(clicked("after")).await;
    let posts = system.receiver.wait_for_posts("/hook", 1, SOON).await;
    assert_eq!(payload_event_id(&posts[0].json()), "after");

    let body = json!({"url": url, "per_second": 1_000});
    call(&system, "POST", "/postrider/v1/resends", &body).await;
    let posts = system.receiver.wait_for_posts("/hook", 21, SOON).await;
    let mut ids: Vec<String> =
        posts.iter().map(|post| payload_event_id(&post.json()).to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 21);
    wait_for_none(&system).await;
    let ends = "SELECT outcome, generation, count(*) FROM ends GROUP BY 1, 2 ORDER BY 1, 2";
    eventually(SOON, "all ends", || async {
        let ends = system.sql(ends).replace([' ', '\t'], "");
        (ends.trim() == "delivered|0|1\ndelivered|1|20\nheld|0|20").then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_happens_while_an_alert_is_disabled_is_held_and_released_later() {
    let system = System::start(&[("ALERTS_RETRY_SCHEDULE", "1s")]).await;
    let url = system.receiver.url("/alert");
    system.receiver.on_post("/alert", [500, 500, 200].map(Reply::status));
    let id = system.add_alert("demo", "ip_listed", &url).await;
    system.publish(alert("too-much")).await;
    eventually(SOON, "the setting to be disabled", || async {
        let settings = system.alert_settings("demo").await;
        settings["events"][0]["disabled_at"].as_str().map(str::to_owned)
    })
    .await;
    // Settings show it a moment before fanout knows: publish until it does.
    for number in 0.. {
        let id = format!("early-{number}");
        system.publish(alert(&id)).await;
        let ends = format!(
            "SELECT outcome FROM ends JOIN events USING (event_key) WHERE event_id = '{id}'"
        );
        let end = eventually(SOON, &format!("the end of {id}"), || async {
            Some(system.sql(&ends).trim().to_owned()).filter(|end| !end.is_empty())
        })
        .await;
        if end == "held" {
            break;
        }
    }
    let before = system.receiver.posts("/alert").len();
    for n in 0..3 {
        system.publish(alert(&format!("meanwhile-{n}"))).await;
    }
    wait_for_held(&system, 4).await;
    assert_eq!(system.receiver.posts("/alert").len(), before);

    system.save_alert("demo", &id, "ip_listed", &url).await;
    let body = json!({"alert_setting_id": id, "outcomes": ["held", "exhausted"]});
    call(&system, "POST", "/postrider/v1/resends", &body).await;
    system.receiver.wait_for_posts("/alert", before + 5, SOON).await;
    wait_for_none(&system).await;
}

#[tokio::test]
async fn a_url_has_headers_a_policy_and_a_form_of_its_own() {
    let system = System::start(&[]).await;
    let verifier = Verifier::start();
    let (plain, own) = (system.receiver.url("/plain"), system.receiver.url("/own"));
    system.add_domain_webhook("demo", DOMAIN, "clicked", &[&plain, &own]).await;
    let policy = json!({"waits": [], "success": "2xx"});
    let body = json!({
        "url": own, "headers": {"Authorization": "Bearer secret"}, "policy": policy,
        "legacy_payload": true,
    });
    call(&system, "PUT", "/postrider/v1/urls", &body).await;
    system.receiver.on_post("/own", [204, 500].map(Reply::status));
    system.receiver.on_post("/plain", [204, 200, 200].map(Reply::status));
    system.publish(clicked("one")).await;
    // To the one 204 is a success; the other tries again.
    let plain = system.receiver.wait_for_posts("/plain", 2, SOON).await;
    let own = system.receiver.wait_for_posts("/own", 1, SOON).await;
    let key = system.signing_keys("demo").await.http_signing_key;
    verifier.assert_send(&plain[0], &key, None);
    assert_eq!(plain[0].header("authorization"), None);
    assert_eq!(own[0].header("authorization"), Some("Bearer secret"));
    assert_eq!(own[0].header("content-type"), Some("application/x-www-form-urlencoded"));
    let form: Vec<(String, String)> = form_urlencoded::parse(&own[0].body).into_owned().collect();
    let field = |name: &str| {
        let found = form.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_else(|| panic!("no {name} in {form:?}"))
    };
    let signed = signing::send_signature(
        &signing::SigningKey::new(key),
        field("timestamp").parse().expect("seconds"),
        field("token"),
    );
    assert_eq!((field("event"), field("signature")), ("clicked", signed.as_str()));

    // With no waits there is one try.
    system.publish(clicked("two")).await;
    system.receiver.wait_for_posts("/own", 2, SOON).await;
    let query = "SELECT outcome FROM ends JOIN events USING (event_key) \
                 WHERE event_id = 'two' AND outcome <> 'delivered'";
    eventually(SOON, "the end of two", || async {
        (system.sql(query).trim() == "exhausted").then_some(())
    })
    .await;
    let logged = system.sql("SELECT * FROM attempts") + &system.logs();
    assert!(!logged.contains("Bearer"), "secrets are in no log");
}

#[tokio::test]
async fn an_account_has_a_policy_of_its_own() {
    let system = System::start(&[]).await;
    let url = system.receiver.url("/hook");
    system.add_domain_webhook("demo", DOMAIN, "clicked", &[&url]).await;
    let body = json!({"message": {"preset": "resilient", "waits": ["1s"], "stop": [418]}});
    call(&system, "PUT", "/postrider/v1/policies", &body).await;
    system.receiver.on_post("/hook", [406, 202].map(Reply::status));
    system.publish(clicked("kept")).await;
    // 406 stops no more; 202 is a success.
    system.wait_for_end("kept", "delivered").await;
    system.receiver.on_post("/hook", [Reply::status(418)]);
    system.publish(clicked("stopped")).await;
    system.wait_for_end("stopped", "rejected").await;
}
