//! A platform as it is deployed, with the demo account and one receiver.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use protocol::v1::ingest_client::IngestClient;
use protocol::v1::publish_result::Status;
use protocol::v1::{Event, PublishRequest};
use serde_json::json;
use testkit::{Receiver, eventually};

use crate::system::{BINARY, ROLES};

pub(crate) const LONG: Duration = Duration::from_secs(120);

/// Three brokers, and some of every role. It ends when it is dropped.
pub(crate) struct Rig {
    rig: testkit::Rig,
    pub(crate) receiver: Receiver,
}

impl Deref for Rig {
    type Target = testkit::Rig;

    fn deref(&self) -> &testkit::Rig {
        &self.rig
    }
}

impl DerefMut for Rig {
    fn deref_mut(&mut self) -> &mut testkit::Rig {
        &mut self.rig
    }
}

impl Rig {
    /// Two of every role.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[ROLES, ROLES].concat(), &[]).await
    }

    /// One process for each of these.
    pub(crate) async fn start_with(roles: &[&'static str], extra: &[(&str, &str)]) -> Self {
        let receiver = Receiver::start().await;
        let secret_key = "07".repeat(32);
        let settings = [
            ("SECRET_KEY", &*secret_key),
            ("EGRESS_ALLOW_CIDRS", "127.0.0.0/8"),
            ("LOG", "info"),
            ("LOG_FORMAT", "text"),
        ];
        let settings = [&settings, extra].concat();
        let mut rig = testkit::Rig::start(Path::new(BINARY), &settings).expect("a rig");
        for role in roles {
            rig.add(role).expect(role);
        }
        rig.run(&["admin", "account", "create", "demo", "--key", "key-demo"]).expect("created");
        let domain = ["admin", "domain", "create", "mail.demo.example", "--account", "demo"];
        rig.run(&domain).expect("created");
        let rig = Self { rig, receiver };
        rig.add_webhook("/hook").await;
        rig
    }

    /// Points the demo domain's clicks at this path of the receiver.
    pub(crate) async fn add_webhook(&self, path: &str) {
        let http = self.of("settings-api").next().expect("one of them").http;
        let calls = format!("http://{http}/v3/domains/mail.demo.example/webhooks");
        let request = testkit::http::post(calls).basic_auth("api", "key-demo");
        let url = self.receiver.url(path);
        let answer = request.form(&[("id", "clicked"), ("url", &url)]).send().await;
        answer.expect("answered").expect_status(200);
    }

    /// Where events are handed over, for a caller that tries one after the other.
    pub(crate) fn doors(&self) -> Vec<SocketAddr> {
        self.of("ingest").map(|replica| replica.ingest).collect()
    }

    /// The node that leads this stream.
    pub(crate) async fn leader(&self, stream: &str) -> usize {
        let subject = format!("STREAM.INFO.us_{stream}");
        let nodes = self.cluster().nodes();
        let url = nodes.iter().find_map(|node| node.pid().map(|_| node.url()));
        let url = url.expect("a node that runs");
        eventually(LONG, "a leader", || async {
            let info = testkit::broker::try_jetstream(&url, &subject, &json!({})).await?;
            let leader = info["cluster"]["leader"].as_str()?.to_owned();
            nodes.iter().position(|node| node.name() == leader)
        })
        .await
    }
}

/// Hands an event over until it is stored, at whichever door is open, as a careful
/// caller would. Returns how long that took.
pub(crate) async fn publish_patiently(doors: &[SocketAddr], event: Event) -> Duration {
    let began = Instant::now();
    let turn = AtomicUsize::new(0);
    eventually(LONG, "the event to be stored", || async {
        let door = doors[turn.fetch_add(1, Ordering::Relaxed) % doors.len()];
        publish(door, vec![event.clone()]).await.then_some(())
    })
    .await;
    began.elapsed()
}

/// Hands these over at once. Returns whether all of them are stored.
pub(crate) async fn publish(door: SocketAddr, events: Vec<Event>) -> bool {
    let Ok(mut ingest) = IngestClient::connect(format!("http://{door}")).await else {
        return false;
    };
    let request = PublishRequest { events };
    let Ok(answer) = ingest.publish(request).await else { return false };
    let results = answer.into_inner().results;
    results.iter().all(|result| matches!(result.status(), Status::Stored | Status::Duplicate))
}
