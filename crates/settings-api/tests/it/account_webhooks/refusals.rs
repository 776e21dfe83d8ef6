//! What is refused, and how it is told.

use super::*;

#[tokio::test]
async fn wrong_requests_are_told_what_is_wrong() {
    let env = TestEnv::new();
    let world = world(&env, &clock()).await;
    let id = made(post(&world, "https://a.example/", &["clicked"])).await;
    let before = list(&world).await;
    let (url, types) = ("https://hooks.example.net/", &["clicked"][..]);
    // The same for what is to be made and for what is to be replaced.
    for (method, path) in [("POST", BASE.to_owned()), ("PUT", format!("{BASE}/{id}"))] {
        let call = |fields: &[(&str, &str)]| send(world.call(method, &path).form(fields));
        let missing = "missing or invalid url parameter";
        assert_parameter(&call(&[("event_types", "clicked")]).await, "url", missing);
        assert_parameter(&call(&fields("", types)).await, "url", missing);
        assert_parameter(&call(&[]).await, "url", missing);
        for (wrong, why) in [
            ("ftp://a.example/", "invalid URL scheme"),
            ("a.example", "invalid URL scheme"),
            ("https://", "this is not an absolute URL such as https://host/"),
            ("https://u:p@a.example/", "user names and passwords are not allowed in a URL"),
            ("http://10.1.2.3/", "addresses in 10.0.0.0/8 (private use) are not allowed"),
            (
                "http://[::ffff:192.168.0.1]/",
                "addresses in 192.168.0.0/16 (private use) are not allowed",
            ),
            ("https://a.example/\u{7f}", "the URL contains spaces or control characters"),
        ] {
            let why = format!(": {wrong} is not a valid url: {why}");
            assert_parameter_because(&call(&fields(wrong, types)).await, "url", missing, &why);
        }
        let long = format!("https://a.example/{}", "x".repeat(2048));
        let why = format!(": {long} is not a valid url: the URL is longer than 2048 bytes");
        assert_parameter_because(&call(&fields(&long, types)).await, "url", missing, &why);
        let two = [("url", url), ("url", "https://b.example/"), ("event_types", "clicked")];
        let why = ": an account webhook has one URL";
        assert_parameter_because(&call(&two).await, "url", missing, why);

        let missing = "missing or invalid event_types parameter";
        assert_parameter(&call(&fields(url, &[])).await, "event_types", missing);
        assert_parameter(&call(&fields(url, &[""])).await, "event_types", missing);
        let twice = call(&fields(url, &["accepted", "clicked", "accepted", "accepted"])).await;
        assert_parameter(&twice, "event_types", "duplicate event types: 'accepted'");
        let twice = call(&fields(url, &["opened", "clicked", "opened", "clicked"])).await;
        assert_parameter(&twice, "event_types", "duplicate event types: 'opened', 'clicked'");
        // 404, as documented. The ids from before 2018 are none here.
        for wrong in ["xyz", "bounce", "ip_listed", "clicked;opened", "Clicked"] {
            let answer = call(&fields(url, &["opened", wrong])).await;
            assert_described(&answer, 404, &format!("event_type '{wrong}' is invalid"));
        }
        let twice = call(&fields(url, &["opened,clicked,opened"])).await;
        assert_parameter(&twice, "event_types", "duplicate event types: 'opened'");
        let long = "x".repeat(1025);
        let fields = [("url", url), ("event_types", "opened"), ("description", long.as_str())];
        let answer = call(&fields).await;
        assert_parameter(&answer, "description", "must be text of at most 1024 bytes");
    }
    assert_eq!(list(&world).await, before, "nothing was changed");
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_refused() {
    let env = TestEnv::new();
    let world = world(&env, &clock()).await;
    let form = "application/x-www-form-urlencoded";
    let huge = format!("url=https://a.example/&description={}", "x".repeat(1024 * 1024));
    let bomb = format!("{}{}", r#"{"url":"#.repeat(5000), "}".repeat(5000));
    let lists = format!(r#"{{"event_types":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    for (status, content_type, body) in [
        (413, form, huge.into_bytes()),
        (415, "text/plain", b"url=https://a.example/".to_vec()),
        (400, form, b"url=https://a.example/%FF&event_types=clicked".to_vec()),
        (400, form, b"url=https://a.example/\xff&event_types=clicked".to_vec()),
        (400, "application/json", b"{".to_vec()),
        (400, "application/json", b"\xff".to_vec()),
        (400, "application/json", b"[]".to_vec()),
        (400, "application/json", br#"{"url":{"a":1},"event_types":["clicked"]}"#.to_vec()),
        (400, "application/json", br#"{"url":1,"event_types":["clicked"]}"#.to_vec()),
        (400, "application/json", br#"{"url":"https://a.example/","event_types":[]}"#.to_vec()),
        (400, "application/json", bomb.into_bytes()),
        (400, "application/json", lists.into_bytes()),
        (400, "multipart/form-data", b"--x".to_vec()),
        (400, "multipart/form-data; boundary=x", b"--x\r\nContent-Disp".to_vec()),
    ] {
        let begin: Vec<u8> = body.iter().copied().take(60).collect();
        let what = format!("{content_type}: {}", String::from_utf8_lossy(&begin));
        for (method, path) in [("POST", BASE.to_owned()), ("PUT", format!("{BASE}/{UNKNOWN}"))] {
            let answer = send(world.call(method, &path).body(content_type, body.clone())).await;
            assert_eq!(answer.status, status, "{method} {what}: {}", answer.text());
            assert!(answer.json()["message"].is_string(), "{what}");
            assert_common_headers(&answer);
        }
    }
    assert_eq!(list(&world).await, "{\"webhooks\":[]}\n");
}

#[tokio::test]
async fn what_is_not_there_or_not_ones_own_is_not_found() {
    let env = TestEnv::new();
    let world = world(&env, &clock()).await;
    world.account("other", "").await;
    let as_other =
        |method: &str, path: &str| world.anonymous(method, path).basic_auth("api", "key-other");
    let url = "https://hooks.example.net/";
    let theirs = made(as_other("POST", BASE).form(&fields(url, &["clicked"]))).await;
    let shown = send(as_other("GET", BASE)).await.text();

    for id in [theirs.as_str(), UNKNOWN] {
        let path = format!("{BASE}/{id}");
        let get = send(world.call("GET", &path)).await;
        assert_described(&get, 404, "webhook not found");
        let message = format!("webhook_id not found: {id}");
        assert_described(&send(put(&world, id, url, &["opened"])).await, 404, &message);
        assert_described(&send(world.call("DELETE", &path)).await, 404, &message);
        let delete = world.call("DELETE", &format!("{BASE}?webhook_ids={id}"));
        assert_described(&send(delete).await, 404, &message);
    }
    let filter = world.call("GET", &format!("{BASE}?webhook_ids={theirs}"));
    assert_answer(&send(filter).await, 200, r#"{"webhooks":[]}"#);
    assert_eq!(send(as_other("GET", BASE)).await.text(), shown);

    for id in ["1", "66F0C1DE9A7B4E0012AB34CD", "%FF", "66f0c1de-9a7b", "a%2Fb"] {
        let path = format!("{BASE}/{id}");
        let form = fields(url, &["clicked"]);
        for request in [
            world.call("GET", &path),
            world.call("PUT", &path).form(&form),
            world.call("DELETE", &path),
        ] {
            let answer = send(request).await;
            // What does not decode names nothing.
            if id == "%FF" {
                assert_message(&answer, 404, "Not Found");
            } else {
                assert_parameter(&answer, "webhook_id", "is not valid");
            }
        }
        if id != "a%2Fb" {
            let answer = send(world.call("GET", &format!("{BASE}?webhook_ids={id}"))).await;
            assert_eq!(
                (answer.status, answer.json()["Field"].as_str()),
                (400, Some("webhook_ids"))
            );
        }
    }
}

#[tokio::test]
async fn keys_that_only_look_change_nothing() {
    let env = TestEnv::new();
    let world = world(&env, &clock()).await;
    let id = made(post(&world, "https://a.example/", &["clicked"])).await;
    env.sql("UPDATE api_keys SET role = 'basic'");
    let path = format!("{BASE}/{id}");
    let form = fields("https://b.example/", &["clicked"]);
    for request in [
        world.call("POST", BASE).form(&form),
        world.call("PUT", &path).form(&form),
        world.call("DELETE", &path),
        world.call("DELETE", &format!("{BASE}?all=true")),
    ] {
        assert_message(&send(request).await, 403, "Forbidden");
    }
    send(world.call("GET", BASE)).await.expect_status(200);
    send(world.call("GET", &path)).await.expect_status(200);
    env.sql("UPDATE api_keys SET role = 'sending'");
    assert_message(&send(world.call("GET", BASE)).await, 403, "Forbidden");
}
