//! Subaccounts, byte for byte (reference §10).

use std::time::Duration;

use chassis::Clock;
use protocol::v1;
use testkit::TestEnv;
use testkit::http::Response;

use crate::world::{World, assert_answer, assert_message, send};

const ALL: &str = "/v5/accounts/subaccounts";
const BEHALF: &str = "X-Mailgun-On-Behalf-Of";
const LIST: &str = "/v3/domains/mail.demo.example/webhooks";
const NO_FEATURES: &str = r#"{"webhooks_redact_pii":{"enabled":false}}"#;
const T0: &str = "Thu, 09 Oct 2025 08:53:20 GMT";
const T1: &str = "Thu, 09 Oct 2025 08:54:20 GMT";

/// With account `demo`, by a clock that stands still.
async fn world(env: &TestEnv) -> (World, Clock) {
    let clock = Clock::fixed("2025-10-09T08:53:20Z".parse().expect("a moment"));
    let world = World::configured(env, &[], clock.clone()).await;
    world.account("demo", "").await;
    world.domain("mail.demo.example", "demo").await;
    (world, clock)
}

async fn make(world: &World, name: &str) -> String {
    let made = send(world.call("POST", ALL).form(&[("name", name)])).await.expect_status(200);
    made.json()["subaccount"]["id"].as_str().expect("an id").to_owned()
}

fn shown(id: &str, name: &str, status: &str, updated_at: &str) -> String {
    format!(
        r#"{{"id":"{id}","name":"{name}","status":"{status}","created_at":"{T0}","updated_at":"{updated_at}","features":{NO_FEATURES}}}"#
    )
}

fn names(list: &Response) -> Vec<String> {
    let list = list.json();
    let list = list["subaccounts"].as_array().expect("a list");
    list.iter().map(|one| one["name"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test]
async fn a_subaccount_is_made_shown_and_acted_for() {
    let env = TestEnv::new();
    let (world, _) = world(&env).await;
    let post = |query: &str| world.call("POST", &format!("{ALL}{query}"));
    let empty = r#"{"subaccounts":[],"total":0}"#;
    assert_answer(&send(world.call("GET", ALL)).await, 200, empty);
    for request in [
        post("").multipart(&[("name", "Müller & Söhne")]),
        post("").form(&[("name", "Müller & Söhne")]),
        post("").json(&serde_json::json!({"name": "Müller & Söhne"})),
        post("?name=M%C3%BCller+%26+S%C3%B6hne"),
        post("?name=M%C3%BCller+%26+S%C3%B6hne").form(&[("other", "field")]),
        post("?name=unused").form(&[("name", "Müller & Söhne")]),
    ] {
        let made = send(request).await;
        let id = made.json()["subaccount"]["id"].as_str().expect("an id").to_owned();
        let body = format!(r#"{{"subaccount":{}}}"#, shown(&id, "Müller & Söhne", "open", T0));
        assert_answer(&made, 200, &body);
        assert_answer(&send(world.call("GET", &format!("{ALL}/{id}"))).await, 200, &body);

        let document = world.account_document(&format!("sub-{id}")).await;
        assert_eq!(document.account_id, id);
        assert_eq!(document.status(), v1::AccountStatus::Open);
        assert!(!document.parent_account_id.is_empty());
        let key = world.call("GET", "/v5/accounts/http_signing_key").header(BEHALF, &id);
        send(key).await.expect_status(200);
    }
    assert_eq!(send(world.call("GET", ALL)).await.json()["total"], 6);
    assert_eq!(env.sql("SELECT count(*) FROM api_keys").trim(), "1", "the parent's key acts");
}

#[tokio::test]
async fn a_list_is_sorted_paged_and_narrowed() {
    let env = TestEnv::new();
    let (world, _) = world(&env).await;
    // Lower case, whose order is the same whatever the database's language.
    let (b, a) = (make(&world, "b 100%").await, make(&world, "a").await);
    make(&world, "c").await;
    let d = make(&world, "d").await;
    send(world.call("POST", &format!("{ALL}/{b}/disable"))).await.expect_status(200);
    send(world.call("DELETE", ALL).header(BEHALF, &d)).await.expect_status(200);

    let list = |query: &str| send(world.call("GET", &format!("{ALL}?{query}")));
    let body = format!(r#"{{"subaccounts":[{}],"total":3}}"#, shown(&a, "a", "open", T0));
    assert_answer(&list("limit=1&sort=asc").await, 200, &body);
    for (query, expected, total) in [
        ("", &["a", "b 100%", "c"][..], 3),
        ("sort=asc", &["a", "b 100%", "c"], 3),
        ("sort=DESC", &["c", "b 100%", "a"], 3),
        ("limit=1000", &["a", "b 100%", "c"], 3),
        ("limit=2&skip=1", &["b 100%", "c"], 3),
        ("skip=3", &[], 3),
        ("filter=B+1", &["b 100%"], 1),
        ("filter=%25", &["b 100%"], 1),
        ("filter=_", &[], 0),
        ("enabled=true", &["a", "c"], 2),
        ("enabled=false", &["b 100%"], 1),
        ("closed=true", &["d"], 1),
        ("closed=false", &["a", "b 100%", "c"], 3),
        ("enabled=true&closed=true&sort=desc", &["d", "c", "a"], 3),
    ] {
        let answer = list(query).await.expect_status(200);
        assert_eq!(names(&answer), expected, "{query}");
        assert_eq!(answer.json()["total"], total, "{query}");
    }

    for (query, message) in [
        ("limit=0", "limit must be a whole number from 1 to 1000"),
        ("limit=1001", "limit must be a whole number from 1 to 1000"),
        ("limit=ten", "limit must be a whole number from 1 to 1000"),
        ("skip=-1", "skip must be a whole number from 0 to 2147483647"),
        ("sort=name", "sort must be asc or desc"),
        ("enabled=maybe", "enabled must be true or false"),
        ("closed=maybe", "closed must be true or false"),
        ("filter=%00", "the address has a NUL in it"),
    ] {
        assert_message(&list(query).await, 400, message);
    }
}

#[tokio::test]
async fn disabling_stops_a_subaccount_and_enabling_lets_it_go_on() {
    let env = TestEnv::new();
    let (world, clock) = world(&env).await;
    let id = make(&world, "sub").await;
    clock.advance(Duration::from_secs(60));
    let disable = || world.call("POST", &format!("{ALL}/{id}/disable"));
    let enable = || world.call("POST", &format!("{ALL}/{id}/enable"));
    assert_message(&send(enable()).await, 400, "subaccount is already enabled");

    let fields = [("reason", "unpaid"), ("note", "asked twice")];
    let answer = send(disable().form(&fields)).await;
    let disabled = format!(r#"{{"subaccount":{}}}"#, shown(&id, "sub", "disabled", T1));
    assert_answer(&answer, 200, &disabled);
    assert_eq!(
        env.sql("SELECT disabled_reason FROM accounts WHERE status = 'disabled'").trim(),
        "unpaid: asked twice"
    );
    let document = world.account_document(&format!("sub-{id}")).await;
    assert_eq!(document.status(), v1::AccountStatus::Disabled);
    assert_message(&send(disable()).await, 400, "subaccount is already disabled");
    // Its parent sees it, and does nothing for it.
    assert_answer(&send(world.call("GET", &format!("{ALL}/{id}"))).await, 200, &disabled);
    let get = world.call("GET", "/v1/alerts/settings").header(BEHALF, &id);
    assert_message(&send(get).await, 403, "Account is disabled");

    let answer = send(enable()).await;
    assert_answer(&answer, 200, &format!(r#"{{"subaccount":{}}}"#, shown(&id, "sub", "open", T1)));
    let get = world.call("GET", "/v1/alerts/settings").header(BEHALF, &id);
    send(get).await.expect_status(200);

    let long = "x".repeat(1025);
    let answer = send(disable().form(&[("reason", &long)])).await;
    assert_message(&answer, 400, "reason and note must be at most 1024 characters together");
    // As mailgun.js sends it.
    let empty = disable().body("application/x-www-form-urlencoded", "");
    send(empty).await.expect_status(200);
}

#[tokio::test]
async fn closing_is_final() {
    let env = TestEnv::new();
    let (world, _) = world(&env).await;
    let id = make(&world, "sub").await;
    let name = format!("sub-{id}");
    let request = v1::CreateKeyRequest { account_name: name.clone(), ..Default::default() };
    let key = world.admin().create_key(request).await.expect("made").into_inner().api_key;
    let own = || world.anonymous("GET", "/v1/alerts/settings").basic_auth("api", &key);
    send(own()).await.expect_status(200);

    let delete = || world.call("DELETE", ALL).header(BEHALF, &id);
    let deleted = r#"{"message":"Subaccount successfully deleted"}"#;
    // One that is disabled can be closed as well.
    send(world.call("POST", &format!("{ALL}/{id}/disable"))).await.expect_status(200);
    assert_answer(&send(delete()).await, 200, deleted);
    assert_eq!(world.account_document(&name).await.status(), v1::AccountStatus::Closed);
    assert_eq!(send(own()).await.status, 401, "its keys are revoked");
    assert_message(&send(delete()).await, 400, "subaccount is already closed");

    let one = |call: &str| format!("{ALL}/{id}{call}");
    let closed = format!(r#"{{"subaccount":{}}}"#, shown(&id, "sub", "closed", T0));
    assert_answer(&send(world.call("GET", &one(""))).await, 200, &closed);
    for request in [
        world.call("POST", &one("/enable")),
        world.call("POST", &one("/disable")),
        world.call("PUT", &one("/features")).form(&[("sending", r#"{"enabled":true}"#)]),
    ] {
        assert_message(&send(request).await, 400, "subaccount is already closed");
    }
    let get = world.call("GET", "/v1/alerts/settings").header(BEHALF, &id);
    assert_message(&send(get).await, 403, "Account is closed");
}

#[tokio::test]
async fn deleting_needs_a_subaccount_that_is_named() {
    let env = TestEnv::new();
    let (world, _) = world(&env).await;
    let demo = world.account_document("demo").await.account_id.clone();
    world.account("demo-sub", "demo").await;
    let message =
        "the header X-Mailgun-On-Behalf-Of must name the subaccount that is to be deleted";
    assert_message(&send(world.call("DELETE", ALL)).await, 400, message);
    assert_message(&send(world.call("DELETE", ALL).header(BEHALF, &demo)).await, 400, message);
    let own = world.anonymous("DELETE", ALL).basic_auth("api", "key-demo-sub");
    assert_message(&send(own).await, 400, message);
    let unknown = world.call("DELETE", ALL).header(BEHALF, "66f0c1de9a7b4e0012ab34cd");
    assert_message(&send(unknown).await, 403, "Forbidden");
    let open = env.sql("SELECT count(*) FROM accounts WHERE status = 'open'");
    assert_eq!(open.trim(), "2");
}

#[tokio::test]
async fn features_of_a_subaccount_are_set_by_its_parent() {
    let env = TestEnv::new();
    let (world, _) = world(&env).await;
    let id = make(&world, "sub").await;
    let put = || world.call("PUT", &format!("{ALL}/{id}/features"));
    let (on, off) = (r#"{"enabled":true}"#, r#"{"enabled":false}"#);
    let answer = send(put().form(&[("sending", on), ("validations", off)])).await;
    assert_answer(
        &answer,
        200,
        r#"{"features":{"sending":{"enabled":true},"validations":{"enabled":false},"webhooks_redact_pii":{"enabled":false}}}"#,
    );
    send(put().form(&[("webhooks_redact_pii", on)])).await.expect_status(200);
    assert!(world.account_document(&format!("sub-{id}")).await.redact_pii);
    assert_message(&send(put()).await, 400, "No valid updates provided");
    let answer = send(put().form(&[("sending", "yes")])).await;
    let wrong = r#"{"message":"sending must be a JSON object such as {\"enabled\":true}"}"#;
    assert_answer(&answer, 400, wrong);
    let shown = send(world.call("GET", &format!("{ALL}/{id}"))).await.json();
    assert_eq!(shown["subaccount"]["features"]["sending"]["enabled"], true);
}

#[tokio::test]
async fn a_monthly_limit_is_kept_for_the_clients_that_set_it() {
    let env = TestEnv::new();
    let (world, _) = world(&env).await;
    let id = make(&world, "sub").await;
    let call = |method: &str, query: &str| {
        world.call(method, &format!("{ALL}/{id}/limit/custom/monthly{query}"))
    };
    let done = r#"{"success":true}"#;
    assert_message(&send(call("GET", "")).await, 404, "Not Found");
    assert_answer(&send(call("PUT", "?limit=5000")).await, 200, done);
    let limit = r#"{"limit":5000,"current":0,"period":"1m"}"#;
    assert_answer(&send(call("GET", "")).await, 200, limit);
    for wrong in ["", "?limit=", "?limit=-1", "?limit=many", "?limit=4294967296"] {
        let message = "limit must be a whole number from 0 to 4294967295";
        assert_message(&send(call("PUT", wrong)).await, 400, message);
    }
    assert_answer(&send(call("GET", "")).await, 200, limit);
    assert_answer(&send(call("PUT", "").form(&[("limit", "0")])).await, 200, done);
    assert_answer(&send(call("DELETE", "")).await, 200, done);
    assert_message(&send(call("GET", "")).await, 404, "Not Found");
    let unknown = format!("{ALL}/66f0c1de9a7b4e0012ab34cd/limit/custom/monthly?limit=1");
    for method in ["GET", "PUT", "DELETE"] {
        assert_message(&send(world.call(method, &unknown)).await, 404, "Not Found");
    }
    send(world.call("DELETE", ALL).header(BEHALF, &id)).await.expect_status(200);
    for method in ["PUT", "DELETE"] {
        let answer = send(call(method, "?limit=1")).await;
        assert_message(&answer, 400, "subaccount is already closed");
    }
}

#[tokio::test]
async fn a_subaccount_belongs_to_its_parent_alone() {
    let env = TestEnv::new();
    let (world, _) = world(&env).await;
    let sub = make(&world, "sub").await;
    let demo = world.account_document("demo").await.account_id.clone();
    world.account("other", "").await;
    let others =
        |method: &str, path: &str| world.anonymous(method, path).basic_auth("api", "key-other");
    let features = [("sending", r#"{"enabled":true}"#)];
    for id in [sub.as_str(), "66f0c1de9a7b4e0012ab34cd", "not-an-id", "sub"] {
        let one = |call: &str| format!("{ALL}/{id}{call}");
        for request in [
            others("GET", &one("")),
            others("POST", &one("/disable")),
            others("POST", &one("/enable")),
            others("PUT", &one("/features")).form(&features),
        ] {
            assert_message(&send(request).await, 404, "Not Found");
        }
        assert_message(&send(others("DELETE", ALL).header(BEHALF, id)).await, 403, "Forbidden");
    }
    // Nor is an account a subaccount of itself.
    assert_message(&send(world.call("GET", &format!("{ALL}/{demo}"))).await, 404, "Not Found");
    assert_answer(&send(others("GET", ALL)).await, 200, r#"{"subaccounts":[],"total":0}"#);

    // A subaccount has none of its own, and does not see its sisters.
    let as_sub = |method: &str| world.call(method, ALL).header(BEHALF, &sub);
    let answer = send(as_sub("POST").form(&[("name", "grandchild")])).await;
    assert_message(&answer, 403, "a subaccount cannot have subaccounts");
    assert_answer(&send(as_sub("GET")).await, 200, r#"{"subaccounts":[],"total":0}"#);
    let get = world.call("GET", &format!("{ALL}/{sub}")).header(BEHALF, &sub);
    assert_message(&send(get).await, 404, "Not Found");
    send(world.call("GET", LIST)).await.expect_status(200);
}

#[tokio::test]
async fn what_is_no_name_makes_no_subaccount_and_there_are_only_so_many() {
    let env = TestEnv::new();
    let settings = [("POSTRIDER_QUOTA_SUBACCOUNTS", "2")];
    let world = World::configured(&env, &settings, Clock::system()).await;
    world.account("demo", "").await;
    let post = || world.call("POST", ALL);
    assert_message(&send(post()).await, 400, "Bad request");
    assert_message(&send(post().form(&[("name", "")])).await, 400, "Bad request");
    let long = "x".repeat(129);
    for name in [long.as_str(), "a\u{7}b"] {
        let message = "name must be 1 to 128 characters without control characters";
        assert_message(&send(post().form(&[("name", name)])).await, 400, message);
    }
    let first = make(&world, "same").await;
    make(&world, "same").await;
    let answer = send(post().form(&[("name", "third")])).await;
    assert_message(&answer, 400, "an account can have at most 2 subaccounts");
    assert_eq!(send(world.call("GET", ALL)).await.json()["total"], 2);
    // Closed ones do not count.
    send(world.call("DELETE", ALL).header(BEHALF, &first)).await.expect_status(200);
    make(&world, "third").await;
}

#[tokio::test]
async fn only_an_admin_makes_and_ends_subaccounts() {
    let env = TestEnv::new();
    let (world, _) = world(&env).await;
    let id = make(&world, "sub").await;
    let one = |call: &str| format!("{ALL}/{id}{call}");
    for (role, reads) in [("developer", 200), ("basic", 200), ("sending", 403)] {
        env.sql(&format!("UPDATE api_keys SET role = '{role}'"));
        assert_eq!(send(world.call("GET", ALL)).await.status, reads, "{role}");
        assert_eq!(send(world.call("GET", &one(""))).await.status, reads, "{role}");
        for request in [
            world.call("POST", ALL).form(&[("name", "x")]),
            world.call("POST", &one("/disable")),
            world.call("POST", &one("/enable")),
            world.call("PUT", &one("/features")).form(&[("sending", r#"{"enabled":true}"#)]),
            world.call("DELETE", ALL).header(BEHALF, &id),
        ] {
            assert_message(&send(request).await, 403, "Forbidden");
        }
    }
}
