//! The checker, on short histories that are written down here.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use testkit::Scratch;

const URL: &str = "http://127.0.0.1:1/ok/c1";

/// One event that is stored, decided for one URL, posted and ended, and what is changed of it.
struct Run {
    facts: Vec<(u64, Value)>,
    ends: Vec<Value>,
    /// Of the last state: rows of more tables, documents, traces.
    more_rows: Value,
    documents: Value,
    traces: Value,
}

impl Run {
    fn in_order() -> Self {
        let setup = json!({
            "seed": 1, "brokers": 1, "seconds": 10, "mutant": null, "lease_ms": 2000,
            "events_window_ms": 8000, "deliveries_window_ms": 3000,
            "send_waits_ms": [1000, 2000], "alert_waits_ms": [1000], "egress_timeout_ms": 1500,
            "events_max_bytes": 1000, "outcomes_max_bytes": 1000,
        });
        let event = json!({"account": "a", "domain": "d", "event_type": "clicked", "id": "e1"});
        let subscription =
            json!({"account": "a", "domain": "d", "event_type": "clicked", "url": URL});
        let mut run = Self {
            facts: Vec::new(),
            ends: Vec::new(),
            more_rows: json!({}),
            documents: json!({}),
            traces: json!([]),
        };
        run.note(0, json!({"fact": "began", "setup": setup, "epoch_ms": 0}));
        run.note(1, json!({"fact": "change", "op": 0, "subscription": subscription, "on": true}));
        run.note(2, json!({"fact": "changed", "op": 0, "status": 200}));
        run.note(10, json!({"fact": "publish", "op": 1, "events": [event]}));
        run.note(11, json!({"fact": "published", "op": 1, "results": ["stored"]}));
        run.post(0, 20, 1, 500);
        run.post(1, 1100, 2, 200);
        run.end("delivered", 2, 1101);
        run.note(9000, json!({"fact": "rest", "is_quiet": true, "why": ""}));
        run
    }

    fn note(&mut self, t: u64, fact: Value) {
        self.facts.push((t, fact));
    }

    fn post(&mut self, post: u64, t: u64, number: u64, status: u16) {
        let fact = json!({
            "fact": "post", "post": post, "url": URL, "delivery": "d1", "number": number,
            "event_id": "e1", "event_type": "clicked", "status": status,
        });
        self.note(t, fact);
        self.note(t, json!({"fact": "answer", "post": post}));
    }

    fn end(&mut self, outcome: &str, attempts: u64, t: u64) {
        self.ends.push(json!({
            "delivery_id": "d1", "account_id": "a", "event_key": "k1", "outcome": outcome, "reason": "ok",
            "attempts": attempts, "generation": 0, "target_id": "t1", "at_ms": t,
        }));
    }

    /// The invariants that the checker says are broken.
    fn broken(&self) -> Vec<String> {
        let scratch = Scratch::new().expect("a directory");
        let mut facts = self.facts.clone();
        facts.sort_by_key(|(t, _)| *t);
        let mut history = String::new();
        for (t, mut fact) in facts {
            fact["t"] = t.into();
            writeln!(history, "{fact}").expect("written");
        }
        let attempts: Vec<Value> = self
            .facts
            .iter()
            .filter(|(_, fact)| fact["fact"] == "post" && fact["event_id"] == "e1")
            .map(|(t, fact)| {
                json!({
                    "delivery_id": "d1", "account_id": "a", "hop": 0, "attempt": fact["number"], "charged": true,
                    "reason": if fact["status"] == 200 { "ok" } else { "status" }, "status": fact["status"], "url": URL, "at_ms": t,
                })
            })
            .collect();
        let mut state = json!({
            "rows": {
                "events": [{"event_key": "k1", "event_id": "e1", "event_type": "clicked", "at_ms": 10}],
                "decisions": [{"event_key": "k1", "verdict": "chosen", "url": URL, "delivery_id": "d1"}],
                "ends": self.ends,
                "attempts": attempts,
            },
            "streams": [], "consumers": {}, "waiting": [],
            "documents": self.documents, "traces": self.traces,
        });
        for (name, rows) in self.more_rows.as_object().expect("tables") {
            state["rows"][name] = rows.clone();
        }
        fs::write(scratch.path().join("history.jsonl"), history).expect("written");
        fs::write(scratch.path().join("state.json"), state.to_string()).expect("written");
        let mut checker = Command::new(env!("CARGO_BIN_EXE_chaos"));
        let output = checker.arg("check").arg(scratch.path()).output().expect("it runs");
        let verdict = fs::read_to_string(scratch.path().join("verdict.json"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let verdict: Value = serde_json::from_str(&verdict.expect(&said)).expect("JSON");
        let mut broken: Vec<String> = verdict["violations"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|violation| violation["invariant"].as_str().expect("a name").to_owned())
            .collect();
        broken.dedup();
        assert_eq!(output.status.success(), broken.is_empty());
        broken
    }
}

#[test]
fn a_run_in_order_breaks_nothing() {
    assert!(Run::in_order().broken().is_empty());
}

#[test]
fn a_delivery_without_an_end_or_with_two_breaks_i1() {
    let mut run = Run::in_order();
    run.ends.clear();
    assert_eq!(run.broken(), ["I1"]);
    let mut run = Run::in_order();
    run.end("exhausted", 2, 5000);
    assert_eq!(run.broken(), ["I1"]);
}

#[test]
fn a_fork_breaks_i4() {
    let mut run = Run::in_order();
    run.post(2, 1200, 1, 200);
    assert_eq!(run.broken(), ["I4"]);
}

#[test]
fn a_repeated_try_breaks_i4_unless_a_fault_explains_it() {
    let mut run = Run::in_order();
    run.post(2, 300, 1, 500);
    assert_eq!(run.broken(), ["I4"]);
    let fault = json!({"fact": "fault", "step": 0, "fault": "{\"kill_role\":{\"replica\":1}}", "on": ["dispatcher-1"]});
    run.note(100, fault);
    run.note(200, json!({"fact": "healed", "step": 0}));
    assert!(run.broken().is_empty());
    // One fault explains one repetition.
    run.post(3, 400, 1, 500);
    assert_eq!(run.broken(), ["I4"]);
}

#[test]
fn a_try_after_the_end_breaks_i5() {
    let mut run = Run::in_order();
    run.post(2, 5000, 3, 200);
    assert_eq!(run.broken(), ["I5"]);
}

#[test]
fn an_early_retry_breaks_i7() {
    let mut run = Run::in_order();
    run.post(2, 2000, 3, 200);
    run.ends.clear();
    run.end("delivered", 3, 2001);
    assert_eq!(run.broken(), ["I7"]);
}

#[test]
fn what_is_called_delivered_and_was_not_taken_breaks_i9() {
    let mut run = Run::in_order();
    run.facts.retain(|(_, fact)| fact["post"] != 1);
    run.ends.clear();
    run.end("delivered", 1, 30);
    assert_eq!(run.broken(), ["I9"]);
}

#[test]
fn what_does_not_come_to_rest_breaks_i13() {
    let mut run = Run::in_order();
    run.note(9001, json!({"fact": "rest", "is_quiet": false, "why": "one delivery"}));
    assert_eq!(run.broken(), ["I13"]);
}

#[test]
fn an_event_that_is_stored_twice_within_its_window_breaks_i20() {
    let mut run = Run::in_order();
    let event = json!({"account": "a", "domain": "d", "event_type": "clicked", "id": "e1"});
    run.note(500, json!({"fact": "publish", "op": 2, "events": [event]}));
    run.note(501, json!({"fact": "published", "op": 2, "results": ["stored"]}));
    assert_eq!(run.broken(), ["I1", "I20"]);
}

#[test]
fn statistics_that_are_no_sums_over_history_break_i9() {
    let mut run = Run::in_order();
    let statistics = |delivered: u64| {
        json!({"statistics": [{
            "account_id": "a", "is_of_all": true, "taken": 1, "failed": 1, "delivered": delivered,
        }]})
    };
    run.more_rows = statistics(1);
    assert!(run.broken().is_empty());
    run.more_rows = statistics(2);
    assert_eq!(run.broken(), ["I9"]);
}

#[test]
fn a_list_that_misses_or_repeats_an_event_breaks_i10() {
    let followed = |ids: &[&str]| {
        let mut run = Run::in_order();
        run.note(8000, json!({"fact": "followed", "domain": "d", "ids": ids}));
        run.broken()
    };
    assert!(followed(&["e1"]).is_empty());
    for ids in [&["e1", "e1"][..], &["e1", "e2"], &[]] {
        assert_eq!(followed(ids), ["I10"], "{ids:?}");
    }
    let mut run = Run::in_order();
    run.note(8000, json!({"fact": "not_followed", "domains": ["d"]}));
    assert_eq!(run.broken(), ["I10"]);
}

#[test]
fn a_document_that_is_older_or_other_than_the_settings_breaks_i11() {
    // Field 1, "ab"; field 2, 300; field 3, a URL of 12 bytes.
    let document = format!("0a02616210ac021a0c{}", hex("http://a/b/c"));
    let of = |version: u64, url: &str, document: Option<&str>| {
        let mut run = Run::in_order();
        let row = json!({"key": "account.ab", "version": version, "urls": [url]});
        run.more_rows = json!({"account_settings": [row]});
        if let Some(document) = document {
            run.documents = json!({"account.ab": document});
        }
        run.broken()
    };
    assert!(of(300, "http://a/b/c", Some(&document)).is_empty());
    assert_eq!(of(301, "http://a/b/c", Some(&document)), ["I11"]);
    assert_eq!(of(300, "http://a/b/d", Some(&document)), ["I11"]);
    assert_eq!(of(300, "http://a/b/c", None), ["I11"]);
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("written");
        hex
    })
}

#[test]
fn a_process_that_has_grown_breaks_i15() {
    let usage = |kb: u64, files: u64| {
        let mut run = Run::in_order();
        for (t, kb, files, at_rest) in [(1, 60_000, 20, false), (9001, kb, files, true)] {
            run.note(
                t,
                json!({
                    "fact": "usage", "process": "fanout-0", "resident_kb": kb, "files": files,
                    "at_rest": at_rest,
                }),
            );
        }
        run.broken()
    };
    assert!(usage(100_000, 40).is_empty());
    assert_eq!(usage(200_000, 40), ["I15"]);
    assert_eq!(usage(100_000, 400), ["I15"]);
}

#[test]
fn a_healthy_receiver_that_waits_breaks_i16() {
    let mut run = Run::in_order();
    run.facts.retain(|(_, fact)| fact["fact"] != "post" && fact["fact"] != "answer");
    run.ends.clear();
    run.post(0, 4000, 1, 200);
    run.end("delivered", 1, 4001);
    assert_eq!(run.broken(), ["I16"]);
    // A machine that had no processor for it says nothing of that.
    run.note(3000, json!({"fact": "starved", "ms": 1000}));
    assert!(run.broken().is_empty());
}

#[test]
fn an_end_that_is_late_breaks_i8_and_not_while_the_machine_is_starved() {
    let mut run = Run::in_order();
    run.ends.clear();
    run.end("delivered", 2, 60_000);
    assert_eq!(run.broken(), ["I8"]);
    run.note(50_000, json!({"fact": "starved", "ms": 40_000}));
    assert!(run.broken().is_empty());
}

#[test]
fn what_is_left_of_an_erased_account_breaks_i19() {
    let mut run = Run::in_order();
    run.note(5000, json!({"fact": "erased", "account": "vanishing"}));
    assert!(run.broken().is_empty());
    run.traces = json!(["1 rows of events"]);
    assert_eq!(run.broken(), ["I19"]);
    let mut run = Run::in_order();
    run.note(5000, json!({"fact": "erased", "account": "vanishing"}));
    let post = json!({
        "fact": "post", "post": 9, "url": URL, "delivery": "d9", "number": 1,
        "event_id": "vanishing-1", "event_type": "clicked", "status": 200,
    });
    run.note(8000, post);
    assert_eq!(run.broken(), ["I19"]);
}
