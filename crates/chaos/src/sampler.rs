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
