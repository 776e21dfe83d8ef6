//! The official clients follow the Events API while it goes on.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use protocol::Timestamp;
use protocol::v1::Event;
use testkit::{eventually, tools};

use crate::clients::{folder, script};
use crate::system::{SOON, System, opened};

const DOMAIN: &str = "mail.demo.example";
/// Events that are there when the clients begin.
const FIRST: i64 = 10_000;
/// Those that come while they walk: so many at a time, so many times.
const AT_A_TIME: i64 = 20;
const TIMES: i64 = 100;
const EVERY: Duration = Duration::from_millis(80);
const TOTAL: i64 = FIRST + AT_A_TIME * TIMES;
/// Where the range begins, in seconds since the epoch.
const BEGIN: i64 = 1_760_000_000;
/// What a client may need, next to everything else that the machine does.
const WITHIN: Duration = Duration::from_secs(90);

/// Its time is scattered over the range, so that what comes later is often of a
/// time that the clients have gone past.
fn event(number: i64) -> Event {
    let seconds = BEGIN + number * 7_919 % 10_007;
    let timestamp = Some(Timestamp { seconds, nanos: 0 });
    Event { timestamp, ..opened(&format!("e{number}")) }
}

/// How often each event came to a client.
async fn walk(what: &str, command: Command) -> HashMap<String, u32> {
    let printed = tools::run(what, command, "", WITHIN).await;
    let mut seen = HashMap::new();
    for id in printed.lines().filter_map(|line| line.strip_prefix("id ")) {
        *seen.entry(id.to_owned()).or_default() += 1;
    }
    seen
}

fn assert_once_each(what: &str, seen: &HashMap<String, u32>, count: i64) {
    let wrong: Vec<String> = (0..count)
        .map(|number| format!("e{number}"))
        .filter(|id| seen.get(id) != Some(&1))
        .collect();
    assert!(wrong.is_empty(), "{what}: {} missing or repeated, {:?}", wrong.len(), wrong.first());
    let repeated = seen.iter().find(|(_, times)| **times != 1);
    assert_eq!(repeated, None, "{what}");
}

#[tokio::test]
async fn clients_that_follow_get_ten_thousand_events_once_each_while_new_ones_come() {
    let node = tools::node(folder("node")).await;
    let python = tools::python(folder("python/requirements.txt")).await;
    let system = System::start(&[]).await;
    system.publish_all((0..FIRST).map(event)).await;
    eventually(SOON, "the first events in history", || async {
        (system.sql("SELECT count(*) FROM events").trim() == FIRST.to_string()).then_some(())
    })
    .await;

    let (url, begin) = (system.url(""), BEGIN.to_string());
    let command = |tool: Command, name: &str, mode: &str, total: i64| {
        let total = total.to_string();
        script(tool, name, &[mode, &url, "key-demo", DOMAIN, &begin, &total])
    };
    let by_node = command(node.command(), "mailgun.mjs", "follow", TOTAL);
    let by_python = command(python.command(), "mailgun_py.py", "follow", TOTAL);
    let by_stream = command(python.command(), "mailgun_py.py", "stream", FIRST);
    let news = async {
        let mut pace = tokio::time::interval(EVERY);
        for time in 0..TIMES {
            pace.tick().await;
            let from = FIRST + time * AT_A_TIME;
            system.publish_all((from..from + AT_A_TIME).map(event)).await;
        }
    };
    let (by_node, by_python, by_stream, ()) = tokio::join!(
        walk("mailgun.js", by_node),
        walk("mailgun of PyPI", by_python),
        walk("mailgun of PyPI, by its own walk", by_stream),
        news
    );
    assert_once_each("mailgun.js", &by_node, TOTAL);
    assert_once_each("mailgun of PyPI", &by_python, TOTAL);
    // It ends at the first page that is empty; what it had by then it had once.
    assert_once_each("mailgun of PyPI, by its own walk", &by_stream, FIRST);
}
