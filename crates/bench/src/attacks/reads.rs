//! A long history, and those who ask for all of it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use prost::Message as _;
use protocol::Timestamp;
use protocol::v1::event::Kind;
use protocol::v1::target::Kind as TargetKind;
use protocol::v1::{Accepted, Attachment, Delivery, Event, MessageInfo, MessageTarget, Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};

use super::arena::Arena;
use super::attacker::{Scene, pause};
use super::stage::{ATTACKER, authorization, json_request};
use super::wire::{Pace, Wire, address};
use crate::customers::domain;
use crate::receiver::micros_now;

/// Events of the largest size in the attacker's history.
const LARGE_EVENTS: u32 = 1_000;
/// Deliveries that were not made.
const UNDELIVERED: u32 = 100_000;
/// Bytes that the attacker's system keeps unread.
const RECEIVE_BYTES: u32 = 4_096;
/// How long it holds an answer before it asks anew.
const HELD_FOR: Duration = Duration::from_secs(50);
/// Those who take a little do it this often, and this much: more than nothing.
const SIP_EVERY: Duration = Duration::from_secs(20);
const SIP_BYTES: usize = 20 * 1_024;

/// A value in SQL.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A statement's beginning: the attacker's account as `account_id`.
pub(super) fn attackers() -> String {
    format!("(SELECT account_id FROM accounts WHERE name = '{ATTACKER}')")
}

/// Events of 240 KB each: attachments with names of quotation marks, which JSON doubles.
pub(super) fn fill_events(arena: &Arena) -> Result<()> {
    let attachment = Attachment {
        filename: "\"".repeat(16_000),
        content_type: "text/plain".to_owned(),
        size: 1,
    };
    let message = MessageInfo { attachments: vec![attachment; 15], ..MessageInfo::default() };
    let accepted = Accepted {
        recipient: "grace@reader.example".to_owned(),
        message: Some(message),
        ..Accepted::default()
    };
    let event = Event {
        domain: domain(ATTACKER, 0),
        timestamp: Some(Timestamp { seconds: i64::try_from(micros_now() / 1_000_000)?, nanos: 0 }),
        kind: Some(Kind::Accepted(accepted)),
        ..Event::default()
    };
    // A later field of a message replaces an earlier one: this is the id.
    arena.fill(&format!(
        "INSERT INTO events (event_key, account_id, domain_id, event_type, event_id, \
         occurred_at, accepted_at, position, caller, event, recipient, recipients, from_header, \
         to_header, subject, message_id, tags, size_bytes) \
         SELECT md5('large' || n)::uuid, {}, (SELECT domain_id::uuid FROM domains \
         WHERE name = '{}'), 'accepted', 'e' || lpad(n::text, 9, '0'), now() - n * interval '1 ms', \
         now(), nextval('event_positions'), 'bench', '\\x{}'::bytea || '\\x0a0a'::bytea || \
         convert_to('e' || lpad(n::text, 9, '0'), 'UTF8'), 'grace@reader.example', '', '', '', \
         'an order', 'm' || n, '', 1 FROM generate_series(1, {LARGE_EVENTS}) AS n",
        attackers(),
        domain(ATTACKER, 0),
        hex(&event.encode_to_vec()),
    ))?;
    arena.query("VACUUM (ANALYZE) events").map(drop)
}

/// A backlog of deliveries to a hundred targets.
pub(super) fn fill_undelivered(arena: &Arena) -> Result<()> {
    let target = MessageTarget { url: "https://hooks.example.net/0".into(), ..Default::default() };
    let delivery = Delivery {
        target: Some(Target { kind: Some(TargetKind::Message(target)), ..Target::default() }),
        accepted_event: vec![b'.'; 900].into(),
        ..Delivery::default()
    };
    arena.fill(&format!(
        "INSERT INTO undelivered (delivery_id, account_id, target_id, outcome, ended_at, delivery) \
         SELECT md5('u' || n)::uuid, {}, md5('t' || n % 100)::uuid, 'exhausted', \
         now() - n * interval '1 ms', '\\x{}' FROM generate_series(1, {UNDELIVERED}) AS n",
        attackers(),
        hex(&delivery.encode_to_vec()),
    ))?;
    arena.query("VACUUM (ANALYZE) undelivered").map(drop)
}

/// Exports, searches and pages: of half of them nothing is taken, of half a sip now and then.
pub(super) fn unread(scene: &Scene) {
    let name = domain(ATTACKER, 0);
    let exports = format!("/postrider/v1/domains/{name}/events/export");
    let pages = format!("/v3/{name}/events?limit=300");
    let searches = format!("/v3/{name}/events?limit=300&subject=order%20NOT%20nothing");
    let paths: Arc<[String]> = [exports, pages, searches].into();
    let pace = Arc::new(Pace::of(10));
    scene.spawn(18, move |scene, number| {
        let (paths, pace) = (Arc::clone(&paths), Arc::clone(&pace));
        async move {
            let path = &paths[number as usize % paths.len()];
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: attacks\r\n{}\r\n", authorization(ATTACKER));
            loop {
                pace.turn().await;
                hold_an_answer(&scene, request.as_bytes(), number % 2 == 0).await;
            }
        }
    });
}

async fn hold_an_answer(scene: &Scene, request: &[u8], sips: bool) {
    let opened = Wire::open_with(address(0), scene.stage.api, Some(RECEIVE_BYTES)).await;
    let Ok(mut wire) = opened else { return scene.count("not connected") };
    if wire.stream.write_all(request).await.is_err() {
        return scene.count("not connected");
    }
    let until = Instant::now() + HELD_FOR;
    let mut head = [0; 12];
    match timeout_at(until, wire.stream.read_exact(&mut head)).await {
        Ok(Ok(_)) => {
            let status = String::from_utf8_lossy(&head).into_owned();
            scene.count(status.trim_start_matches("HTTP/1.1 "));
            if !head.ends_with(b"200") {
                return pause(Duration::from_secs(1)).await;
            }
        }
        _ => return scene.count("not answered"),
    }
    let mut buffer = vec![0; SIP_BYTES];
    while Instant::now() < until {
        pause(SIP_EVERY).await;
        if sips && wire.stream.read_exact(&mut buffer).await.is_err() {
            return scene.count("closed by the other side");
        }
    }
    scene.count("held");
}

/// Counts the backlog, many calls at once.
pub(super) fn undelivered(scene: &Scene) {
    let request =
        json_request("GET", "/postrider/v1/undelivered", ATTACKER, &serde_json::Value::Null);
    let pace = Arc::new(Pace::of(200));
    scene.spawn(40, move |scene, number| {
        let (pace, request) = (Arc::clone(&pace), request.clone());
        async move {
            let to = scene.stage.api;
            scene.keep_asking(address(number % 4), to, &pace, || request.clone()).await;
        }
    });
}
