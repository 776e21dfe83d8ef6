//! Domain webhooks by URL, byte for byte (reference §4).

use testkit::TestEnv;
use testkit::http::{Request, Response};

use crate::world::{World, assert_answer, assert_message, send};

const V3: &str = "/v3/domains/mail.demo.example/webhooks";
const V4: &str = "/v4/domains/mail.demo.example/webhooks";
const A: &str = "https://hooks.example.net/a";
const B: &str = "https://hooks.example.net/b?x=1&y=<2>";
const COMMA: &str = "https://hooks.example.net/c,d";

/// A request with one URL and these event types.
fn fill(request: Request, url: &str, event_types: &[&str]) -> Request {
    let mut form = vec![("url", url)];
    form.extend(event_types.iter().map(|name| ("event_types", *name)));
    request.form(&form)
}

fn remove(world: &World, base: &str, url: &str) -> Request {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("url", url).finish();
    world.call("DELETE", &format!("{base}?{query}"))
}

/// Checks that the answer is this map, and that both views show it: version 3 has another form
/// for the ids from before 2018.
async fn assert_all(world: &World, answer: &Response, webhooks: &[(&str, &[&str])]) {
    let body = |is_v3: bool| {
        let entries = webhooks.iter().map(|(id, urls)| match urls {
            [url] if is_v3 && *id == "drop" => format!(r#""{id}":{{"url":"{url}"}}"#),
            urls => format!(r#""{id}":{{"urls":["{}"]}}"#, urls.join("\",\"")),
        });
        format!(r#"{{"webhooks":{{{}}}}}"#, entries.collect::<Vec<_>>().join(","))
    };
    assert_answer(answer, 200, &body(false));
    for (list, is_v3) in [(V3, true), (V4, false)] {
        assert_answer(&send(world.call("GET", list)).await, 200, &body(is_v3));
    }
}

fn assert_reason(answer: &Response, message: &str) {
    assert_answer(answer, 400, &format!(r#"{{"message":"{message}","Reason":"{message}"}}"#));
}

#[tokio::test]
async fn every_success_shows_the_complete_map() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let post = || world.call("POST", V4);
    let put = || world.call("PUT", V4);
    assert_all(&world, &send(world.call("GET", V4)).await, &[]).await;

    let added = send(fill(post(), A, &["opened", "clicked"])).await;
    assert_all(&world, &added, &[("opened", &[A]), ("clicked", &[A])]).await;
    let added = send(fill(post(), B, &["clicked", "accepted"])).await;
    let map: &[(&str, &[&str])] = &[("accepted", &[B]), ("opened", &[A]), ("clicked", &[A, B])];
    assert_all(&world, &added, map).await;
    // In force with the answer.
    let mut seen = world.webhooks("mail.demo.example").await;
    seen.sort();
    let urls = |urls: &[&str]| urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>();
    let expected = [("accepted", &[B][..]), ("clicked", &[A, B]), ("opened", &[A])];
    assert_eq!(seen, expected.map(|(id, list)| (id.to_owned(), urls(list))));

    let replaced = send(fill(put(), A, &["clicked", "delivered"])).await;
    let map: &[(&str, &[&str])] = &[("accepted", &[B]), ("delivered", &[A]), ("clicked", &[A, B])];
    assert_all(&world, &replaced, map).await;
    // As mailgun-python's manual writes several.
    let same = send(fill(put(), A, &["delivered,clicked"])).await;
    assert_all(&world, &same, map).await;

    let removed = send(remove(&world, V4, A)).await;
    assert_all(&world, &removed, &[("accepted", &[B]), ("clicked", &[B])]).await;
    // What was behind the removed one has moved up: there is room for two more.
    for url in [COMMA, A] {
        send(fill(post(), url, &["clicked"])).await.expect_status(200);
    }
    let removed = send(remove(&world, V4, COMMA)).await;
    assert_all(&world, &removed, &[("accepted", &[B]), ("clicked", &[B, A])]).await;
    let removed = send(remove(&world, V4, &format!("{A},{B}"))).await;
    assert_all(&world, &removed, &[]).await;
    assert!(world.webhooks("mail.demo.example").await.is_empty());
}

#[tokio::test]
async fn both_versions_write_the_same_webhooks() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let form = [("id", "clicked"), ("url", A), ("url", B)];
    send(world.call("POST", V3).form(&form)).await.expect_status(200);
    // An older id has its URLs in this view as well.
    send(world.call("POST", V3).form(&[("id", "drop"), ("url", A)])).await.expect_status(200);
    let replaced = send(fill(world.call("PUT", V4), A, &["opened"])).await;
    assert_all(&world, &replaced, &[("opened", &[A]), ("clicked", &[B])]).await;
    let added = send(fill(world.call("POST", V4), A, &["drop", "clicked"])).await;
    let map: &[(&str, &[&str])] = &[("opened", &[A]), ("clicked", &[B, A]), ("drop", &[A])];
    assert_all(&world, &added, map).await;

    let form = [("url", COMMA)];
    send(world.call("PUT", &format!("{V3}/clicked")).form(&form)).await.expect_status(200);
    let removed = send(remove(&world, V4, A)).await;
    assert_all(&world, &removed, &[("clicked", &[COMMA])]).await;
    send(world.call("DELETE", &format!("{V3}/clicked"))).await.expect_status(200);
    assert_all(&world, &send(world.call("GET", V4)).await, &[]).await;
}

#[tokio::test]
async fn a_request_is_carried_out_as_a_whole_or_not_at_all() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let three = ["1", "2", "3"].map(|n| format!("https://hooks.example.net/{n}"));
    let mut form = vec![("id", "clicked")];
    form.extend(three.iter().map(|url| ("url", url.as_str())));
    send(world.call("POST", V3).form(&form)).await.expect_status(200);
    send(fill(world.call("POST", V4), A, &["opened"])).await.expect_status(200);
    let [one, two, three] = three.each_ref().map(String::as_str);
    let before: &[(&str, &[&str])] = &[("opened", &[A]), ("clicked", &[one, two, three])];
    let document = world.domain_document("mail.demo.example").await;

    let fourth = "unable to add more than 3 urls for event type clicked";
    let pair = format!("Webhook for event type '{}' with URL '{A}' already exists", "opened");
    for (method, url, event_types, message) in [
        ("POST", A, &["accepted", "clicked"][..], fourth),
        ("POST", A, &["accepted", "opened"], pair.as_str()),
        ("PUT", A, &["accepted", "clicked"], fourth),
        ("POST", one, &["accepted", "xyz"], "Invalid event type: xyz"),
        ("POST", one, &["accepted", "ip_listed"], "Invalid event type: ip_listed"),
        ("PUT", one, &["accepted", "accepted"], "duplicate event types: 'accepted'"),
    ] {
        assert_reason(&send(fill(world.call(method, V4), url, event_types)).await, message);
        assert_all(&world, &send(world.call("GET", V4)).await, before).await;
    }
    // Nothing was published either.
    assert_eq!(world.domain_document("mail.demo.example").await, document);
    assert_eq!(env.sql("SELECT count(*) FROM settings_outbox").trim(), "0");
}

#[tokio::test]
async fn wrong_requests_are_told_what_is_wrong() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    send(fill(world.call("POST", V4), A, &["opened"])).await.expect_status(200);
    let bad = |url: &str, why: &str| format!("invalid parameters: {url} is not a valid url: {why}");
    for method in ["POST", "PUT"] {
        let call = |form: &[(&str, &str)]| send(world.call(method, V4).form(form));
        let clicked = ("event_types", "clicked");
        assert_reason(&call(&[clicked]).await, "Missing parameter 'url'");
        assert_reason(&call(&[("url", ""), clicked]).await, "Missing parameter 'url'");
        assert_reason(&call(&[("url", A)]).await, "Missing parameter 'event_types'");
        let none = call(&[("url", A), ("event_types", "")]).await;
        assert_reason(&none, "Missing parameter 'event_types'");
        let two = call(&[("url", A), ("url", B), clicked]).await;
        assert_reason(&two, "Parameter 'url' must be given once");
        for (url, why) in [
            ("ftp://hooks.example.net/", "invalid URL scheme"),
            ("hooks.example.net", "invalid URL scheme"),
            (
                "https://me:pw@hooks.example.net/",
                "user names and passwords are not allowed in a URL",
            ),
            ("http://10.0.0.1/", "addresses in 10.0.0.0/8 (private use) are not allowed"),
        ] {
            assert_reason(&call(&[("url", url), clicked]).await, &bad(url, why));
        }
        let empty = world.call(method, V4).json(&serde_json::json!({"url": A, "event_types": []}));
        assert_reason(&send(empty).await, "Missing parameter 'event_types'");
    }
    let missing = r#"{"message":"Webhook not found","Description":"Webhook not found"}"#;
    assert_answer(&send(fill(world.call("PUT", V4), B, &["opened"])).await, 404, missing);
    assert_answer(&send(remove(&world, V4, B)).await, 404, missing);
    assert_answer(&send(remove(&world, V4, &format!("{B},x"))).await, 404, missing);
    let no_url =
        r#"{"message":"Invalid parameter: url is missing","Field":"url","Value":"is missing"}"#;
    for path in [V4.to_owned(), format!("{V4}?url="), format!("{V4}?limit=1"), V3.to_owned()] {
        assert_answer(&send(world.call("DELETE", &path)).await, 400, no_url);
    }
    let not_utf8 = send(world.call("DELETE", &format!("{V4}?url=%ff"))).await;
    assert_message(&not_utf8, 400, "the form is not valid UTF-8");
    assert_all(&world, &send(world.call("GET", V4)).await, &[("opened", &[A])]).await;
}

#[tokio::test]
async fn a_domain_is_found_by_its_owner_alone() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    world.account("other", "").await;
    world.domain("mail.other.example", "other").await;
    for domain in ["nowhere.example", "mail.other.example", "192.0.2.1"] {
        for version in ["v3", "v4"] {
            let base = format!("/{version}/domains/{domain}/webhooks");
            for request in [
                world.call("GET", &base),
                fill(world.call("POST", &base), A, &["clicked"]),
                fill(world.call("PUT", &base), A, &["clicked"]),
                remove(&world, &base, A),
            ] {
                assert_message(&send(request).await, 404, "Domain not found");
            }
        }
    }
    assert_eq!(env.sql("SELECT count(*) FROM domain_webhooks").trim(), "0");
}

/// mailgun-python says version 4 and sends it to version 3 (reference §3.7).
#[tokio::test]
async fn what_some_clients_send_to_version_3_is_understood() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let added = send(fill(world.call("POST", V3), A, &["opened", "clicked"])).await;
    assert_all(&world, &added, &[("opened", &[A]), ("clicked", &[A])]).await;
    let replaced = send(fill(world.call("PUT", V3), A, &["accepted"])).await;
    assert_all(&world, &replaced, &[("accepted", &[A])]).await;
    let missing = r#"{"message":"Webhook not found","Description":"Webhook not found"}"#;
    assert_answer(&send(fill(world.call("PUT", V3), B, &["opened"])).await, 404, missing);
    // With an id it is version 3 all the same.
    let form = [("id", "opened"), ("url", B), ("event_types", "clicked")];
    assert_answer(
        &send(world.call("POST", V3).form(&form)).await,
        200,
        r#"{"message":"Webhook has been created","webhook":{"urls":["https://hooks.example.net/b?x=1&y=<2>"]}}"#,
    );
    let removed = send(remove(&world, V3, A)).await;
    assert_all(&world, &removed, &[("opened", &[B])]).await;
}
