//! The calls that are measured.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::fill::{DAYS, LARGE, SMALL, World};
use crate::customers::domain;

/// A page that an index leads to.
pub(super) const PAGE_MS: f64 = 50.0;
/// What was counted when history was written.
const STATISTICS_MS: f64 = 20.0;
/// A look through the events of an hour, or a count.
const SEARCH_MS: f64 = 250.0;
/// A look through everything that has failed in an account.
const ALL_FAILURES_MS: f64 = 5_000.0;

/// One kind of call.
pub(super) struct Ask {
    pub(super) what: &'static str,
    /// `host:port` of who is asked.
    pub(super) address: String,
    pub(super) key: String,
    pub(super) how: How,
    /// The request of this number; each is another one where it can be.
    pub(super) request: Box<dyn Fn(u64) -> String>,
    pub(super) limit_ms: f64,
}

/// What is asked next.
#[derive(Clone, Copy)]
pub(super) enum How {
    /// The next request.
    Anew,
    /// The next page, until there is none.
    Following,
    /// The same link, whether it has something or not.
    Polling,
}

/// All calls of the APIs, which are at this address.
pub(super) fn all(world: &World, address: &str) -> Vec<Ask> {
    let (now, rows) = (world.now, world.rows);
    let of = |account: &'static str| domain(account, 0);
    let events = |account, query: &str| format!("/v3/{}/events?{query}", of(account));
    // Moments that are scattered over the history.
    let moment = move |n: u64| now - 86_400 * DAYS * (n * 37 % 100 + 1) / 102;
    let mut asks = Vec::new();
    let mut ask = |what, account: &str, how, limit_ms, path: Box<dyn Fn(u64) -> String>| {
        let key = key_of(account);
        let of_request = key.clone();
        let request = Box::new(move |n| get(&of_request, &path(n)));
        let address = address.to_owned();
        asks.push(Ask { what, address, key, how, request, limit_ms });
    };
    let fixed = |path: String| -> Box<dyn Fn(u64) -> String> { Box::new(move |_| path.clone()) };
    use How::{Anew, Following, Polling};

    ask("events: newest, large account", LARGE, Anew, PAGE_MS, fixed(events(LARGE, "limit=100")));
    ask("events: newest, small account", SMALL, Anew, PAGE_MS, fixed(events(SMALL, "limit=100")));
    ask("events: from any moment", LARGE, Anew, PAGE_MS, {
        let path = events(LARGE, "ascending=no&limit=100");
        Box::new(move |n| format!("{path}&begin={}", moment(n)))
    });
    ask("events: next of 300", LARGE, Following, PAGE_MS, fixed(events(LARGE, "limit=300")));
    ask("events: polling", LARGE, Polling, PAGE_MS, {
        let path = events(LARGE, "ascending=yes&limit=300");
        Box::new(move |_| format!("{path}&begin={}", now - 60))
    });
    ask("events: polling, small account", SMALL, Polling, PAGE_MS, {
        let path = events(SMALL, "ascending=yes&limit=300");
        Box::new(move |_| format!("{path}&begin={}", now - 60))
    });
    for (what, filter) in [
        ("events: event=delivered", "event=delivered"),
        ("events: event=failed", "event=failed"),
        ("events: event=failed and severity=permanent", "event=failed&severity=permanent"),
        ("events: event=clicked OR unsubscribed", "event=clicked%20OR%20unsubscribed"),
        ("events: event=complained", "event=complained"),
        ("events: event=NOT delivered", "event=NOT%20delivered"),
        ("events: tags=order", "tags=order"),
    ] {
        ask(what, LARGE, Anew, PAGE_MS, {
            let path = events(LARGE, filter);
            Box::new(move |n| format!("{path}&ascending=no&begin={}", moment(n)))
        });
    }
    ask("events: event=complained, small account", SMALL, Anew, PAGE_MS, {
        fixed(events(SMALL, "event=complained"))
    });
    ask("events: recipient", LARGE, Anew, PAGE_MS, {
        let path = events(LARGE, "");
        Box::new(move |n| format!("{path}recipient={}", World::recipient(n)))
    });
    ask("events: message-id", LARGE, Anew, PAGE_MS, {
        let path = events(LARGE, "");
        Box::new(move |n| {
            format!("{path}message-id={}", World::message_id(n * 2_654_435_761 % (rows - 100)))
        })
    });
    for (what, filter) in [
        ("events: subject of an hour", "subject=417"),
        ("events: part of a recipient, of an hour", "recipient=r4170"),
        ("events: from of an hour, in vain", "from=nobody"),
        ("events: size of an hour", "size=%3E49900"),
        ("events: recipients of an hour, in vain", "recipients=nobody%40nowhere.example"),
        ("events: list of an hour, in vain", "list=news%40books.example"),
        ("events: attachment of an hour, in vain", "attachment=invoice"),
        ("events: to of an hour", "to=r41"),
    ] {
        ask(what, LARGE, Anew, SEARCH_MS, {
            let path = events(LARGE, filter);
            Box::new(move |n| format!("{path}&begin={}&end={}", moment(n) - 3_600, moment(n)))
        });
    }

    let failures = |query: &str| format!("/postrider/v1/failures?{query}");
    ask("failures: newest", LARGE, Anew, PAGE_MS, fixed(failures("")));
    ask("failures: newest, small account", SMALL, Anew, PAGE_MS, fixed(failures("")));
    ask("failures: next of 300", LARGE, Following, PAGE_MS, fixed(failures("limit=300")));
    ask("failures: before any moment", LARGE, Anew, PAGE_MS, {
        Box::new(move |n| format!("/postrider/v1/failures?end={}", moment(n)))
    });
    for (what, filter) in [
        ("failures: status", "status=503"),
        ("failures: reason", "reason=timeout"),
        ("failures: url", "url=https%3A%2F%2Fhooks.example.net%2F1"),
    ] {
        ask(what, LARGE, Anew, PAGE_MS, fixed(failures(filter)));
    }
    ask(
        "failures: domain",
        LARGE,
        Anew,
        PAGE_MS,
        fixed(failures(&format!("domain={}", of(LARGE)))),
    );
    ask("failures: delivery_id", LARGE, Anew, PAGE_MS, {
        let ids = world.failed_deliveries.clone();
        let any = move |n: u64| {
            let number = usize::try_from(n).unwrap_or_default() % ids.len().max(1);
            ids.get(number).cloned().unwrap_or_default()
        };
        Box::new(move |n| format!("/postrider/v1/failures?delivery_id={}", any(n)))
    });
    for (what, filter) in [
        ("failures: event_type, one of fifty", "event_type=clicked"),
        ("failures: status that there is none of", "status=418"),
        ("failures: url that there is none of", "url=https%3A%2F%2Fhooks.example.net%2Fnone"),
        ("failures: event_type that there is none of", "event_type=ip_listed"),
    ] {
        ask(what, LARGE, Anew, ALL_FAILURES_MS, fixed(failures(filter)));
    }
    ask("undelivered: counts", LARGE, Anew, SEARCH_MS, fixed("/postrider/v1/undelivered".into()));

    let statistics = |query: &str| format!("/postrider/v1/statistics{query}");
    for (what, account, path) in [
        ("statistics: a day", LARGE, statistics("")),
        ("statistics: a day, small account", SMALL, statistics("")),
        ("statistics: two weeks", LARGE, statistics(&format!("?begin={}", now - 86_400 * DAYS))),
        ("statistics: targets of a day", LARGE, statistics("/targets")),
        ("statistics: backlog", LARGE, statistics("/backlog")),
    ] {
        ask(what, account, Anew, STATISTICS_MS, fixed(path));
    }

    asks.extend(logs(now, address));
    asks
}

fn logs(now: u64, address: &str) -> Vec<Ask> {
    let ask = |what, limit_ms, body: &str| {
        let key = key_of(LARGE);
        let (of_request, body) = (key.clone(), body.to_owned());
        let day = move |n: u64| now - 86_400 * (n % (DAYS - 1));
        let request = Box::new(move |n| {
            post(&of_request, "/v1/analytics/logs", &body.replace("END", &day(n).to_string()))
        });
        Ask { what, address: address.to_owned(), key, how: How::Anew, request, limit_ms }
    };
    let conditions = |conditions: &str| {
        format!(r#"{{"end": "END", "duration": "1h", "filter": {{"AND": [{conditions}]}}}}"#)
    };
    let is = |attribute: &str, comparator: &str, value: &str| {
        format!(
            r#"{{"attribute": "{attribute}", "comparator": "{comparator}", "values": [{{"label": "", "value": "{value}"}}]}}"#
        )
    };
    vec![
        ask("logs: a day", PAGE_MS, r#"{"end": "END", "duration": "1d"}"#),
        ask("logs: failures of a day", SEARCH_MS, {
            r#"{"end": "END", "duration": "1d", "events": ["failed"]}"#
        }),
        ask(
            "logs: a domain of an hour",
            PAGE_MS,
            &conditions(&is("domain", "=", &domain(LARGE, 0))),
        ),
        ask(
            "logs: a subject of an hour",
            SEARCH_MS,
            &conditions(&is("subject", "contains", "417")),
        ),
        ask("logs: a day, counted", SEARCH_MS, {
            r#"{"end": "END", "duration": "1d", "include_totals": true}"#
        }),
    ]
}

/// The API key of one of the accounts.
pub(super) fn key_of(account: &str) -> String {
    format!("key-{account}")
}

/// A call that needs the database and looks at no history.
pub(super) fn reconnect(key: &str) -> String {
    get(key, "/postrider/v1/undelivered?none")
}

pub(super) fn get(key: &str, path: &str) -> String {
    request(key, &format!("GET {path}"), "")
}

fn post(key: &str, path: &str, body: &str) -> String {
    request(key, &format!("POST {path}"), body)
}

fn request(key: &str, line: &str, body: &str) -> String {
    let credentials = BASE64_STANDARD.encode(format!("api:{key}"));
    format!(
        "{line} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nAuthorization: Basic {credentials}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
