//! What is refused, and how it is told.

use super::*;

#[tokio::test]
async fn wrong_requests_are_told_what_is_wrong() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let settings = json!({"url": "https://hooks.example.net/"});
    for (body, message) in [
        (json!({}), "Missing parameter 'event_type'"),
        (json!({"event_type": "ip_listed"}), "Missing parameter 'channel'"),
        (json!({"event_type": "ip_listed", "channel": "webhook"}), "Missing parameter 'settings'"),
        (
            json!({"event_type": "ip_listed", "channel": "webhook", "settings": {}}),
            "Missing parameter 'settings.url'",
        ),
        (
            json!({"event_type": "ip_listed", "channel": "webhook", "settings": {"url": ""}}),
            "Missing parameter 'settings.url'",
        ),
        (
            json!({"event_type": "ip_listed", "channel": "email", "settings": {"emails": []}}),
            "Missing parameter 'settings.emails'",
        ),
        (
            json!({"event_type": "ip_listed", "channel": "pager", "settings": settings}),
            "Invalid channel: pager",
        ),
        (
            json!({"event_type": "delivered", "channel": "webhook", "settings": settings}),
            "Invalid event_type: delivered",
        ),
        (
            email("ip_listed", &["ops@shop.example", "nobody"]),
            "Invalid email address: nobody: this is not an address such as name@example.com",
        ),
        (
            webhook("ip_listed", "gopher://a.example"),
            "gopher://a.example is not a valid url: invalid URL scheme",
        ),
    ] {
        assert_message(&send(world.call("POST", EVENTS).json(&body)).await, 400, message);
    }
    let many: Vec<String> = (0..51).map(|n| format!("ops{n}@shop.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let answer = send(world.call("POST", EVENTS).json(&email("ip_listed", &many))).await;
    assert_message(&answer, 400, "settings.emails: at most 50 addresses");

    for (text, beginning) in [
        ("{", "the body is not valid JSON: "),
        ("event_type=ip_listed", "the body is not valid JSON: "),
        ("", "the body is not valid JSON: "),
        (r#"{"event_type":1}"#, "the body has wrong fields: "),
        ("[]", "the body has wrong fields: "),
    ] {
        let request = world.call("POST", EVENTS).body("application/json", text);
        let answer = send(request).await.expect_status(400);
        let message = answer.json()["message"].as_str().expect("a message").to_owned();
        assert!(message.starts_with(beginning), "{message}");
    }
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_refused() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let huge = format!(r#"{{"event_type":"{}"}}"#, "x".repeat(1024 * 1024));
    let bomb = format!(r#"{{"settings":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let unknown = format!(r#"{{"x":{}{}}}"#, r#"{"a":"#.repeat(5000), "}".repeat(5000));
    let wrong_types: [&[u8]; 8] = [
        b"null",
        b"1",
        b"\"ip_listed\"",
        br#"{"event_type":["ip_listed"]}"#,
        br#"{"event_type":"ip_listed","channel":"webhook","settings":"https://a.example/"}"#,
        br#"{"event_type":"ip_listed","channel":"webhook","settings":{"url":1}}"#,
        br#"{"event_type":"ip_listed","channel":"email","settings":{"emails":"a@b.example"}}"#,
        br#"{"event_type":"ip_listed","channel":"email","settings":{"emails":[null]}}"#,
    ];
    let id = "5f0a3a5e-0a9f-4a37-9d3c-0d5b0f4a7e21";
    let calls = [
        ("POST", EVENTS.to_owned()),
        ("POST", SETTINGS.to_owned()),
        ("PUT", format!("{EVENTS}/{id}")),
        ("POST", "/v1/alerts/webhooks/test".to_owned()),
        ("POST", "/v1/alerts/email/test".to_owned()),
    ];
    for (method, path) in &calls {
        let call =
            |body: &[u8]| send(world.call(method, path).body("application/json", body.to_vec()));
        let refused = call(huge.as_bytes()).await;
        assert_message(&refused, 413, "Request Entity Too Large");
        // What is deep is either refused as such or passed over with the field
        // that nobody asks for.
        for deep in [&bomb, &unknown] {
            call(deep.as_bytes()).await.expect_status(400);
        }
        let broken: [&[u8]; 4] = [b"{\"event_type\":\"\xff\"}", b"", b"{", b"event_type=ip_listed"];
        for body in broken {
            let answer = call(body).await.expect_status(400);
            let message = answer.json()["message"].as_str().expect("a message").to_owned();
            let is_told = message.starts_with("the body is not valid JSON: ")
                || message.starts_with("the body has wrong fields: ");
            assert!(is_told, "{method} {path}: {message}");
        }
        for body in wrong_types {
            // Test calls have no settings, and do not look at them.
            let is_looked_at = !path.ends_with("/test") || body[0] != b'{';
            let answer = call(body).await.expect_status(400);
            let message = answer.json()["message"].as_str().expect("a message").to_owned();
            let is_told = message.starts_with("the body has wrong fields: ");
            assert!(is_told || !is_looked_at, "{method} {path}: {message}");
        }
    }
}

#[tokio::test]
async fn a_receiver_that_hangs_is_not_waited_for() {
    let env = TestEnv::new();
    let settings = [("POSTRIDER_EGRESS_TIMEOUT", "1s"), ("POSTRIDER_EGRESS_CONNECT_TIMEOUT", "1s")];
    let world = World::configured(&env, &settings, chassis::Clock::system()).await;
    world.account("demo", "").await;
    let receiver = Receiver::start().await;
    receiver.on_get("/hang", [Reply::hang()]);
    let answer =
        send(world.call("POST", EVENTS).json(&webhook("ip_listed", &receiver.url("/hang"))));
    let answer = testkit::within(Duration::from_secs(10), "the answer", answer).await;
    let message = "webhook url did not return a 200 response: no answer within 1000 ms";
    assert_message(&answer, 400, message);
    // A body that never ends does not matter: the status is the answer.
    receiver.on_get("/endless", [Reply::endless(200)]);
    receiver.on_get("/trickle", [Reply::trickle(200, Duration::from_millis(100))]);
    for path in ["/endless", "/trickle"] {
        let answer =
            send(world.call("POST", EVENTS).json(&webhook("ip_listed", &receiver.url(path))));
        let answer = testkit::within(Duration::from_secs(10), "the answer", answer).await;
        answer.expect_status(200);
    }
}

#[tokio::test]
async fn everything_of_slack_is_told_not_to_be_there() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let message = "slack is not supported: use the channels webhook and email";
    let token = json!({"token": "xoxb-1", "team_id": null, "team_name": null, "scope": null});
    for request in [
        world.call("PUT", "/v1/alerts/settings/slack").json(&token),
        world.call("DELETE", "/v1/alerts/settings/slack"),
        world.call("DELETE", "/v1/alerts/slack/oauth"),
        world.call("GET", "/v1/alerts/slack/channels?page=x&limit=3"),
        world.call("GET", "/v1/alerts/slack/channels/C012AB3CD"),
        world.call("POST", "/v1/alerts/slack/test").json(&json!({"event_type": "ip_listed"})),
        world.call("POST", EVENTS).json(
            &json!({"event_type": "ip_listed", "channel": "slack", "settings": {"channel_ids": []}}),
        ),
    ] {
        assert_message(&send(request).await, 501, message);
    }
}

#[tokio::test]
async fn what_is_not_there_or_not_ones_own_is_not_found() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    world.account("other", "").await;
    let receiver = Receiver::start().await;
    let body = webhook("ip_listed", &receiver.url("/"));
    let theirs = world.anonymous("POST", EVENTS).basic_auth("api", "key-other").json(&body);
    let theirs = id_of(&send(theirs).await.expect_status(200));
    receiver.forget();

    let malformed = ["malformed", "5f0a3a5e", "5f0a3a5e-0a9f-4a37-9d3c-0d5b0f4a7e2g"];
    let ids = [theirs.as_str(), "5f0a3a5e-0a9f-4a37-9d3c-0d5b0f4a7e21"];
    for id in ids.into_iter().chain(malformed) {
        let path = format!("{EVENTS}/{id}");
        let requests: [Request; 2] =
            [world.call("PUT", &path).json(&body), world.call("DELETE", &path)];
        for request in requests {
            assert_message(&send(request).await, 404, "alert setting not found");
        }
    }
    // Nobody was called on behalf of a setting that is not there.
    assert!(receiver.requests().is_empty());
    assert_eq!(world.account_document("other").await.alerts.len(), 1);
}
