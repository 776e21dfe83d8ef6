//! A subaccount sees of its parent's URL, and of what was answered there, the host. The
//! parent sees everything of it, and each account what is its own.

use serde_json::{Value, json};
use store::history::{AttemptRow, EventRow};
use testkit::TestEnv;
use testkit::http::Request;

use crate::event_resends::body;
use crate::events::{event, row};
use crate::isolation::BEHALF;
use crate::journeys::{decision, ended, failed, routed};
use crate::world::{World, send};

const PARENTS: &str = "https://hooks.example.net/services/PATHTOKEN?key=QUERYTOKEN";
const OWN: &str = "https://own.example.net/services/of-sub?key=mine";
const HOST: &str = "https://hooks.example.net/…";
/// As history has URLs.
const OWN_SHOWN: &str = "https://own.example.net/services/of-sub?…";
const PARENTS_SHOWN: &str = "https://hooks.example.net/services/PATHTOKEN?…";

/// `demo`, and its subaccount with events that both of them hear of; the last one was told
/// of by an earlier version, which did not say at which level.
async fn world(env: &TestEnv) -> (World, String) {
    let world = World::demo(env).await;
    let sub = world.account("demo-sub", "demo").await;
    let rows =
        ["one", "two", "earlier"].map(|id| row(&sub, event(model::EventType::Clicked, id, 0)));
    let tried = |event: &EventRow, url: &str, level: Option<&str>| AttemptRow {
        url: egress::loggable(url),
        response_snippet: format!("answered at {url}"),
        level: level.map(str::to_owned),
        ..failed(event, url)
    };
    let [one, two, earlier] = &rows;
    let attempts = [
        tried(one, PARENTS, Some("parent_account")),
        tried(two, OWN, Some("domain")),
        tried(earlier, PARENTS, None),
    ];
    let routings = [
        routed(one, vec![decision(one, PARENTS, "chosen", "parent_account")]),
        routed(two, vec![decision(two, OWN, "chosen", "domain")]),
    ];
    let ends = [(one, PARENTS), (two, OWN)].map(|(event, url)| store::history::EndRow {
        delivery: Some(body(event, url)),
        ..ended(event, url, "exhausted", "schedule")
    });
    let store = world.store();
    store.insert_routed(&routings).await.expect("inserted");
    store.insert_attempts(&attempts).await.expect("inserted");
    store.insert_ends(&ends).await.expect("inserted");
    store.insert_events(&rows).await.expect("inserted");
    (world, sub)
}

fn as_sub(world: &World, method: &str, path: &str) -> Request {
    world.anonymous(method, path).basic_auth("api", "key-demo-sub")
}

async fn get(request: Request) -> Value {
    send(request).await.expect_status(200).json()
}

/// Sorted pairs of these fields.
fn fields(list: &Value, names: [&str; 2]) -> Vec<[String; 2]> {
    let items = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    let field = |item: &Value, name| item[name].as_str().unwrap_or_default().to_owned();
    let mut pairs: Vec<_> = items.iter().map(|item| names.map(|name| field(item, name))).collect();
    pairs.sort();
    pairs
}

fn pairs(pairs: &[[&str; 2]]) -> Vec<[String; 2]> {
    pairs.iter().map(|pair| pair.map(str::to_owned)).collect()
}

#[tokio::test]
async fn failures_show_a_subaccount_the_host_and_no_answer_of_its_parents_receiver() {
    let env = TestEnv::new();
    let (world, sub) = world(&env).await;
    let path = "/postrider/v1/failures";
    let own = format!("answered at {OWN}");
    let seen = get(as_sub(&world, "GET", path)).await;
    assert_eq!(
        fields(&seen["items"], ["url", "response"]),
        pairs(&[[HOST, ""], [HOST, ""], [OWN_SHOWN, &own]])
    );
    let through = || world.call("GET", path).header(BEHALF, &sub);
    let parents = format!("answered at {PARENTS}");
    let seen = get(through()).await;
    assert_eq!(
        fields(&seen["items"], ["url", "response"]),
        pairs(&[[PARENTS_SHOWN, &parents], [PARENTS_SHOWN, &parents], [OWN_SHOWN, &own]])
    );
    // A URL finds what is seen, and nothing else.
    let by_url = |url: &str| {
        let url: String = url::form_urlencoded::byte_serialize(url.as_bytes()).collect();
        format!("{path}?url={url}")
    };
    for (url, found) in [(PARENTS_SHOWN, 0), (HOST, 0), (OWN_SHOWN, 1)] {
        let seen = get(as_sub(&world, "GET", &by_url(url))).await;
        assert_eq!(seen["items"].as_array().expect("a list").len(), found, "{url}");
    }
    let seen = get(world.call("GET", &by_url(PARENTS_SHOWN)).header(BEHALF, &sub)).await;
    assert_eq!(seen["items"].as_array().expect("a list").len(), 2);
    for format in ["ndjson", "csv"] {
        let path = format!("{path}/export?format={format}");
        let text = send(as_sub(&world, "GET", &path)).await.expect_status(200).text();
        assert!(!text.contains("TOKEN"), "{text}");
        assert!(text.contains(HOST) && text.contains(OWN_SHOWN), "{text}");
    }
}

#[tokio::test]
async fn statistics_and_journeys_show_a_subaccount_the_host_of_its_parents_url() {
    let env = TestEnv::new();
    let (world, sub) = world(&env).await;
    let path =
        "/postrider/v1/statistics/targets?begin=2025-10-09T08:00:00Z&end=2025-10-09T10:00:00Z";
    let seen = get(as_sub(&world, "GET", path)).await;
    let shown = [["webhook", HOST], ["webhook", OWN_SHOWN]];
    assert_eq!(fields(&seen["targets"], ["kind", "url"]), pairs(&shown));
    let seen = get(world.call("GET", path).header(BEHALF, &sub)).await;
    let shown = [["webhook", PARENTS_SHOWN], ["webhook", OWN_SHOWN]];
    assert_eq!(fields(&seen["targets"], ["kind", "url"]), pairs(&shown));

    let tried = |of: Value| fields(&of["deliveries"][0]["attempts"], ["url", "response"]);
    let own = format!("answered at {OWN}");
    let parents = format!("answered at {PARENTS}");
    for (event, shown, to_parent) in [
        ("one", [HOST, ""], [PARENTS_SHOWN, &*parents]),
        ("two", [OWN_SHOWN, &*own], [OWN_SHOWN, &*own]),
        ("earlier", [HOST, ""], [PARENTS_SHOWN, &*parents]),
    ] {
        let path = format!("/postrider/v1/events/{event}/journey");
        let seen = get(as_sub(&world, "GET", &path)).await;
        assert_eq!(tried(seen), pairs(&[shown]), "{event}");
        let seen = get(world.call("GET", &path).header(BEHALF, &sub)).await;
        assert_eq!(tried(seen), pairs(&[to_parent]), "{event}");
    }
}

#[tokio::test]
async fn a_subaccount_that_guesses_its_parents_url_is_told_what_a_wrong_guess_is_told() {
    let env = TestEnv::new();
    let (world, sub) = world(&env).await;
    let webhook = json!({"url": PARENTS, "event_types": ["clicked"]});
    send(world.call("POST", "/v1/webhooks").json(&webhook)).await.expect_status(200);
    let path = |url: &str| {
        let url: String = url::form_urlencoded::byte_serialize(url.as_bytes()).collect();
        format!("/postrider/v1/why?url={url}&begin=1760000000&end=1760000060")
    };
    let ask = async |url: &str| {
        let mut seen = get(as_sub(&world, "GET", &path(url))).await;
        assert_eq!(seen["settings"]["url"].take(), url);
        seen
    };
    let wrong = ask("https://hooks.example.net/services/WRONG").await;
    assert_eq!(ask(PARENTS).await, wrong);
    let fates: Vec<_> = wrong["items"].as_array().expect("a list").iter().collect();
    assert_eq!(fates.len(), 3);
    assert!(fates.iter().all(|item| item["decisions"] == json!([])), "{wrong}");
    // Of its own it is told everything.
    assert_eq!(ask(OWN).await["summary"]["counts"]["exhausted"], 1);
    let seen = get(world.call("GET", &path(PARENTS)).header(BEHALF, &sub)).await;
    assert_eq!(seen["settings"]["subscriptions"][0]["level"], "parent_account");
    assert_eq!(seen["summary"]["counts"]["exhausted"], 1);
}

#[tokio::test]
async fn a_job_that_the_parent_made_shows_its_subaccount_the_host() {
    let env = TestEnv::new();
    let (world, sub) = world(&env).await;
    let path = "/postrider/v1/resends";
    let make = |request: Request, url: &str| send(request.json(&json!({"url": url})));
    make(world.call("POST", path).header(BEHALF, &sub), PARENTS).await.expect_status(200);
    make(as_sub(&world, "POST", path), OWN).await.expect_status(200);
    env.sql(
        "INSERT INTO resends SELECT (jsonb_populate_record(r, jsonb_build_object('resend_id', \
             gen_random_uuid(), 'named_by', NULL))).* FROM resends r WHERE target LIKE '%of-sub%'",
    );
    let targets = |seen: &Value| fields(&seen["resends"], ["target", "nothing"]);
    let seen = get(as_sub(&world, "GET", path)).await;
    let earlier = "https://own.example.net/…";
    assert_eq!(targets(&seen), pairs(&[[HOST, ""], [OWN, ""], [earlier, ""]]));
    let seen = get(world.call("GET", path).header(BEHALF, &sub)).await;
    assert_eq!(targets(&seen), pairs(&[[PARENTS, ""], [OWN, ""], [OWN, ""]]));
    for resend in seen["resends"].as_array().expect("a list") {
        let path = format!("{path}/{}", resend["id"].as_str().expect("an id"));
        let seen = get(as_sub(&world, "GET", &path)).await;
        assert!(!seen["target"].as_str().expect("a URL").contains("TOKEN"), "{seen}");
    }
}
