//! The victim's resend jobs, alone and beside those of another tenant that fail.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use prost::Message as _;
use protocol::v1::target::Kind as TargetKind;
use protocol::v1::{AcceptedEvent, Delivery, Event, MessageTarget, Target};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::arena::{Arena, EVENT};
use super::reads::{attackers, hex};
use super::stage::{VICTIM, json_request};
use super::victim::{HELD, Victim};
use super::wire::Wire;
use crate::report::rounded;

/// Deliveries of each of the victim's jobs, and how many a second.
const COUNT: u64 = 400;
const PER_SECOND: u64 = 100;
/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Of the attacker: deliveries that cannot be read, of each end.
const UNREADABLE: u32 = 20_000;

/// Deliveries that were held, and jobs that send them.
pub(super) struct Jobs<'a> {
    victim: &'a Victim,
    api: SocketAddr,
    seconds: [f64; 2],
}

impl<'a> Jobs<'a> {
    /// Has deliveries held for two webhooks of the victim's.
    pub(super) async fn prepare(arena: &Arena, victim: &'a Victim) -> Result<Self> {
        let jobs = Self { victim, api: arena.stage(0).api, seconds: [0.0; 2] };
        for path in HELD {
            jobs.pause(path, true).await?;
        }
        let template: Event = serde_json::from_str(EVENT)?;
        for (held, _) in (0..).zip(HELD) {
            for number in 0..COUNT {
                victim.publish_held(held, number, &template).await?;
            }
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = jobs.call("GET", "/postrider/v1/undelivered", &Value::Null).await?;
            let groups = answer["undelivered"].as_array().map(Vec::as_slice).unwrap_or_default();
            if groups.iter().filter(|group| group["count"] == COUNT).count() == HELD.len() {
                break;
            }
            ensure!(Instant::now() < deadline, "the victim's deliveries are not held: {answer}");
            sleep_until(Instant::now() + LOOK_EVERY).await;
        }
        for path in HELD {
            jobs.pause(path, false).await?;
        }
        Ok(jobs)
    }

    async fn pause(&self, path: &str, paused: bool) -> Result<()> {
        let body = json!({"url": self.victim.held_url(path), "paused": paused});
        self.call("PUT", "/postrider/v1/urls/paused", &body).await.map(drop)
    }

    /// The job without an attack, from this moment on.
    pub(super) async fn run_first(&mut self, at: Instant) -> Result<()> {
        self.seconds[0] = self.run(HELD[0], at).await?;
        Ok(())
    }

    /// The same beside one.
    pub(super) async fn run_second(&mut self, at: Instant) -> Result<()> {
        self.seconds[1] = self.run(HELD[1], at).await?;
        Ok(())
    }

    /// How long both took.
    pub(super) fn seconds(&self) -> [f64; 2] {
        self.seconds
    }

    async fn run(&self, path: &str, at: Instant) -> Result<f64> {
        sleep_until(at).await;
        let body = json!({"url": self.victim.held_url(path), "per_second": PER_SECOND});
        self.call("POST", "/postrider/v1/resends", &body).await?;
        while self.victim.requests(path) < COUNT && at.elapsed() < PATIENCE {
            sleep_until(Instant::now() + LOOK_EVERY).await;
        }
        Ok(rounded(at.elapsed().as_secs_f64()))
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let mut wire = Wire::open(Ipv4Addr::LOCALHOST, self.api).await?;
        let (status, answer) = wire.ask(&json_request(method, path, VICTIM, body)).await?;
        let answer = String::from_utf8_lossy(&answer);
        ensure!(status == 200, "{method} {path}: {status} {answer}");
        Ok(serde_json::from_str(&answer)?)
    }
}

/// Deliveries of the attacker's that cannot be sent: of one end because the broker refuses
/// them, of the others because they are none.
pub(super) fn fill_unsendable(arena: &Arena) -> Result<()> {
    let mut event: Event = serde_json::from_str(EVENT)?;
    event.id = "e".repeat(1_300_000);
    let accepted = AcceptedEvent { event: Some(event), ..AcceptedEvent::default() };
    let target = MessageTarget { url: "https://hooks.example.net/0".into(), ..Default::default() };
    let delivery = Delivery {
        delivery_id: "07".repeat(16),
        event_key: "08".repeat(16),
        target: Some(Target { id: "09".repeat(16), kind: Some(TargetKind::Message(target)) }),
        accepted_event: accepted.encode_to_vec().into(),
        ..Delivery::default()
    };
    let rows = |end: &str, count: u32, bytes: &[u8]| {
        arena.fill(&format!(
            "INSERT INTO undelivered (delivery_id, account_id, target_id, outcome, ended_at, \
             delivery) SELECT md5('{end}' || n)::uuid, {}, md5('t')::uuid, '{end}', \
             now() - n * interval '1 ms', '\\x{}' FROM generate_series(1, {count}) AS n",
            attackers(),
            hex(bytes),
        ))
    };
    rows("held", 5, &delivery.encode_to_vec())?;
    for end in ["exhausted", "rejected", "expired", "suppressed", "poisoned"] {
        rows(end, UNREADABLE, b"\xff\xff")?;
    }
    arena.query("VACUUM (ANALYZE) undelivered").map(drop)
}
