//! API keys, byte for byte.

use std::time::Duration;

use chassis::Clock;
use chrono::DateTime;
use testkit::TestEnv;
use testkit::http::Response;
use tokio::task::JoinSet;

use crate::world::{World, assert_answer, assert_message, send};

const KEYS: &str = "/v1/keys";
const BEHALF: &str = "X-Mailgun-On-Behalf-Of";
const UNKNOWN: &str = "no key matching id";
const LAST: &str =
    "this is the account's only admin key that does not expire; make another one first";

/// 2025-10-09T08:53:20.
fn clock() -> Clock {
    Clock::fixed(DateTime::from_timestamp(1_760_000_000, 0).expect("a moment"))
}

/// With account `demo` and domain `mail.demo.example`.
async fn demo(env: &TestEnv, clock: Clock) -> World {
    let world = World::configured(env, &[], clock).await;
    world.account("demo", "").await;
    world.domain("mail.demo.example", "demo").await;
    world
}

fn text<'a>(value: &'a serde_json::Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// Makes a key with the key of `demo`; returns its id and itself.
async fn make(world: &World, fields: &[(&str, &str)]) -> (String, String) {
    let made = send(world.call("POST", KEYS).form(fields)).await.expect_status(200).json();
    (text(&made["key"], "id").to_owned(), text(&made["key"], "secret").to_owned())
}

/// The id of the key that an account began with.
fn first_key(env: &TestEnv, account: &str) -> String {
    let sql = format!("SELECT key_id FROM api_keys WHERE hash = sha256('key-{account}')");
    env.sql(&sql).trim().to_owned()
}

async fn listed(world: &World, query: &str) -> Vec<String> {
    let answer = send(world.call("GET", &format!("{KEYS}{query}"))).await.expect_status(200).json();
    let items = answer["items"].as_array().expect("a list");
    assert_eq!(answer["total_count"], items.len());
    items.iter().map(|item| text(item, "id").to_owned()).collect()
}

#[track_caller]
fn assert_refused(response: &Response) {
    assert_eq!((response.status, response.text().as_str()), (401, "Forbidden"));
}

#[tokio::test]
async fn the_three_calls_answer_mailguns_bytes() {
    let env = TestEnv::new();
    let clock = clock();
    let world = demo(&env, clock.clone()).await;
    let first = first_key(&env, "demo");
    let fields = [
        ("role", "developer"),
        ("description", "for the <build>"),
        ("expiration", "3600"),
        ("email", "jane@demo.example"),
        ("user_id", "17"),
        ("user_name", "Jane"),
    ];
    let made = send(world.call("POST", KEYS).multipart(&fields)).await;
    let (id, secret) = {
        let json = made.json();
        (text(&json, "id").to_owned(), text(&json, "secret").to_owned())
    };
    let known = format!(
        r#""id":"{id}","description":"for the <build>","kind":"user","role":"developer","created_at":"2025-10-09T08:53:20","updated_at":"2025-10-09T08:53:20","expires_at":"2025-10-09T09:53:20","is_disabled":false,"domain_name":null,"requestor":"jane@demo.example","user_name":"Jane","last_used_at":null"#
    );
    assert_answer(
        &made,
        200,
        &format!(
            r#"{{"message":"great success","key":{{{known},"secret":"{secret}"}},{known},"secret":"{secret}"}}"#
        ),
    );
    assert_eq!(made.header("x-mailgun-key-id"), Some(first.as_str()));
    assert_eq!((id.len(), secret.len(), &secret[..4]), (17, 36, "key-"));

    // Shown once. What is stored is not the key.
    let demos = format!(
        r#"{{"id":"{first}","description":"","kind":"user","role":"admin","created_at":"2025-10-09T08:53:20","updated_at":"2025-10-09T08:53:20","is_disabled":false,"domain_name":null,"requestor":null,"user_name":null,"last_used_at":"2025-10-09T08:53:20"}}"#
    );
    let both = [demos.as_str(), &format!("{{{known}}}")];
    let mut both = both.map(str::to_owned).to_vec();
    both.sort_by_key(|item| item.contains(&id) != (id < first));
    let list = send(world.call("GET", KEYS)).await;
    assert_answer(&list, 200, &format!(r#"{{"total_count":2,"items":[{}]}}"#, both.join(",")));
    assert!(!env.sql("SELECT * FROM api_keys").contains(&secret[4..]));

    // It works, and its use is seen.
    let with_it = || world.anonymous("GET", "/v4/domains").basic_auth("api", &secret);
    clock.advance(Duration::from_secs(60));
    let answer = send(with_it()).await.expect_status(200);
    assert_eq!(answer.header("x-mailgun-key-id"), Some(id.as_str()));
    let list = send(world.call("GET", KEYS)).await.text();
    assert!(list.contains(r#""last_used_at":"2025-10-09T08:54:20""#), "{list}");

    // Once expired it opens nothing, and says so for a while.
    clock.advance(Duration::from_secs(3600 - 60));
    assert_refused(&send(with_it()).await);
    let list = send(world.call("GET", KEYS)).await.text();
    let expired = r#""expires_at":"2025-10-09T09:53:20","disabled_reason":"expired","is_disabled":true,"domain_name":null"#;
    assert!(list.contains(expired), "{list}");
    clock.advance(Duration::from_secs(30 * 24 * 3600));
    assert_eq!(listed(&world, "").await, [first]);

    // Deleted all the same, and once.
    let delete = || world.call("DELETE", &format!("{KEYS}/{id}"));
    assert_message(&send(delete()).await, 200, "key deleted");
    assert_message(&send(delete()).await, 404, UNKNOWN);
}

#[tokio::test]
async fn a_deleted_key_opens_nothing_from_then_on() {
    let env = TestEnv::new();
    let world = demo(&env, clock()).await;
    let (id, secret) = make(&world, &[("role", "admin")]).await;
    let with_it =
        |method: &str, path: &str| world.anonymous(method, path).basic_auth("api", &secret);
    send(with_it("GET", KEYS)).await.expect_status(200);
    // One may delete the key that one is calling with.
    let path = format!("{KEYS}/{id}");
    assert_message(&send(with_it("DELETE", &path)).await, 200, "key deleted");
    assert_refused(&send(with_it("DELETE", &path)).await);
    assert_refused(&send(with_it("GET", KEYS)).await);
    assert_eq!(listed(&world, "").await, [first_key(&env, "demo")]);
}

#[tokio::test]
async fn an_account_keeps_a_key_that_can_make_others() {
    let env = TestEnv::new();
    let world = demo(&env, clock()).await;
    let first = format!("{KEYS}/{}", first_key(&env, "demo"));
    // None of these can make others for good.
    make(&world, &[("role", "developer")]).await;
    make(&world, &[("role", "admin"), ("expiration", "3600")]).await;
    assert_message(&send(world.call("DELETE", &first)).await, 400, LAST);
    assert_eq!(listed(&world, "").await.len(), 3, "nothing was changed");
    let (_, second) = make(&world, &[("role", "admin")]).await;
    assert_message(&send(world.call("DELETE", &first)).await, 200, "key deleted");

    // For a subaccount the parent can make others.
    let sub = world.account("demo-sub", "demo").await;
    let subs = format!("{KEYS}/{}", first_key(&env, "demo-sub"));
    let as_parent = |method: &str, path: &str| {
        let request = world.anonymous(method, path).basic_auth("api", &second);
        request.header(BEHALF, &sub)
    };
    assert_message(&send(as_parent("DELETE", &subs)).await, 200, "key deleted");
    let none = r#"{"total_count":0,"items":[]}"#;
    assert_answer(&send(as_parent("GET", KEYS)).await, 200, none);
    let made = send(as_parent("POST", KEYS).form(&[("role", "basic")])).await.expect_status(200);
    let own = world.anonymous("GET", "/v4/domains");
    let own = own.basic_auth("api", text(&made.json(), "secret"));
    let none = r#"{"total_count":0,"items":[]}"#;
    assert_answer(&send(own).await, 200, none);
}

#[tokio::test]
async fn keys_of_each_kind_are_made_and_found() {
    let env = TestEnv::new();
    let world = demo(&env, clock()).await;
    let first = first_key(&env, "demo");
    let domain = [("role", "sending"), ("kind", "domain"), ("domain_name", "MAIL.demo.example")];
    let (domain, _) = make(&world, &domain).await;
    // As the Python client's example has it: the domain says nothing here.
    let web = [("role", "admin"), ("kind", "web"), ("domain_name", "python.test.domain5")];
    let (web, _) = make(&world, &web).await;
    let (sending, _) = make(&world, &[("role", "sending"), ("expiration", "0")]).await;
    let sorted = |ids: &[&String]| {
        let mut ids: Vec<_> = ids.iter().map(|id| (*id).clone()).collect();
        ids.sort();
        ids
    };
    for (query, expected) in [
        ("", sorted(&[&first, &domain, &web, &sending])),
        ("?kind=domain", sorted(&[&domain])),
        ("?kind=web", sorted(&[&web])),
        ("?kind=user&domain_name=", sorted(&[&first, &sending])),
        ("?domain_name=Mail.Demo.Example", sorted(&[&domain])),
        ("?domain_name=python.test.domain5&kind=web", sorted(&[&web])),
        ("?domain_name=mail.demo.example&kind=web", vec![]),
        ("?domain_name=no%20domain", vec![]),
    ] {
        assert_eq!(listed(&world, query).await, expected, "{query}");
    }
    let list = send(world.call("GET", "/v1/keys?kind=web")).await.text();
    assert!(list.contains(r#""expires_at":"2025-10-10T08:53:20""#), "a day: {list}");
    let list = send(world.call("GET", "/v1/keys?kind=domain")).await.text();
    assert!(list.contains(r#""domain_name":"mail.demo.example""#), "{list}");
}

#[tokio::test]
async fn wrong_requests_are_told_what_is_wrong() {
    let env = TestEnv::new();
    let world = demo(&env, clock()).await;
    world.account("other", "").await;
    world.domain("mail.other.example", "other").await;
    let kind = "expected `kind` param to be one of [domain user web] or absent";
    let description = "description must be a text of at most 256 characters";
    let expiration = "expiration must be a number of seconds from 0, for never, to 4294967295";
    let (long, most) = ("é".repeat(257), "é".repeat(256));
    let domain =
        |name: &'static str| vec![("role", "sending"), ("kind", "domain"), ("domain_name", name)];
    for (form, message) in [
        (vec![], "Missing parameter 'role'"),
        (vec![("role", "")], "Missing parameter 'role'"),
        (vec![("role", "owner")], "role must be one of admin, developer, basic and sending"),
        (vec![("role", "admin"), ("kind", "public")], kind),
        (
            vec![("role", "admin"), ("kind", "domain"), ("domain_name", "mail.demo.example")],
            "a key of kind domain must have the role sending",
        ),
        (vec![("role", "sending"), ("kind", "domain")], "Missing parameter 'domain_name'"),
        (domain("no domain"), "domain_name must be the name of a domain"),
        (domain("nowhere.example"), "domain_name must be a domain of this account"),
        (domain("mail.other.example"), "domain_name must be a domain of this account"),
        (vec![("role", "basic"), ("description", &long)], description),
        (vec![("role", "basic"), ("description", "a\0b")], "field 'description' has a NUL in it"),
        (vec![("role", "basic"), ("expiration", "-1")], expiration),
        (vec![("role", "basic"), ("expiration", "soon")], expiration),
        (vec![("role", "basic"), ("expiration", "4294967296")], expiration),
        (
            vec![("role", "basic"), ("kind", "web"), ("expiration", "86401")],
            "expiration of a key of kind web must be at most 86400 seconds",
        ),
    ] {
        assert_message(&send(world.call("POST", KEYS).form(&form)).await, 400, message);
    }
    assert_message(&send(world.call("GET", "/v1/keys?kind=all")).await, 400, kind);
    let broken = world.call("POST", KEYS).body("application/json", "{");
    let message = "the body is not valid JSON: EOF while parsing an object at line 1 column 1";
    assert_message(&send(broken).await, 400, message);
    let unreadable = world.call("POST", KEYS).body("application/xml", "<key/>");
    let message = "Content-Type 'application/xml' is not supported here";
    assert_message(&send(unreadable).await, 415, message);
    assert_eq!(listed(&world, "").await.len(), 1, "nothing was made");
    // The longest is taken.
    make(&world, &[("role", "basic"), ("description", &most), ("expiration", "4294967295")]).await;

    let foreign = first_key(&env, "other");
    for id in [foreign.as_str(), "00000000-00000000", "key-demo", "%27"] {
        let delete = world.call("DELETE", &format!("{KEYS}/{id}"));
        assert_message(&send(delete).await, 404, UNKNOWN);
    }
    let get = world.anonymous("GET", "/v4/domains").basic_auth("api", "key-other");
    send(get).await.expect_status(200);
}

#[tokio::test]
async fn only_an_admins_key_makes_and_deletes_keys() {
    let env = TestEnv::new();
    let world = demo(&env, clock()).await;
    let first = first_key(&env, "demo");
    for (role, reads) in [("developer", 200), ("basic", 200), ("sending", 403)] {
        let (_, secret) = make(&world, &[("role", role)]).await;
        let with_it =
            |method: &str, path: &str| world.anonymous(method, path).basic_auth("api", &secret);
        assert_eq!(send(with_it("GET", KEYS)).await.status, reads, "{role}");
        let post = with_it("POST", KEYS).form(&[("role", "admin")]);
        assert_message(&send(post).await, 403, "Forbidden");
        let delete = with_it("DELETE", &format!("{KEYS}/{first}"));
        assert_message(&send(delete).await, 403, "Forbidden");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_callers_stay_within_the_quota() {
    let env = TestEnv::new();
    let clock = clock();
    let world = demo(&env, clock.clone()).await;
    env.sql("UPDATE accounts SET max_api_keys = 4");
    let mut posts = JoinSet::new();
    for _ in 0..10 {
        let form = [("role", "basic"), ("expiration", "60")];
        posts.spawn(send(world.call("POST", KEYS).form(&form)));
    }
    let answers = posts.join_all().await;
    let made = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(made, 3, "and the one that the account began with");
    let message =
        "could not create key, account limit reached: an account can have at most 4 API keys";
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_message(answer, 403, message);
    }
    // Neither expired nor deleted keys count.
    clock.advance(Duration::from_secs(60));
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(make(&world, &[("role", "basic")]).await.0);
    }
    let post = || world.call("POST", KEYS).form(&[("role", "basic")]);
    assert_message(&send(post()).await, 403, message);
    send(world.call("DELETE", &format!("{KEYS}/{}", ids[0]))).await.expect_status(200);
    send(post()).await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_last_keys_that_are_deleted_at_once_one_stays() {
    let env = TestEnv::new();
    let world = demo(&env, clock()).await;
    for _ in 0..5 {
        let (second, secret) = make(&world, &[("role", "admin")]).await;
        let first = first_key_left(&env, &second);
        let mut deletes = JoinSet::new();
        for id in [&first, &second] {
            let delete = world.anonymous("DELETE", &format!("{KEYS}/{id}"));
            deletes.spawn(send(delete.basic_auth("api", &secret)));
        }
        let mut statuses: Vec<_> =
            deletes.join_all().await.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        // The second may find the key that it came with deleted already.
        assert!(statuses == [200, 400] || statuses == [200, 401], "{statuses:?}");
        let left = "SELECT count(*) FROM api_keys WHERE revoked_at IS NULL AND role = 'admin'";
        assert_eq!(env.sql(left).trim(), "1");
        // Back to a key that this test knows.
        env.sql(
            "UPDATE api_keys SET revoked_at = CASE WHEN hash = sha256('key-demo') THEN NULL \
             ELSE coalesce(revoked_at, now()) END",
        );
    }
}

fn first_key_left(env: &TestEnv, other: &str) -> String {
    let sql = format!(
        "SELECT key_id FROM api_keys WHERE revoked_at IS NULL AND key_id <> '{other}' LIMIT 1"
    );
    env.sql(&sql).trim().to_owned()
}
