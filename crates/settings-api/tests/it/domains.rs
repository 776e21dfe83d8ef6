//! Domains, byte for byte (reference §6.3).

use std::time::Duration;

use chassis::Clock;
use chrono::DateTime;
use testkit::http::{Request, Response};
use testkit::{OwnServers, TestEnv, eventually};
use tokio::task::JoinSet;

use crate::world::{DEADLINE, Servers, World, assert_answer, assert_message, send};

const BEHALF: &str = "X-Mailgun-On-Behalf-Of";
const TAKEN: &str = "This domain name is already taken";
const UNKNOWN: &str = "Domain not found";

/// Thu, 09 Oct 2025 08:53:20 GMT.
fn clock() -> Clock {
    Clock::fixed(DateTime::from_timestamp(1_760_000_000, 0).expect("a moment"))
}

/// With account `demo`, domain `mail.demo.example`, and a clock that stands still.
async fn demo(env: &TestEnv, settings: &[(&str, &str)], clock: Clock) -> World {
    let world = World::configured(env, settings, clock).await;
    world.account("demo", "").await;
    world.domain("mail.demo.example", "demo").await;
    world
}

/// What is shown of a domain that was made when the clock stood at its start.
fn shown(name: &str, redact_pii: bool) -> String {
    let id = model::domain_id(name);
    format!(
        r#"{{"created_at":"Thu, 09 Oct 2025 08:53:20 GMT","id":"{id}","is_disabled":false,"name":"{name}","require_tls":false,"skip_verification":false,"smtp_login":"postmaster@{name}","spam_action":"disabled","state":"active","type":"custom","use_automatic_sender_security":false,"web_prefix":"email","web_scheme":"http","wildcard":false,"encrypt_incoming_message":false,"message_ttl":259200,"webhooks_redact_pii":{redact_pii}}}"#
    )
}

fn one(domain: &str) -> String {
    format!(r#"{{"domain":{domain},"receiving_dns_records":[],"sending_dns_records":[]}}"#)
}

fn changed(message: &str, domain: &str) -> String {
    let one = one(domain);
    let Some(rest) = one.strip_prefix('{') else { unreachable!("an object") };
    format!(r#"{{"message":"{message}",{rest}"#)
}

fn names(answer: &Response) -> Vec<String> {
    let items = answer.json()["items"].as_array().expect("a list").clone();
    items.iter().map(|item| item["name"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test]
async fn all_calls_answer_mailguns_bytes_in_both_versions() {
    let env = TestEnv::new();
    let world = demo(&env, &[], clock()).await;
    for version in ["v3", "v4"] {
        let base = format!("/{version}/domains");
        let path = format!("{base}/new.demo.example");
        let new = shown("new.demo.example", false);
        let demo = shown("mail.demo.example", false);

        // The name is that of a domain in whatever case.
        let made = send(world.call("POST", &base).form(&[("name", "New.Demo.Example")])).await;
        assert_answer(&made, 200, &changed("Domain DNS records have been created", &new));
        assert!(made.header("x-mailgun-key-id").is_some());

        assert_answer(&send(world.call("GET", &path)).await, 200, &one(&new));
        let list = send(world.call("GET", &format!("{base}?sort=name"))).await;
        assert_answer(&list, 200, &format!(r#"{{"total_count":2,"items":[{demo},{new}]}}"#));

        let put = world.call("PUT", &path).multipart(&[("webhooks_redact_pii", "true")]);
        let redacted = shown("new.demo.example", true);
        assert_answer(&send(put).await, 200, &changed("Domain has been updated", &redacted));
        assert!(world.domain_document("new.demo.example").await.redact_pii);
        assert_answer(
            &send(world.call("PUT", &format!("{path}/verify"))).await,
            200,
            &changed("Domain DNS records have been updated", &redacted),
        );

        assert_message(
            &send(world.call("DELETE", &path)).await,
            200,
            "Domain will be deleted in the background",
        );
        for method in ["GET", "PUT", "DELETE"] {
            assert_message(&send(world.call(method, &path)).await, 404, UNKNOWN);
        }
        assert_message(&send(world.call("PUT", &format!("{path}/verify"))).await, 404, UNKNOWN);
        let list = send(world.call("GET", &base)).await;
        assert_answer(&list, 200, &format!(r#"{{"total_count":1,"items":[{demo}]}}"#));
    }
}

#[tokio::test]
async fn a_disabled_domain_says_so_and_stays() {
    let env = TestEnv::new();
    let world = demo(&env, &[], clock()).await;
    env.sql("UPDATE domains SET disabled_at = now(), disabled_reason = 'spam'");
    let path = "/v4/domains/mail.demo.example";
    let disabled = shown("mail.demo.example", false)
        .replace(r#""is_disabled":false"#, r#""is_disabled":true"#)
        .replace(r#""state":"active""#, r#""state":"disabled""#)
        .replace(
            r#","id""#,
            r#","disabled":{"code":"disabled","note":"","permanently":false,"reason":"spam"},"id""#,
        );
    assert_answer(&send(world.call("GET", path)).await, 200, &one(&disabled));
    let listed = async |state: &str| {
        names(&send(world.call("GET", &format!("/v4/domains?state={state}"))).await)
    };
    assert_eq!(listed("disabled").await, ["mail.demo.example"]);
    assert_eq!(listed("inactive").await, ["mail.demo.example"]);
    assert!(listed("active").await.is_empty());
    assert!(listed("unverified").await.is_empty());
    // Whoever could delete it could make it again.
    assert_message(&send(world.call("DELETE", path)).await, 403, "Domain is disabled");
    let put = world.call("PUT", path).form(&[("webhooks_redact_pii", "yes")]);
    send(put).await.expect_status(200);
    assert!(world.domain_document("mail.demo.example").await.redact_pii);
}

#[tokio::test]
async fn lists_are_paged_sorted_and_searched() {
    let env = TestEnv::new();
    let clock = clock();
    let world = demo(&env, &[], clock.clone()).await;
    let sub = world.account("demo-sub", "demo").await;
    for (name, account) in
        [("b.example", "demo"), ("a.example", "demo"), ("mail.sub.example", "demo-sub")]
    {
        clock.advance(Duration::from_secs(1));
        world.domain(name, account).await;
    }
    world.account("other", "").await;
    world.domain("mail.other.example", "other").await;
    for (query, expected, total) in [
        ("", vec!["a.example", "b.example", "mail.demo.example"], 3),
        ("?sort=name:desc", vec!["mail.demo.example", "b.example", "a.example"], 3),
        ("?sort=name%3A+desc&limit=1", vec!["mail.demo.example"], 3),
        ("?sort=name:asc&limit=1&skip=1", vec!["b.example"], 3),
        ("?sort=created_at&limit=1", vec!["mail.demo.example"], 3),
        ("?sort=name&limit=2&skip=2", vec!["mail.demo.example"], 3),
        ("?skip=3", vec![], 3),
        ("?search=MAIL", vec!["mail.demo.example"], 1),
        ("?search=%25", vec![], 0),
        ("?search=example&limit=1", vec!["a.example"], 3),
        (
            "?state=active&authority=a.example",
            vec!["a.example", "b.example", "mail.demo.example"],
            3,
        ),
        ("?state=unverified", vec![], 0),
        (
            "?limit=&skip=&state=&sort=&search=",
            vec!["a.example", "b.example", "mail.demo.example"],
            3,
        ),
        (
            "?include_subaccounts=true&sort=name",
            vec!["a.example", "b.example", "mail.demo.example", "mail.sub.example"],
            4,
        ),
    ] {
        for version in ["v3", "v4"] {
            let answer = send(world.call("GET", &format!("/{version}/domains{query}"))).await;
            assert_eq!((names(&answer), answer.status), (owned(&expected), 200), "{query}");
            assert_eq!(answer.json()["total_count"], total, "{query}");
        }
    }

    let by_sub = shown("mail.sub.example", false)
        .replace("08:53:20", "08:53:23")
        .replace(r#","type""#, &format!(r#","subaccount_id":"{sub}","type""#));
    let list = send(world.call("GET", "/v4/domains").header(BEHALF, &sub)).await;
    assert_answer(&list, 200, &format!(r#"{{"total_count":1,"items":[{by_sub}]}}"#));
    let own = world.anonymous("GET", "/v4/domains/mail.sub.example");
    assert_answer(&send(own.basic_auth("api", "key-demo-sub")).await, 200, &one(&by_sub));
    // A subaccount has none of its own.
    let upwards = world.anonymous("GET", "/v4/domains?include_subaccounts=1");
    let answer = send(upwards.basic_auth("api", "key-demo-sub")).await;
    assert_eq!(names(&answer), ["mail.sub.example"]);
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn wrong_requests_are_told_what_is_wrong() {
    let env = TestEnv::new();
    let world = demo(&env, &[], clock()).await;
    let name = "name must be the name of a domain, such as mail.example.com";
    let flag =
        |field: &str| format!("{field} must be true or false; yes and no, 1 and 0 mean the same");
    let long = format!("{}.example", "a".repeat(64));
    for (form, message) in [
        (vec![], "Missing parameter 'name'".to_owned()),
        (vec![("name", "")], "Missing parameter 'name'".to_owned()),
        (vec![("name", "no domain.example")], name.to_owned()),
        (vec![("name", "192.0.2.1")], name.to_owned()),
        (vec![("name", "localhost")], name.to_owned()),
        (vec![("name", "a\0.example")], "field 'name' has a NUL in it".to_owned()),
        (vec![("name", &long)], name.to_owned()),
        (
            vec![("name", "new.example"), ("webhooks_redact_pii", "maybe")],
            flag("webhooks_redact_pii"),
        ),
        (vec![("name", "MAIL.demo.example")], TAKEN.to_owned()),
    ] {
        for version in ["v3", "v4"] {
            let post = world.call("POST", &format!("/{version}/domains")).form(&form);
            assert_message(&send(post).await, 400, &message);
        }
    }
    for (query, message) in [
        ("limit=0", "limit must be a number from 1 to 1000".to_owned()),
        ("limit=1001", "limit must be a number from 1 to 1000".to_owned()),
        ("limit=many", "limit must be a number from 1 to 1000".to_owned()),
        ("skip=-1", "skip must be a number from 0 to 4294967295".to_owned()),
        ("skip=99999999999999999999", "skip must be a number from 0 to 4294967295".to_owned()),
        ("state=lost", "state must be one of active, unverified and disabled".to_owned()),
        ("sort=age", "sort must be name or created_at, alone or with :asc or :desc".to_owned()),
        ("search=a%00", "the address has a NUL in it".to_owned()),
        ("include_subaccounts=2", flag("include_subaccounts")),
    ] {
        let get = world.call("GET", &format!("/v4/domains?{query}"));
        assert_message(&send(get).await, 400, &message);
    }
    let path = "/v4/domains/mail.demo.example";
    let put = world.call("PUT", path).form(&[("webhooks_redact_pii", "on")]);
    assert_message(&send(put).await, 400, &flag("webhooks_redact_pii"));
    let put = world.call("PUT", path).body("text/plain", "x");
    assert_message(&send(put).await, 415, "Content-Type 'text/plain' is not supported here");
    let huge = world.call("PUT", path).body("application/json", vec![b' '; 1024 * 1024 + 1]);
    assert_message(&send(huge).await, 413, "Request Entity Too Large");
    for unknown in ["nowhere.example", "no%20domain", "%FF"] {
        let get = world.call("GET", &format!("/v4/domains/{unknown}"));
        let answer = send(get).await;
        let message = if unknown == "%FF" { "Not Found" } else { UNKNOWN };
        assert_message(&answer, 404, message);
    }
    assert_message(&send(world.call("PATCH", path)).await, 405, "Method Not Allowed");
    assert_eq!(env.sql("SELECT count(*) FROM domains").trim(), "1");
}

#[tokio::test]
async fn redaction_is_switched_in_every_spelling_and_encoding() {
    let env = TestEnv::new();
    let world = demo(&env, &[], clock()).await;
    let path = "/v4/domains/mail.demo.example";
    let put = || world.call("PUT", path);
    let form = |value| put().form(&[("webhooks_redact_pii", value)]);
    let json =
        |value: serde_json::Value| put().json(&serde_json::json!({"webhooks_redact_pii": value}));
    let requests: [(Request, bool); 9] = [
        (form("true"), true),
        (form("No"), false),
        (form("1"), true),
        (form("0"), false),
        (form("YES"), true),
        (json(false.into()), false),
        (json(1.into()), true),
        (put().multipart(&[("webhooks_redact_pii", "False")]), false),
        (world.call("PUT", &format!("{path}?webhooks_redact_pii=true")), true),
    ];
    for (request, expected) in requests {
        let answer = send(request).await.expect_status(200);
        assert_eq!(answer.json()["domain"]["webhooks_redact_pii"], expected);
        assert_eq!(world.domain_document("mail.demo.example").await.redact_pii, expected);
    }

    let post = world.call("POST", "/v4/domains");
    let form = [("name", "secret.demo.example"), ("webhooks_redact_pii", "true")];
    send(post.form(&form)).await.expect_status(200);
    assert!(world.domain_document("secret.demo.example").await.redact_pii);
}

#[tokio::test]
async fn mail_settings_are_kept_as_they_were_given() {
    let env = TestEnv::new();
    let world = demo(&env, &[], clock()).await;
    let given = [
        ("spam_action", "tag"),
        ("wildcard", "true"),
        ("web_scheme", "https"),
        ("web_prefix", "links"),
        ("require_tls", "yes"),
        ("skip_verification", "true"),
        ("encrypt_incoming_message", "1"),
        ("use_automatic_sender_security", "true"),
        ("message_ttl", "86400"),
    ];
    let kept = |domain: &serde_json::Value| {
        given.map(|(name, _)| domain[name].to_string().trim_matches('"').to_owned())
    };
    let is_given = ["tag", "true", "https", "links", "true", "true", "true", "true", "86400"];
    // None that Mailgun shows nowhere is refused.
    let unseen = [("name", "kept.demo.example"), ("smtp_password", "x"), ("dkim_key_size", "2048")];
    let form: Vec<_> = unseen.into_iter().chain(given).collect();
    let made = send(world.call("POST", "/v4/domains").form(&form)).await.expect_status(200);
    assert_eq!(kept(&made.json()["domain"]), is_given);
    let path = "/v4/domains/kept.demo.example";
    let version = world.domain_document("kept.demo.example").await.version;
    let shown = send(world.call("GET", path)).await.expect_status(200);
    assert_eq!(kept(&shown.json()["domain"]), is_given);
    let list = send(world.call("GET", "/v4/domains?search=kept")).await.expect_status(200);
    assert_eq!(kept(&list.json()["items"][0]), is_given);

    // One is changed, the others stay, and nothing of it concerns deliveries.
    let put = world.call("PUT", path).form(&[("web_scheme", "http"), ("message_ttl", "1")]);
    let changed = send(put).await.expect_status(200);
    let is_now = ["tag", "true", "http", "links", "true", "true", "true", "true", "1"];
    assert_eq!(kept(&changed.json()["domain"]), is_now);
    let put = world.call("PUT", path).form(&[("webhooks_redact_pii", "false")]);
    assert_eq!(kept(&send(put).await.expect_status(200).json()["domain"]), is_now);
    assert_eq!(world.domain_document("kept.demo.example").await.version, version + 1);

    // A domain that is made again is a new one.
    send(world.call("DELETE", "/v3/domains/kept.demo.example")).await.expect_status(200);
    let post = world.call("POST", "/v4/domains").form(&[("name", "kept.demo.example")]);
    let again = send(post).await.expect_status(200).json()["domain"].clone();
    let of_a_new_one =
        ["disabled", "false", "http", "email", "false", "false", "false", "false", "259200"];
    assert_eq!(kept(&again), of_a_new_one);

    for (name, value, message) in [
        ("spam_action", "eat", "spam_action must be one of disabled, tag, block, delete"),
        ("web_scheme", "ftp", "web_scheme must be one of http, https"),
        ("web_prefix", "a.b", "web_prefix must be one label of a name, such as email"),
        ("message_ttl", "0", "message_ttl must be a number from 1 to 2592000"),
        ("wildcard", "maybe", "wildcard must be true or false; yes and no, 1 and 0 mean the same"),
    ] {
        let put = world.call("PUT", path).form(&[("require_tls", "true"), (name, value)]);
        assert_message(&send(put).await, 400, message);
    }
    let shown = send(world.call("GET", path)).await.expect_status(200);
    assert_eq!(kept(&shown.json()["domain"]), of_a_new_one);
}

#[tokio::test]
async fn a_domain_of_another_account_is_no_domain() {
    let env = TestEnv::new();
    let world = demo(&env, &[], clock()).await;
    world.account("other", "").await;
    let other =
        |method: &str, path: &str| world.anonymous(method, path).basic_auth("api", "key-other");
    let before = world.domain_document("mail.demo.example").await;
    for version in ["v3", "v4"] {
        for (method, end) in [("GET", ""), ("PUT", ""), ("DELETE", ""), ("PUT", "/verify")] {
            let path = |name: &str| format!("/{version}/domains/{name}{end}");
            let form = [("webhooks_redact_pii", "true")];
            let foreign = send(other(method, &path("mail.demo.example")).form(&form)).await;
            assert_message(&foreign, 404, UNKNOWN);
            let nobodys = send(other(method, &path("nowhere.example")).form(&form)).await;
            assert_eq!(foreign.body, nobodys.body);
        }
    }
    // Whether it is one's own or somebody else's, the answer is the same.
    let post = || [("name", "mail.demo.example")];
    let foreign = send(other("POST", "/v4/domains").form(&post())).await;
    let own = send(world.call("POST", "/v4/domains").form(&post())).await;
    assert_message(&foreign, 400, TAKEN);
    assert_eq!(foreign.body, own.body);
    assert_eq!(world.domain_document("mail.demo.example").await, before);
}

#[tokio::test]
async fn what_belongs_to_a_domain_goes_with_it() {
    let env = TestEnv::new();
    let world = demo(&env, &[], clock()).await;
    world.account("other", "").await;
    let path = "/v3/domains/mail.demo.example";
    let form = [("id", "clicked"), ("url", "https://hooks.example.net/")];
    let webhooks = format!("{path}/webhooks");
    send(world.call("POST", &webhooks).form(&form)).await.expect_status(200);
    send(world.call("PUT", path).form(&[("webhooks_redact_pii", "true")])).await.expect_status(200);
    let key = [("role", "sending"), ("kind", "domain"), ("domain_name", "mail.demo.example")];
    let key = send(world.call("POST", "/v1/keys").form(&key)).await.expect_status(200);
    let key = key.json()["secret"].as_str().expect("a key").to_owned();
    let with_key = || world.anonymous("GET", path).basic_auth("api", &key);
    assert_eq!(send(with_key()).await.status, 403, "it does not read");
    let version = world.domain_document("mail.demo.example").await.version;

    send(world.call("DELETE", path)).await.expect_status(200);
    assert_message(&send(world.call("GET", &webhooks)).await, 404, UNKNOWN);
    assert_eq!(send(with_key()).await.status, 401, "it has been revoked");
    assert_eq!(env.sql("SELECT count(*) FROM domain_webhooks").trim(), "0");
    assert_eq!(env.sql("SELECT count(*) FROM settings_outbox").trim(), "0");

    // The next owner, who can have it after some days, begins anew, and the documents go on;
    // also after an erasure, which forgets the name.
    env.sql(
        "UPDATE domains SET name = domain_id, deleted_at = deleted_at - interval '8 days' \
         WHERE deleted_at IS NOT NULL",
    );
    let post = world.anonymous("POST", "/v4/domains").basic_auth("api", "key-other");
    send(post.form(&[("name", "mail.demo.example")])).await.expect_status(200);
    let document = world.domain_document("mail.demo.example").await;
    assert_eq!(document.account_id, world.account_document("other").await.account_id);
    assert!(document.webhooks.is_empty() && !document.redact_pii && !document.deleted);
    assert_eq!(document.name, "mail.demo.example");
    assert_eq!(document.version, version + 2);
    assert_message(&send(world.call("GET", path)).await, 404, UNKNOWN);
}

#[tokio::test]
async fn where_operators_alone_make_domains_customers_do_not() {
    let env = TestEnv::new();
    let settings = [("POSTRIDER_CUSTOMER_DOMAINS", "operator-only")];
    let world = demo(&env, &settings, clock()).await;
    let refused = "Domains are made and deleted by the provider; ask there";
    for version in ["v3", "v4"] {
        let base = format!("/{version}/domains");
        let post = world.call("POST", &base).form(&[("name", "new.demo.example")]);
        assert_message(&send(post).await, 403, refused);
        let path = format!("{base}/mail.demo.example");
        assert_message(&send(world.call("DELETE", &path)).await, 403, refused);
        send(world.call("PUT", &path).form(&[("webhooks_redact_pii", "1")]))
            .await
            .expect_status(200);
    }
    assert!(world.domain_document("mail.demo.example").await.redact_pii);
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_customers_stay_within_the_quota_and_share_no_name() {
    let env = TestEnv::new();
    let world = demo(&env, &[], Clock::system()).await;
    world.account("other", "").await;
    env.sql("UPDATE accounts SET max_domains = 4");
    let mut posts = JoinSet::new();
    for n in 0..10 {
        // Five names for ten customers' requests of two accounts.
        for key in ["key-demo", "key-other"] {
            let name = format!("n{}.example", n % 5);
            let post = world.anonymous("POST", "/v4/domains").basic_auth("api", key);
            posts.spawn(send(post.form(&[("name", &name)])));
        }
    }
    let answers = posts.join_all().await;
    let limit = r#"{"message":"an account can have at most 4 domains"}"#;
    for answer in &answers {
        let text = answer.text();
        let refused = text.contains(TAKEN) || text.trim_end() == limit;
        assert!(answer.status == 200 || (answer.status == 400 && refused), "{text}");
    }
    let made = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(made, 5, "each name once");
    let most = "SELECT max(n) FROM (SELECT count(*) AS n FROM domains GROUP BY account_id) d";
    assert!(env.sql(most).trim().parse::<u32>().expect("a number") <= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_broker_nothing_is_changed() {
    let mut own = OwnServers::start();
    let nats_url = own.nats.url();
    let servers =
        Servers { nats_url: &nats_url, database_url: &own.database_url, region: &own.region };
    let world = World::demo(servers).await;
    own.nats.kill9().expect("killed");
    eventually(DEADLINE, "the loss to be noticed", || async {
        (!world.bus.is_connected()).then_some(())
    })
    .await;
    let path = "/v4/domains/mail.demo.example";
    for request in [
        world.call("POST", "/v4/domains").form(&[("name", "new.demo.example")]),
        world.call("PUT", path).form(&[("webhooks_redact_pii", "true")]),
        world.call("DELETE", path),
    ] {
        let message = "The message broker is not available; nothing was changed. Try again";
        assert_message(&send(request).await, 503, message);
    }
    let answer = send(world.call("GET", path)).await.expect_status(200);
    assert_eq!(answer.json()["domain"]["webhooks_redact_pii"], false);
    assert_eq!(own.sql("SELECT count(*) FROM domains").trim(), "1");
}
