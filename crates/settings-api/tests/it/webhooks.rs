//! Domain webhooks, byte for byte (reference §3).

use testkit::TestEnv;

use crate::world::{World, assert_answer, assert_message, send};

const BASE: &str = "/v3/domains/mail.demo.example/webhooks";
const A: &str = "https://hooks.example.net/a";
const B: &str = "https://hooks.example.net/b?x=1&y=<2>";

#[tokio::test]
async fn the_five_calls_answer_mailguns_bytes_and_apply_at_once() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let get = |path: &str| send(world.call("GET", &format!("{BASE}{path}")));

    assert_answer(&get("").await, 200, r#"{"webhooks":{}}"#);
    assert_message(&get("/clicked").await, 404, "Webhook not found");

    let form = [("id", "clicked"), ("url", A), ("url", B), ("url", A)];
    let created = send(world.call("POST", BASE).form(&form)).await;
    assert_answer(
        &created,
        200,
        r#"{"message":"Webhook has been created","webhook":{"urls":["https://hooks.example.net/a","https://hooks.example.net/b?x=1&y=<2>"]}}"#,
    );
    assert!(created.header("x-mailgun-key-id").is_some());
    assert_eq!(
        world.webhooks("mail.demo.example").await,
        [("clicked".to_owned(), vec![A.to_owned(), B.to_owned()])]
    );

    send(world.call("POST", BASE).form(&[("id", "accepted"), ("url", A)])).await.expect_status(200);
    assert_answer(
        &get("?limit=1&skip=1").await,
        200,
        r#"{"webhooks":{"accepted":{"urls":["https://hooks.example.net/a"]},"clicked":{"urls":["https://hooks.example.net/a","https://hooks.example.net/b?x=1&y=<2>"]}}}"#,
    );
    assert_answer(
        &get("/accepted").await,
        200,
        r#"{"webhook":{"urls":["https://hooks.example.net/a"]}}"#,
    );

    // mailgun-ruby repeats the id in the body.
    let form = [("id", "clicked"), ("url", "https://hooks.example.net/new")];
    let updated = send(world.call("PUT", &format!("{BASE}/clicked")).form(&form)).await;
    assert_answer(
        &updated,
        200,
        r#"{"message":"Webhook has been updated","webhook":{"urls":["https://hooks.example.net/new"]}}"#,
    );

    let deleted = send(world.call("DELETE", &format!("{BASE}/clicked"))).await;
    assert_answer(
        &deleted,
        200,
        r#"{"message":"Webhook has been deleted","webhook":{"urls":["https://hooks.example.net/new"]}}"#,
    );
    assert_eq!(
        world.webhooks("mail.demo.example").await,
        [("accepted".to_owned(), vec![A.to_owned()])]
    );
    world.stop().await;
}

#[tokio::test]
async fn wrong_requests_are_told_what_is_wrong() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let taken = [("id", "opened"), ("url", A)];
    send(world.call("POST", BASE).form(&taken)).await.expect_status(200);

    let many = ["1", "2", "3", "4"].map(|n| format!("https://hooks.example.net/{n}"));
    let mut four = vec![("id", "clicked")];
    four.extend(many.iter().map(|url| ("url", url.as_str())));
    for (form, message) in [
        (vec![("url", A)], "Missing parameter 'id'"),
        (vec![("id", ""), ("url", A)], "Missing parameter 'id'"),
        (vec![("id", "clicked")], "Missing parameter 'url'"),
        (vec![("id", "clicked"), ("url", "")], "Missing parameter 'url'"),
        (vec![("id", "xyz"), ("url", A)], "Invalid webhook id: xyz"),
        (vec![("id", "ip_listed"), ("url", A)], "Invalid webhook id: ip_listed"),
        (vec![("id", "opened"), ("url", B)], "Webhook already exists"),
        (four, "unable to add more than 3 urls for event type clicked"),
        (
            vec![("id", "clicked"), ("url", "ftp://hooks.example.net/")],
            "ftp://hooks.example.net/ is not a valid url: invalid URL scheme",
        ),
        (
            vec![("id", "clicked"), ("url", A), ("url", "hooks.example.net")],
            "hooks.example.net is not a valid url: invalid URL scheme",
        ),
        (
            vec![("id", "clicked"), ("url", "http://10.0.0.1/")],
            "http://10.0.0.1/ is not a valid url: addresses in 10.0.0.0/8 (private use) are not allowed",
        ),
        (
            vec![("id", "clicked"), ("url", "http://169.254.169.254/latest")],
            "http://169.254.169.254/latest is not a valid url: addresses in 169.254.0.0/16 (link-local) are not allowed",
        ),
    ] {
        let answer = send(world.call("POST", BASE).form(&form)).await;
        let body = format!(r#"{{"message":"{message}","Reason":"{message}"}}"#);
        assert_answer(&answer, 400, &body);
    }

    let put = |name: &str| world.call("PUT", &format!("{BASE}/{name}"));
    let missing = r#"{"message":"Missing parameter 'url'","Reason":"Missing parameter 'url'"}"#;
    assert_answer(&send(put("opened")).await, 400, missing);
    for name in ["clicked", "xyz"] {
        assert_message(&send(put(name).form(&[("url", A)])).await, 404, "Webhook not found");
        let delete = world.call("DELETE", &format!("{BASE}/{name}"));
        assert_message(&send(delete).await, 404, "Webhook not found");
        let get = world.call("GET", &format!("{BASE}/{name}"));
        assert_message(&send(get).await, 404, "Webhook not found");
    }

    let opened = [("opened".to_owned(), vec![A.to_owned()])];
    assert_eq!(world.webhooks("mail.demo.example").await, opened);
}

#[tokio::test]
async fn a_domain_is_found_by_its_name_and_by_its_owner_alone() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    world.account("other", "").await;
    world.domain("mail.other.example", "other").await;
    world.domain("Bücher.Example", "demo").await;

    for domain in ["nowhere.example", "mail.other.example", "192.0.2.1"] {
        let list = format!("/v3/domains/{domain}/webhooks");
        let one = format!("{list}/clicked");
        let form = [("id", "clicked"), ("url", A)];
        for request in [
            world.call("GET", &list),
            world.call("GET", &one),
            world.call("POST", &list).form(&form),
            world.call("PUT", &one).form(&form),
            world.call("DELETE", &one),
        ] {
            assert_message(&send(request).await, 404, "Domain not found");
        }
    }

    let form = [("id", "clicked"), ("url", A)];
    let post = world.call("POST", "/v3/domains/b%C3%BCcher.EXAMPLE/webhooks").form(&form);
    send(post).await.expect_status(200);
    let get = world.call("GET", "/v3/domains/xn--bcher-kva.example/webhooks/clicked");
    assert_answer(&send(get).await, 200, r#"{"webhook":{"urls":["https://hooks.example.net/a"]}}"#);
}

#[tokio::test]
async fn what_has_no_route_is_told_in_the_same_form() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    assert_message(&send(world.call("GET", "/")).await, 404, "Not Found");
    assert_message(&send(world.anonymous("GET", "/v9/nothing")).await, 404, "Not Found");
    let get = world.call("GET", "/v3/domains/%ff/webhooks");
    assert_message(&send(get).await, 404, "Not Found");
    let answer = send(world.call("PATCH", BASE)).await;
    assert_message(&answer, 405, "Method Not Allowed");
    let mut allowed: Vec<_> = answer.header("allow").expect("Allow").split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["DELETE", "GET", "HEAD", "POST", "PUT"]);
}
