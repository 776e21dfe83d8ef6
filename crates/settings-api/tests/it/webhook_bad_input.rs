//! What cannot be a webhook, in every call that takes one; and how many there
//! may be.

use chassis::Clock;
use testkit::TestEnv;
use testkit::http::Request;

use crate::world::{World, assert_answer, assert_message, send};

const V3: &str = "/v3/domains/mail.demo.example/webhooks";
const V4: &str = "/v4/domains/mail.demo.example/webhooks";
const URL: &str = "https://hooks.example.net/a";

/// The calls that take a form.
fn writes(world: &World) -> [Request; 5] {
    [
        world.call("POST", V3),
        world.call("PUT", &format!("{V3}/opened")),
        world.call("PUT", &format!("{V3}/opened/test")),
        world.call("POST", V4),
        world.call("PUT", V4),
    ]
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_everywhere_and_changes_nothing() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    send(world.call("POST", V3).form(&[("id", "opened"), ("url", URL)])).await.expect_status(200);
    let before = send(world.call("GET", V3)).await.text();
    let broken = "--b\r\nContent-Disposition: form-data; name=\"url\"\r\n\r\nhttps://a.exam";
    let multipart = "multipart/form-data; boundary=b";
    let large = format!("url={}", "x".repeat(1024 * 1024));
    let cases: [(&str, &[u8], u16, &str); 9] = [
        (multipart, broken.as_bytes(), 400, "the multipart body cannot be read: "),
        ("multipart/form-data", b"x", 400, "the multipart body cannot be read: "),
        ("application/json", b"{\"url\":", 400, "the body is not valid JSON: "),
        ("application/json", b"{\"url\":\"\xff\"}", 400, "the body is not valid JSON: "),
        ("application/json", b"[\"url\"]", 400, "the body must be a JSON object"),
        (
            "application/json",
            b"{\"url\":{}}",
            400,
            "field 'url' must be a string or a list of them",
        ),
        ("application/x-www-form-urlencoded", b"url=%C3%28", 400, "the form is not valid UTF-8"),
        ("text/plain", b"url=x", 415, "Content-Type 'text/plain' is not supported here"),
        ("application/x-www-form-urlencoded", large.as_bytes(), 413, "Request Entity Too Large"),
    ];
    for (content_type, body, status, message) in cases {
        for request in writes(&world) {
            let answer = send(request.body(content_type, body.to_vec())).await;
            assert_eq!(answer.status, status, "{}", answer.text());
            let json = answer.json();
            let found = json["message"].as_str().expect("a message");
            assert!(found.starts_with(message), "{found}");
        }
    }
    assert_eq!(send(world.call("GET", V3)).await.text(), before);
}

#[tokio::test]
async fn urls_that_nothing_may_be_sent_to_are_refused_everywhere() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    send(world.call("POST", V3).form(&[("id", "opened"), ("url", URL)])).await.expect_status(200);
    let long = format!("https://hooks.example.net/{}", "x".repeat(2048));
    for (url, why) in [
        ("ftp://hooks.example.net/", "invalid URL scheme"),
        ("javascript:alert(1)", "invalid URL scheme"),
        ("hooks.example.net", "invalid URL scheme"),
        ("https://", "this is not an absolute URL such as https://host/"),
        ("https://user:pw@hooks.example.net/", "user names and passwords are not allowed in a URL"),
        ("https://user@hooks.example.net/", "user names and passwords are not allowed in a URL"),
        ("http://10.0.0.1/", "addresses in 10.0.0.0/8 (private use) are not allowed"),
        ("http://[fd00::1]/", "addresses in fc00::/7 (private use) are not allowed"),
        ("http://169.254.169.254/", "addresses in 169.254.0.0/16 (link-local) are not allowed"),
        ("http://0xa000001/", "addresses in 10.0.0.0/8 (private use) are not allowed"),
        ("https://hooks.example.net/ x", "the URL contains spaces or control characters"),
        ("https://hooks.example.net/\u{1}", "the URL contains spaces or control characters"),
        ("https://hooks.example.net:0/", "port 0 cannot be connected to"),
        (&long, "the URL is longer than 2048 bytes"),
    ] {
        for request in writes(&world) {
            let form = [("id", "clicked"), ("event_types", "clicked"), ("url", url)];
            let answer = send(request.form(&form)).await;
            assert_eq!(answer.status, 400, "{url}: {}", answer.text());
            let json = answer.json();
            let message = json["message"].as_str().expect("a message");
            let told = format!("{url} is not a valid url: {why}");
            // Version 4 says so with a word before it.
            assert_eq!(message.strip_prefix("invalid parameters: ").unwrap_or(message), told);
            assert_eq!(json["Reason"], message);
        }
    }
}

#[tokio::test]
async fn no_write_goes_beyond_the_accounts_quota() {
    let env = TestEnv::new();
    let settings = [("POSTRIDER_QUOTA_WEBHOOKS", "3")];
    let world = World::demo_configured(&env, &settings, Clock::system()).await;
    world.domain("second.demo.example", "demo").await;
    let post = |domain: &str| world.call("POST", &format!("/v3/domains/{domain}/webhooks"));
    let two = [("id", "opened"), ("url", "https://a.example/1"), ("url", "https://a.example/2")];
    send(post("mail.demo.example").form(&two)).await.expect_status(200);
    send(post("second.demo.example").form(&[("id", "clicked"), ("url", URL)]))
        .await
        .expect_status(200);

    let message = "an account can have at most 3 webhook URLs";
    let full = format!(r#"{{"message":"{message}","Reason":"{message}"}}"#);
    let grown = [("url", URL), ("url", "https://a.example/1"), ("url", "https://a.example/2")];
    for request in [
        post("second.demo.example").form(&[("id", "opened"), ("url", URL)]),
        world.call("PUT", &format!("{V3}/opened")).form(&grown),
        world.call("POST", V4).form(&[("url", URL), ("event_types", "complained")]),
        world.call("PUT", V4).form(&[
            ("url", "https://a.example/1"),
            ("event_types", "opened"),
            ("event_types", "accepted"),
        ]),
    ] {
        assert_answer(&send(request).await, 400, &full);
    }
    // What frees a place is allowed, and what needs none.
    let moved = [("url", "https://a.example/1"), ("event_types", "accepted")];
    send(world.call("PUT", V4).form(&moved)).await.expect_status(200);
    let same = [("url", URL)];
    send(world.call("PUT", &format!("{V3}/opened")).form(&same)).await.expect_status(200);
    send(world.call("DELETE", &format!("{V3}/accepted"))).await.expect_status(200);
    send(post("second.demo.example").form(&[("id", "opened"), ("url", URL)]))
        .await
        .expect_status(200);
    assert_eq!(env.sql("SELECT count(*) FROM domain_webhooks").trim(), "3");
}

#[tokio::test]
async fn hosts_are_looked_up_where_the_operator_wants_it() {
    let env = TestEnv::new();
    let settings = [("POSTRIDER_WEBHOOK_DNS_CHECK", "reject")];
    let world = World::demo_configured(&env, &settings, Clock::system()).await;
    for url in ["http://localhost:9090/", "http://127.0.0.1:9090/", "https://192.0.3.1/"] {
        // Looked up and not called: nobody is there.
        let request = world.call("POST", V4).form(&[("url", url), ("event_types", "opened")]);
        send(request).await.expect_status(200);
    }
    // RFC 6761: there is no such name, anywhere.
    let nowhere = "https://hooks.invalid/a";
    let told = format!("{nowhere} is not a valid url: host not found");
    let body = |message: &str| format!(r#"{{"message":"{message}","Reason":"{message}"}}"#);
    let both = [("id", "clicked"), ("url", "http://localhost/"), ("url", nowhere)];
    let one = [("id", "clicked"), ("url", nowhere)];
    let pair = [("url", nowhere), ("event_types", "clicked")];
    for (request, message) in [
        (world.call("POST", V3).form(&one), told.clone()),
        (world.call("POST", V3).form(&both), told.clone()),
        (world.call("PUT", &format!("{V3}/opened")).form(&one), told.clone()),
        (world.call("POST", V4).form(&pair), format!("invalid parameters: {told}")),
        (world.call("PUT", V4).form(&pair), format!("invalid parameters: {told}")),
    ] {
        assert_answer(&send(request).await, 400, &body(&message));
    }
    let missing = world.call("GET", &format!("{V3}/clicked"));
    assert_message(&send(missing).await, 404, "Webhook not found");
}
