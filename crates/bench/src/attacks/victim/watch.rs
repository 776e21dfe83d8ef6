//! Samples while the victim's events go on: memory, health, a call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Phases, Shared, lock};
use crate::attacks::arena::{Arena, get_within, megabytes};
use crate::attacks::stage::{Stage, VICTIM, authorization};
use crate::platform::exchange;
use crate::receiver::detach;
use crate::report::rounded;

/// How long a health check waits.
const HEALTH_SECONDS: u64 = 2;
/// How long the victim's own call waits.
const CALL_WITHIN: Duration = Duration::from_secs(10);
/// How often memory is looked at.
const MEMORY_EVERY: Duration = Duration::from_millis(250);

/// The sample of one second.
#[derive(Clone, Copy, Debug, Serialize)]
pub(in crate::attacks) struct Look {
    #[serde(skip)]
    pub(in crate::attacks) at: Instant,
    pub(in crate::attacks) is_healthy: bool,
    pub(in crate::attacks) is_ready: bool,
    /// Status of the victim's call; 0 without an answer.
    pub(in crate::attacks) status: u16,
    pub(in crate::attacks) call_ms: f64,
    pub(in crate::attacks) rss_mb: f64,
}

/// Looks until the end of the last phase. A look that hangs holds up none of the next.
pub(super) fn begin(record: &Shared, arena: &Arena, phases: &Phases) {
    let (pid, bin_pid, stage, end) = (arena.pid(), arena.bin_pid(), arena.stage(0), phases.end);
    let (memory, looks) = (Arc::clone(record), Arc::clone(record));
    let begun = phases.begun;
    detach(async move {
        for number in 0.. {
            let at = begun + MEMORY_EVERY * number;
            if at >= end {
                return;
            }
            sleep_until(at).await;
            let seen = (Instant::now(), megabytes(pid), megabytes(bin_pid));
            lock(&memory).memory.push(seen);
        }
    });
    detach(async move {
        for number in 0.. {
            let at = begun + Duration::from_secs(1) * number;
            if at >= end {
                return;
            }
            sleep_until(at).await;
            let (record, stage) = (Arc::clone(&looks), stage.clone());
            detach(async move {
                let look = look(at, pid, &stage).await;
                lock(&record).looks.push(look);
            });
        }
    });
}

async fn look(at: Instant, pid: u32, stage: &Stage) -> Look {
    let rss_mb = megabytes(pid);
    let (is_healthy, is_ready, (status, call_ms)) =
        tokio::join!(is_ok(stage.ops, "/healthz"), is_ok(stage.ops, "/readyz"), call(stage.api));
    Look { at, is_healthy, is_ready, status, call_ms, rss_mb }
}

async fn is_ok(ops: SocketAddr, path: &str) -> bool {
    get_within(ops, path, HEALTH_SECONDS).await.is_ok_and(|answer| answer.contains(" 200 "))
}

/// A call of the victim's, over a connection of its own.
async fn call(api: SocketAddr) -> (u16, f64) {
    let begun = Instant::now();
    let request = format!(
        "GET /v3/domains?limit=10 HTTP/1.1\r\nHost: victim\r\nConnection: close\r\n{}\r\n",
        authorization(VICTIM)
    );
    let answer = timeout(CALL_WITHIN, exchange(&api.to_string(), &request)).await;
    let answer = answer.ok().and_then(Result::ok).unwrap_or_default();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_default(), rounded(begun.elapsed().as_secs_f64() * 1000.0))
}
