//! Receivers verify `X-Sign` as it is documented: they parse the body of an alert, print it again, and
//! sign that. So it has to come out as it was, whatever prints it.

use std::process::Command;

use model::{EventType, alert_body, sample};
use protocol::Timestamp;
use protocol::v1::event::Kind;
use protocol::v1::{AcceptedEvent, Event};
use testkit::tools;

use crate::clients::folder;
use crate::system::SOON;

const PYTHON: &str = "import sys, json\nfor line in sys.stdin: print(json.dumps(json.loads(line), \
                      separators=(',', ':'), ensure_ascii=False))";
const NODE: &str = "import { readFileSync } from 'node:fs'; \
                    for (const line of readFileSync(0, 'utf8').split('\\n').filter(Boolean)) \
                    console.log(JSON.stringify(JSON.parse(line)));";
const RUBY: &str =
    "require 'json'; STDIN.each_line { |line| puts JSON.generate(JSON.parse(line)) }";

fn bodies() -> Vec<String> {
    let timestamp = Timestamp { seconds: 1_760_000_000, nanos: 43_687_160 };
    let mut events: Vec<Event> = EventType::ALERTS
        .into_iter()
        .map(|event_type| sample(event_type, "id-1", timestamp, "demo", ""))
        .collect();
    for text in ["</a>&/é𝄞\u{2028}\u{2029}\"\\", "a\tb\r\nc", "\u{feff}\u{a0}😀", "' 1e3 \\u0041"]
    {
        let mut event = sample(EventType::IpListed, "id-1", timestamp, "demo", "");
        let Some(Kind::IpListed(listed)) = &mut event.kind else { panic!("an alert") };
        (listed.blocklist, listed.message) = (text.replace(char::is_control, ""), text.to_owned());
        events.push(event);
    }
    let mut largest = sample(EventType::ValidationJob, "id-1", timestamp, "demo", "");
    let Some(Kind::ValidationJob(job)) = &mut largest.kind else { panic!("a job") };
    job.bulk_validation_job.as_mut().expect("a job").quantity = (1 << 53) - 1;
    events.push(largest);
    let accepted = |event| {
        assert!(model::validate::event(&event).is_ok(), "{event:?}");
        AcceptedEvent { event: Some(event), ..AcceptedEvent::default() }
    };
    let body = |event| alert_body(&accepted(event), 1_760_000_000, "token").expect("an alert");
    events.into_iter().map(|event| String::from_utf8(body(event)).expect("text")).collect()
}

#[tokio::test]
async fn alerts_come_out_as_they_were_when_they_are_printed_again() {
    let bodies = bodies();
    let lines = bodies.join("\n") + "\n";
    let mut python = Command::new("python3");
    python.args(["-X", "utf8", "-c", PYTHON]);
    let mut node = tools::node(folder("node")).await.command();
    node.args(["--input-type=module", "-e", NODE]);
    let mut printers = vec![("python", python), ("node", node)];
    if Command::new("ruby").arg("--version").output().is_ok() {
        let mut ruby = Command::new("ruby");
        ruby.args(["-Ku", "-e", RUBY]);
        printers.push(("ruby", ruby));
    } else {
        println!("without Ruby, which is not installed");
    }
    for (name, printer) in printers {
        let printed = tools::run(name, printer, &lines, SOON).await;
        let printed: Vec<&str> = printed.lines().collect();
        assert_eq!(printed, bodies, "{name}");
    }
}
