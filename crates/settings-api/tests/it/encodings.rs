//! Every encoding that Mailgun's clients send (reference §1.4), over the wire.

use testkit::TestEnv;
use testkit::http::Request;

use crate::world::{World, assert_answer, assert_message, send};

const BASE: &str = "/v3/domains/mail.demo.example/webhooks";
const CREATED: &str = r#"{"message":"Webhook has been created","webhook":{"urls":["https://hooks.example.net/a","https://hooks.example.net/b"]}}"#;
const FIELDS: [(&str, &str); 3] = [
    ("id", "clicked"),
    ("url", "https://hooks.example.net/a"),
    ("url", "https://hooks.example.net/b"),
];

async fn assert_creates(world: &World, request: Request) {
    assert_answer(&send(request).await, 200, CREATED);
    send(world.call("DELETE", &format!("{BASE}/clicked"))).await.expect_status(200);
}

#[tokio::test]
async fn all_encodings_mean_the_same() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let post = || world.call("POST", BASE);
    assert_creates(&world, post().form(&FIELDS)).await;
    assert_creates(&world, post().multipart(&FIELDS)).await;
    let php = FIELDS.map(|(name, value)| (if name == "url" { "url[]" } else { name }, value));
    assert_creates(&world, post().form(&php)).await;

    // mailgun-php quotes the boundary.
    let parts = FIELDS.map(|(name, value)| {
        format!("--q\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    });
    let body = format!("{}--q--\r\n", parts.concat());
    assert_creates(&world, post().body("multipart/form-data; boundary=\"q\"", body)).await;

    let json = serde_json::json!({
        "id": "clicked",
        "url": ["https://hooks.example.net/a", "https://hooks.example.net/b"],
    });
    assert_creates(&world, post().json(&json)).await;

    let query =
        "id=clicked&url=https%3A%2F%2Fhooks.example.net%2Fa&url=https://hooks.example.net/b";
    let in_query = || world.call("POST", &format!("{BASE}?{query}"));
    assert_creates(&world, in_query()).await;
    let empty_form = in_query().body("application/x-www-form-urlencoded", "");
    assert_creates(&world, empty_form).await;

    // mailgun.js sends a type with requests that have no body.
    let list = world.call("GET", BASE).body("application/x-www-form-urlencoded", "");
    assert_answer(&send(list).await, 200, r#"{"webhooks":{}}"#);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let post = |content_type: &str, body: &str| {
        send(world.call("POST", BASE).body(content_type, body.to_owned()))
    };
    let answer = post("application/json", "[1]").await;
    assert_message(&answer, 400, "the body must be a JSON object");
    let answer = post("multipart/form-data", "x").await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("multipart"), "{}", answer.text());
    let answer = post("text/plain", "id=clicked").await;
    assert_message(&answer, 415, "Content-Type 'text/plain' is not supported here");
    let large = format!("id=clicked&url=https://hooks.example.net/{}", "x".repeat(1024 * 1024));
    let answer = post("application/x-www-form-urlencoded", &large).await;
    assert_message(&answer, 413, "Request Entity Too Large");
}
