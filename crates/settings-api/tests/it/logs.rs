//! The logs: the same events, searched in JSON, over an account and its subaccounts.

use model::EventType;
use serde_json::{Value, json};
use store::history::EventRow;
use testkit::TestEnv;
use testkit::http::Response;

use crate::events::{at, event, row};
use crate::world::{World, assert_message, send};

const PATH: &str = "/v1/analytics/logs";

/// `demo` with one event of each kind, a second between them, and a subaccount
/// with one of its own.
async fn world(env: &TestEnv) -> (World, String, String) {
    let world = World::start(env).await;
    let demo = world.account("demo", "").await;
    let sub = world.account("demo-sub", "demo").await;
    world.domain("mail.demo.example", "demo").await;
    world.domain("mail.sub.example", "demo-sub").await;
    let mut rows: Vec<EventRow> = (0..)
        .zip(EventType::WEBHOOKS)
        .map(|(second, kind)| row(&demo, event(kind, kind.as_str(), second)))
        .collect();
    let of_sub =
        model::sample(EventType::Clicked, "sub", at(20).into(), "demo-sub", "mail.sub.example");
    rows.push(row(&sub, of_sub));
    rows.push(row(&demo, event(EventType::IpListed, "alert", 3)));
    world.store().insert_events(&rows).await.expect("inserted");
    (world, demo, sub)
}

/// A search over the whole range, with what else is asked for.
fn search(more: Value) -> Value {
    let mut search = json!({
        "start": "Thu, 09 Oct 2025 08:53:20 +0000",
        "end": "Thu, 09 Oct 2025 08:54:20 +0000",
        "pagination": {"sort": "timestamp:asc"},
    });
    for (name, value) in more.as_object().expect("an object") {
        search[name] = value.clone();
    }
    search
}

async fn ask(world: &World, search: &Value) -> Response {
    send(world.call("POST", PATH).json(search)).await
}

async fn found(world: &World, more: Value) -> Value {
    let answer = ask(world, &search(more)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn ids(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().expect("a list");
    items.iter().map(|item| item["id"].as_str().expect("an id")).collect()
}

#[tokio::test]
async fn an_item_differs_from_the_events_in_four_fields() {
    let env = TestEnv::new();
    let (world, demo, sub) = world(&env).await;
    let page = found(&world, json!({"events": ["delivered"]})).await;
    assert_eq!(
        (&page["start"], &page["end"]),
        (&json!("Thu, 09 Oct 2025 08:53:20 -0000"), &json!("Thu, 09 Oct 2025 08:54:20 -0000"))
    );
    assert_eq!(page["aggregates"], json!({}));
    let item = &page["items"][0];
    let events = send(world.call("GET", "/v3/mail.demo.example/events?event=delivered")).await;
    let mut wanted: Value = events.json()["items"][0].clone();
    wanted.as_object_mut().expect("an object").remove("timestamp");
    wanted["@timestamp"] = json!("2025-10-09T08:53:21.000Z");
    wanted["user-variables"] = json!(wanted["user-variables"].to_string());
    wanted["storage"]["url"] = json!([wanted["storage"]["url"]]);
    assert_eq!(item, &wanted);
    assert_eq!(item["account"], json!({"id": demo}));

    let page = found(&world, json!({"include_subaccounts": true, "events": ["clicked"]})).await;
    assert_eq!(ids(&page), ["clicked", "sub"]);
    assert_eq!(page["items"][1]["account"], json!({"id": sub, "parent-id": demo}));
    assert_eq!(page["items"][1]["domain"], json!({"name": "mail.sub.example"}));
}

fn names(page: &Value) -> Vec<&str> {
    page["pagination"].as_object().expect("an object").keys().map(String::as_str).collect()
}

/// Ghost, Ruby and Java go on for as long as there is a token.
#[tokio::test]
async fn who_goes_on_while_there_is_a_token_comes_to_an_end() {
    let env = TestEnv::new();
    let (world, ..) = world(&env).await;
    for (limit, name, begin) in
        [(3, "next", "first"), (4, "next", "first"), (8, "previous", "last")]
    {
        let paging = |token: &Value| json!({"pagination": {"sort": "timestamp:asc", "limit": limit, "token": token}});
        let mut page = found(&world, paging(&Value::Null)).await;
        page = found(&world, paging(&page["pagination"][begin])).await;
        let (mut seen, mut calls) = (ids(&page).len(), 1);
        while let Some(token) = page["pagination"].get(name).cloned() {
            page = found(&world, paging(&token)).await;
            (seen, calls) = (seen + ids(&page).len(), calls + 1);
            assert!(calls <= 4, "it goes on for ever");
        }
        assert_eq!(seen, 8);
    }
}

#[tokio::test]
async fn tokens_lead_forth_and_back() {
    let env = TestEnv::new();
    let (world, ..) = world(&env).await;
    let paged = async |token: &Value| {
        let paging = json!({"sort": "timestamp:desc", "limit": 3, "token": token});
        found(&world, json!({"pagination": paging})).await
    };
    let first = paged(&Value::Null).await;
    assert_eq!(ids(&first), ["permanent_fail", "temporary_fail", "complained"]);
    let second = paged(&first["pagination"]["next"]).await;
    assert_eq!(ids(&second), ["unsubscribed", "clicked", "opened"]);
    let third = paged(&second["pagination"]["next"]).await;
    assert_eq!(ids(&third), ["delivered", "accepted"]);
    assert_eq!(names(&third), ["first", "last", "previous"], "it is not full, so it is the last");
    assert_eq!(names(&first), ["first", "last", "next"]);
    assert_eq!(ids(&paged(&second["pagination"]["previous"]).await), ids(&first));
    assert_eq!(ids(&paged(&third["pagination"]["first"]).await), ids(&first));
    let last = paged(&first["pagination"]["last"]).await;
    assert_eq!(ids(&last), ["opened", "delivered", "accepted"]);
    assert_eq!(names(&last), ["first", "last", "previous"]);
    let before = paged(&last["pagination"]["previous"]).await;
    assert_eq!(ids(&before), ["complained", "unsubscribed", "clicked"]);
    let begin = paged(&before["pagination"]["previous"]).await;
    assert_eq!(ids(&begin), ["permanent_fail", "temporary_fail"]);
    assert_eq!(names(&begin), ["first", "last", "next"]);
    let all = found(&world, json!({})).await;
    assert_eq!(all["pagination"], json!({}), "there is nothing else");
    let counted = found(&world, json!({"include_totals": true})).await;
    assert_eq!(counted["pagination"]["total"], 8);
}

#[tokio::test]
async fn conditions_on_attributes_all_hold() {
    let env = TestEnv::new();
    let (world, _, sub) = world(&env).await;
    let filter = |attribute: &str, comparator: &str, values: &[&str]| {
        let values: Vec<Value> =
            values.iter().map(|value| json!({"label": value, "value": value})).collect();
        json!({"attribute": attribute, "comparator": comparator, "values": values})
    };
    for (conditions, wanted) in [
        (vec![filter("event", "=", &["failed"])], &["temporary_fail", "permanent_fail"][..]),
        (vec![filter("event", "=", &["opened", "clicked"])], &["opened", "clicked", "sub"]),
        (
            vec![filter("event", "!=", &["opened", "clicked", "failed"])],
            &["accepted", "delivered", "unsubscribed", "complained"],
        ),
        (
            vec![filter("event", "=", &["failed"]), filter("severity", "=", &["temporary"])],
            &["temporary_fail"],
        ),
        (vec![filter("subaccount", "=", &[&sub])], &["sub"]),
        (vec![filter("domain", "=", &["mail.sub.example"])], &["sub"]),
        (
            vec![
                filter("recipient", "=", &["ADA@customer.example"]),
                filter("event", "=", &["opened"]),
            ],
            &["opened"],
        ),
        (
            vec![
                filter("recipient_domain", "=", &["customer.example"]),
                filter("event", "=", &["opened"]),
            ],
            &["opened"],
        ),
        (vec![filter("recipient_domain", "=", &["example"])], &[]),
        (vec![filter("recipient", "not contains", &["ada"])], &[]),
        (vec![filter("size", ">", &["999999999"])], &[]),
    ] {
        let what = format!("{conditions:?}");
        let more = json!({"filter": {"AND": conditions}, "include_subaccounts": true});
        assert_eq!(ids(&found(&world, more).await), wanted, "{what}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_refused() {
    let env = TestEnv::new();
    let (world, ..) = world(&env).await;
    let with = |attribute: &str, comparator: &str, value: &str| {
        let values = json!([{"label": value, "value": value}]);
        let condition = json!({"attribute": attribute, "comparator": comparator, "values": values});
        json!({"filter": {"AND": [condition]}})
    };
    for (search, message) in [
        (json!({"start": "soon"}), "start must be an RFC 2822 date"),
        (json!({"duration": "2y"}), "duration must be a number and one of h, d, w and m"),
        (json!({"start": "2", "end": "1"}), "start must be before end"),
        (
            json!({"pagination": {"sort": "id"}}),
            "pagination.sort must be timestamp:asc or timestamp:desc",
        ),
        (json!({"pagination": {"limit": -1}}), "pagination.limit must be a number from 1 to 100"),
        (json!({"pagination": {"token": "x"}}), "Invalid page: begin the list anew"),
        (with("bot", "=", "x"), "'bot' is not a valid filter predicate attribute"),
        (
            json!({"include_aggregates": true}),
            "include_aggregates must be false: there are no aggregates here",
        ),
        (with("event", "<", "x"), "the attribute 'event' cannot be compared by '<'"),
        (with("size", "=", "x"), "the size 'x' is not a whole number"),
    ] {
        assert_message(&ask(&world, &search).await, 400, message);
    }
    for (search, beginning) in [
        (
            json!({"events": ["deliverd"]}),
            "events: there is no event 'deliverd'; expected accepted",
        ),
        (with("event", "=", "open"), "the filter 'event': there is no event 'open'; expected"),
        (with("severity", "!=", "final"), "the filter 'severity': there is no severity 'final'"),
    ] {
        let answer = ask(&world, &search).await.expect_status(400);
        assert!(answer.text().contains(beginning), "{}", answer.text());
    }
    let unknown = ask(&world, &json!({"colour": "red"})).await;
    assert_eq!(unknown.status, 400, "{}", unknown.text());
    assert!(unknown.text().contains("unknown field `colour`"), "{}", unknown.text());
    let opened = found(&world, json!({"metric_events": ["opened"]})).await;
    assert_eq!(ids(&opened), ["opened"]);
    // A key that may only look may do this, although it is a POST.
    let empty = send(world.call("POST", PATH)).await;
    assert_eq!(empty.status, 200, "{}", empty.text());
}
