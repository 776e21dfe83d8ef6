//! The Events API: shapes, ranges, filters, links; and that nothing is skipped.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use model::EventType;
use model::event_filter::SearchTexts;
use prost::Message as _;
use protocol::v1::Event;
use serde_json::Value;
use store::history::EventRow;
use testkit::TestEnv;
use testkit::http::{self, Response};

use crate::world::{World, assert_answer, assert_message, send};

pub(crate) const DOMAIN: &str = "mail.demo.example";

/// A moment of the history, in seconds.
pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_760_000_000 + seconds, 0).expect("a moment")
}

/// What archive makes of this event.
pub(crate) fn row(account_id: &str, event: Event) -> EventRow {
    let kind = event.kind.as_ref().expect("a kind");
    let event_type = EventType::of(kind);
    let timestamp = event.timestamp.expect("a moment");
    let key = model::event_key(account_id, event_type, &event.id);
    let occurred_at = DateTime::from_timestamp(timestamp.seconds, 0).expect("a moment");
    EventRow {
        event_key: store::history::id(&key).expect("an id"),
        account_id: account_id.to_owned(),
        // Alerts have none.
        domain_id: (!event.domain.is_empty())
            .then(|| store::history::id(&model::domain_id(&event.domain)).expect("an id")),
        event_type: event_type.as_str().to_owned(),
        event_id: event.id.clone(),
        occurred_at,
        accepted_at: occurred_at + TimeDelta::seconds(1),
        caller: "test".to_owned(),
        search: SearchTexts::of(kind),
        event: event.encode_to_vec(),
    }
}

/// An event of `mail.demo.example` at this second.
pub(crate) fn event(event_type: EventType, id: &str, second: i64) -> Event {
    model::sample(event_type, id, at(second).into(), "demo", DOMAIN)
}

/// `demo`, and the id of its account.
async fn world(env: &TestEnv) -> (World, String) {
    let world = World::start(env).await;
    let account_id = world.account("demo", "").await;
    world.domain(DOMAIN, "demo").await;
    (world, account_id)
}

/// Opened events `e0`, `e1`, … of these seconds, in one insert.
async fn insert(world: &World, account_id: &str, ids: &[(&str, i64)]) {
    let rows: Vec<EventRow> = ids
        .iter()
        .map(|(id, second)| row(account_id, event(EventType::Opened, id, *second)))
        .collect();
    world.store().insert_events(&rows).await.expect("inserted");
}

fn page(answer: &Response) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn ids(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().expect("a list");
    items.iter().map(|item| item["id"].as_str().expect("an id")).collect()
}

async fn list(world: &World, query: &str) -> Value {
    page(&send(world.call("GET", &format!("/v3/{DOMAIN}/events?{query}"))).await)
}

/// Follows a link, as clients do: whole, with the same credentials.
async fn follow(page_of: &Value, link: &str) -> Value {
    let url = page_of["paging"][link].as_str().expect("a link").to_owned();
    page(&send(http::get(url).basic_auth("api", "key-demo")).await)
}

#[tokio::test]
async fn items_are_the_event_data_of_deliveries_byte_for_byte() {
    let env = TestEnv::new();
    let (world, account_id) = world(&env).await;
    let mut wanted = Vec::new();
    let mut rows = Vec::new();
    for (second, event_type) in (0..).zip(EventType::WEBHOOKS) {
        let event = event(event_type, &format!("id-{event_type}"), second);
        let accepted = protocol::v1::AcceptedEvent {
            account_id: account_id.clone(),
            event: Some(event.clone()),
            ..Default::default()
        };
        let data = model::send_event_data(&accepted, model::Redaction::None).expect("a payload");
        wanted.push(String::from_utf8(data).expect("JSON"));
        rows.push(row(&account_id, event));
    }
    // An alert is no event of a domain, and another account's is not ours.
    rows.push(row(&account_id, event(EventType::IpListed, "alert", 1)));
    rows.push(row(&"f".repeat(24), event(EventType::Opened, "of another owner", 1)));
    world.store().insert_events(&rows).await.expect("inserted");

    let answer = send(world.call("GET", "/v3/Mail.Demo.Example/events?ascending=yes")).await;
    let text = answer.text();
    let base = world.base();
    let links = page(&answer)["paging"].clone();
    let link = |name: &str| {
        let link = links[name].as_str().expect("a link").to_owned();
        // Clients take the last part of the path, or the query, or all of it.
        let token = link.strip_prefix(&format!("{base}/v3/Mail.Demo.Example/events/"));
        let token = token.expect("the domain as it was written");
        let (token, query) = token.split_once("?page=").expect("the form");
        assert_eq!(token, query);
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{token}");
        link
    };
    assert_answer(
        &answer,
        200,
        &format!(
            r#"{{"items":[{}],"paging":{{"next":"{}","previous":"{}","first":"{}","last":"{}"}}}}"#,
            wanted.join(","),
            link("next"),
            link("previous"),
            link("first"),
            link("last"),
        ),
    );
    assert!(
        text.contains(r#""event":"opened","id":"id-opened","timestamp":1760000002.0001"#),
        "{text}"
    );
}

#[tokio::test]
async fn links_lead_forth_and_back_through_a_range_that_is_over() {
    let env = TestEnv::new();
    let (world, account_id) = world(&env).await;
    let all = ["a", "b", "c", "d", "e", "f", "g"];
    let events: Vec<(&str, i64)> = all.iter().copied().zip(0..).collect();
    insert(&world, &account_id, &events).await;
    let (begin, end) = (at(1).timestamp(), at(5).timestamp());

    let up = list(&world, &format!("begin={begin}&end={end}&limit=2")).await;
    assert_eq!(ids(&up), ["b", "c"]);
    let second = follow(&up, "next").await;
    assert_eq!(ids(&second), ["d", "e"]);
    let third = follow(&second, "next").await;
    assert_eq!(ids(&third), ["f"]);
    let behind = follow(&third, "next").await;
    assert!(ids(&behind).is_empty());
    assert!(ids(&follow(&behind, "next").await).is_empty());
    assert_eq!(ids(&follow(&behind, "previous").await), ["e", "f"]);
    assert_eq!(ids(&follow(&third, "previous").await), ["d", "e"]);
    assert_eq!(ids(&follow(&third, "first").await), ["b", "c"]);
    assert_eq!(ids(&follow(&up, "last").await), ["e", "f"]);
    assert!(ids(&follow(&up, "previous").await).is_empty());

    let down = list(&world, &format!("begin={end}&end={begin}&limit=3")).await;
    assert_eq!(ids(&down), ["f", "e", "d"]);
    assert_eq!(ids(&follow(&down, "next").await), ["c", "b"]);
    assert_eq!(ids(&follow(&down, "last").await), ["d", "c", "b"]);
    // Without a range, from the newest on.
    assert_eq!(ids(&list(&world, "limit=2").await), ["g", "f"]);
    assert_eq!(ids(&list(&world, &format!("begin={begin}&ascending=no")).await), ["b", "a"]);
}

#[tokio::test]
async fn a_range_without_an_end_goes_on_with_what_comes_however_late() {
    let env = TestEnv::new();
    let (world, account_id) = world(&env).await;
    insert(&world, &account_id, &[("a", 10), ("b", 20), ("c", 30)]).await;
    let begin = at(15).timestamp();
    let first = list(&world, &format!("begin={begin}&ascending=yes&limit=1")).await;
    assert_eq!(ids(&first), ["b"]);
    // Before and behind where the client is, and before the range.
    insert(&world, &account_id, &[("late", 16), ("new", 40), ("too early", 14)]).await;
    let second = follow(&first, "next").await;
    assert_eq!(ids(&second), ["c"]);
    let third = follow(&second, "next").await;
    assert_eq!(ids(&third), ["late"]);
    let fourth = follow(&third, "next").await;
    assert_eq!(ids(&fourth), ["new"]);
    let tip = follow(&fourth, "next").await;
    assert!(ids(&tip).is_empty());
    // Later the same link has more, in the order of time.
    insert(&world, &account_id, &[("later", 60), ("sooner", 50)]).await;
    let url = format!("begin={begin}&ascending=yes&limit=300");
    let more = follow(&fourth, "next").await;
    assert_eq!(ids(&more), ["sooner"], "one for each page");
    assert_eq!(ids(&follow(&tip, "next").await), ["sooner"]);
    assert_eq!(ids(&follow(&more, "next").await), ["later"]);
    assert_eq!(ids(&list(&world, &url).await), ["late", "b", "c", "new", "sooner", "later"]);
    // And back over the seam, to the beginning.
    let mut back = Vec::new();
    let mut page = more;
    loop {
        page = follow(&page, "previous").await;
        match ids(&page).as_slice() {
            [] => break,
            found => back.extend(found.iter().map(|id| (*id).to_owned())),
        }
    }
    assert_eq!(back, ["new", "late", "c", "b"]);
}

/// 3,000 events by four inserters, whose statements overlap, with times in no
/// order; one client that follows, and stops at its first empty page behind them.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_follows_gets_every_event_once_while_they_come() {
    let env = TestEnv::new();
    let (world, account_id) = world(&env).await;
    let running = std::sync::atomic::AtomicUsize::new(4);
    let inserter = async |n: i64| {
        for batch in 0..15 {
            let rows: Vec<EventRow> = (0..50)
                .map(|i| {
                    let number = (n * 15 + batch) * 50 + i;
                    let event =
                        event(EventType::Opened, &format!("e{number}"), number * 7919 % 10_007);
                    row(&account_id, event)
                })
                .collect();
            world.store().insert_events(&rows).await.expect("inserted");
        }
        running.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
    };
    let client = async {
        let mut seen = Vec::new();
        let mut page = list(&world, "ascending=yes&limit=70").await;
        loop {
            let was_over = running.load(std::sync::atomic::Ordering::SeqCst) == 0;
            seen.extend(ids(&page).into_iter().map(str::to_owned));
            let is_empty = ids(&page).is_empty();
            page = follow(&page, "next").await;
            if was_over && is_empty && ids(&page).is_empty() {
                break seen;
            }
        }
    };
    let (.., seen) = tokio::join!(inserter(0), inserter(1), inserter(2), inserter(3), client);
    let distinct: BTreeSet<&String> = seen.iter().collect();
    assert_eq!((seen.len(), distinct.len()), (3_000, 3_000));
}

#[tokio::test]
async fn filters_are_expressions_and_all_of_them_hold() {
    let env = TestEnv::new();
    let (world, account_id) = world(&env).await;
    let rows: Vec<EventRow> = (0..)
        .zip(EventType::WEBHOOKS)
        .map(|(second, kind)| row(&account_id, event(kind, kind.as_str(), second)))
        .collect();
    world.store().insert_events(&rows).await.expect("inserted");
    for (query, wanted) in [
        ("event=failed", &["temporary_fail", "permanent_fail"][..]),
        ("event=failed&severity=permanent", &["permanent_fail"]),
        ("event=opened%20OR%20clicked", &["opened", "clicked"]),
        ("event=opened&event=clicked", &[]),
        (
            "event=NOT%20(opened%20OR%20clicked%20OR%20failed%20OR%20complained)",
            &["accepted", "delivered", "unsubscribed"],
        ),
        ("event=stored", &[]),
        ("event=failed&recipient=ADA%40customer.example&limit=1", &["temporary_fail"]),
        ("recipient=bob%40customer.example", &[]),
        ("event=delivered&unheard_of=1&pretty=no", &["delivered"]),
    ] {
        let page = list(&world, &format!("ascending=yes&{query}")).await;
        assert_eq!(ids(&page), wanted, "{query}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_refused() {
    let env = TestEnv::new();
    let (world, _) = world(&env).await;
    for (query, message) in [
        ("begin=1760000000", "ascending must be given when there is begin and no end"),
        ("begin=soon&ascending=yes", "begin must be an RFC 2822 date or seconds since the epoch"),
        ("end=x", "end must be an RFC 2822 date or seconds since the epoch"),
        (
            "begin=10&end=20&ascending=no",
            "ascending does not agree with the order of begin and end",
        ),
        ("ascending=up", "ascending must be yes or no"),
        ("limit=0", "limit must be a number from 1 to 300"),
        ("event=(failed", "the filter 'event' cannot be read: a closing parenthesis is missing"),
        (
            "event=delivered%20OR%20deliverd",
            "the filter 'event' cannot be read: there is no event 'deliverd'; expected accepted, \
             delivered, failed, opened, clicked, unsubscribed, complained, rejected, stored, \
             list_member_uploaded, list_member_upload_error, list_uploaded",
        ),
        (
            "severity=final",
            "the filter 'severity' cannot be read: there is no severity 'final'; expected \
             temporary or permanent",
        ),
        ("size=big", "the filter 'size' cannot be read: 'big' is not a whole number"),
    ] {
        let answer = send(world.call("GET", &format!("/v3/{DOMAIN}/events?{query}"))).await;
        assert_message(&answer, 400, message);
    }
    let answer = send(world.call("GET", "/v3/other.example/events")).await;
    assert_message(&answer, 404, "Domain not found");
    let answer = send(world.anonymous("GET", &format!("/v3/{DOMAIN}/events"))).await;
    assert_eq!((answer.status, answer.text().as_str()), (401, "Forbidden"));
}

#[tokio::test]
async fn a_link_is_good_for_its_own_account_and_domain_alone() {
    let env = TestEnv::new();
    let (world, account_id) = world(&env).await;
    insert(&world, &account_id, &[("a", 1)]).await;
    world.domain("mail2.demo.example", "demo").await;
    world.account("other", "").await;
    world.domain("mail.other.example", "other").await;
    let page = list(&world, "").await;
    let link = page["paging"]["first"].as_str().expect("a link");
    let token = link.rsplit('/').next().expect("a token");
    let altered = format!("{}{}", if token.starts_with('A') { "B" } else { "A" }, &token[1..]);
    let of_other = world
        .anonymous("GET", &format!("/v3/mail.other.example/events/{token}"))
        .basic_auth("api", "key-other");
    for request in [
        world.call("GET", &format!("/v3/mail2.demo.example/events/{token}")),
        world.call("GET", &format!("/v3/{DOMAIN}/events/{altered}")),
        world.call("GET", &format!("/v3/{DOMAIN}/events/{}", &token[..20])),
        world.call("GET", &format!("/v3/{DOMAIN}/events/page")),
        of_other,
    ] {
        assert_message(&send(request).await, 400, "Invalid page: begin the list anew");
    }
    let theirs = world.anonymous("GET", &format!("/v3/{DOMAIN}/events/{token}"));
    let answer = send(theirs.basic_auth("api", "key-other")).await;
    assert_message(&answer, 404, "Domain not found");
}

#[tokio::test]
async fn links_lead_to_the_host_that_was_called() {
    let env = TestEnv::new();
    let (world, _) = world(&env).await;
    let answer = send(
        world
            .call("GET", &format!("/v3/{DOMAIN}/events"))
            .header("X-Forwarded-Host", "api.example.net")
            .header("X-Forwarded-Proto", "https"),
    )
    .await;
    let page = page(&answer);
    for name in ["next", "previous", "first", "last"] {
        let link = page["paging"][name].as_str().expect("a link");
        assert!(
            link.starts_with(&format!("https://api.example.net/v3/{DOMAIN}/events/")),
            "{link}"
        );
    }
}

#[tokio::test]
async fn an_export_streams_everything_as_json_or_csv() {
    let env = TestEnv::new();
    let (world, account_id) = world(&env).await;
    let names: Vec<String> = (0..2_500).map(|n| format!("e{n}")).collect();
    let events: Vec<(&str, i64)> = names.iter().map(String::as_str).zip(0..).collect();
    insert(&world, &account_id, &events).await;
    let path = format!("/postrider/v1/domains/{DOMAIN}/events/export?ascending=yes");
    let answer = send(world.call("GET", &path)).await;
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let text = answer.text();
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2_500);
    assert!(lines.iter().zip(&names).all(|(line, name)| line["id"] == name.as_str()));

    let answer = send(world.call("GET", &format!("{path}&format=csv&limit=7"))).await;
    assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8"));
    let text = answer.text();
    assert_eq!(text.lines().count(), 2_501);
    assert!(text.starts_with("timestamp,event,severity,reason,id,recipient,message-id,"), "{text}");
    assert_eq!(
        text.lines().nth(1).map(|line| line.split(',').take(6).collect::<Vec<_>>().join(",")),
        Some("1760000000.0001,opened,,,e0,ada@customer.example".to_owned())
    );
    let nothing = send(world.call("GET", &format!("{path}&event=clicked"))).await;
    assert_eq!((nothing.status, nothing.text().as_str()), (200, ""));
    let answer = send(world.call("GET", &format!("{path}&format=xml"))).await;
    assert_message(&answer, 400, "format must be ndjson or csv");
}
