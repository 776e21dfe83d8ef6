//! Looks at the broker, and at the mail, while everything runs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use testkit::Mailbox;
use testkit::broker::try_jetstream;
use tokio::time::{Instant, sleep_until, timeout};

use crate::REGION;
use crate::history::{Fact, Recorder};

const EVERY: Duration = Duration::from_millis(500);

/// Notes which deliveries stand on `due` and on `retry` at once. Runs until it is aborted.
pub(crate) async fn watch(brokers: Vec<String>, recorder: Recorder) {
    let question = json!({"subjects_filter": ">"});
    let subject = format!("STREAM.INFO.{REGION}_DELIVERIES_0");
    loop {
        sleep_until(Instant::now() + EVERY).await;
        for broker in &brokers {
            let asked = timeout(Duration::from_secs(1), try_jetstream(broker, &subject, &question));
            let Ok(Some(info)) = asked.await else { continue };
            let mut places: BTreeMap<&str, usize> = BTreeMap::new();
            for subject in info["state"]["subjects"].as_object().into_iter().flatten() {
                *places.entry(subject.0.rsplit('.').next().unwrap_or_default()).or_default() += 1;
            }
            let deliveries = places.into_iter().filter(|(_, count)| *count > 1);
            let deliveries = deliveries.map(|(delivery, _)| delivery.to_owned()).collect();
            recorder.note(Fact::Twice { deliveries });
            break;
        }
    }
}

/// A machine on which somebody waits for a processor for so much of the time is too small for
/// what runs on it.
const STARVED: f64 = 0.9;

/// Notes when the machine is starved, as Linux tells. Runs until it is aborted.
pub(crate) async fn watch_machine(recorder: Recorder) {
    let mut before = (Instant::now(), waited_us());
    loop {
        sleep_until(before.0 + 2 * EVERY).await;
        let now = (Instant::now(), waited_us());
        let took = now.0 - before.0;
        if let (Some(then), Some(until)) = (before.1, now.1)
            && until.saturating_sub(then) as f64 >= STARVED * took.as_micros() as f64
        {
            let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            recorder.note(Fact::Starved { ms });
        }
        before = now;
    }
}

/// For how long some process had to wait for a processor, since the machine runs.
fn waited_us() -> Option<u64> {
    let pressure = std::fs::read_to_string("/proc/pressure/cpu").ok()?;
    let some = pressure.lines().find_map(|line| line.strip_prefix("some "))?;
    some.rsplit_once("total=")?.1.parse().ok()
}

/// Notes the mails that came. Runs until it is aborted.
pub(crate) async fn read_mail(mailbox: Mailbox, recorder: Recorder) {
    let mut seen = 0;
    loop {
        sleep_until(Instant::now() + EVERY).await;
        let letters = mailbox.letters();
        for letter in &letters[seen..] {
            let delivery = letter.header("X-Postrider-Delivery").unwrap_or_default();
            recorder.note(Fact::Mail { delivery });
        }
        seen = letters.len();
    }
}
