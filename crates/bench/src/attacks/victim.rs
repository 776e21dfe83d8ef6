//! The tenant whose deliveries, calls and health checks are watched.

mod receiver;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use protocol::Timestamp;
use protocol::v1::ingest_client::IngestClient;
use protocol::v1::{Event, PublishRequest};
use tokio::time::{Instant, sleep_until, timeout};
use tonic::transport::Channel;

use self::receiver::Receiver;
pub(super) use self::watch::Look;
use super::arena::{Arena, EVENT};
use super::names::WELL;
use super::stage::VICTIM;
use crate::customers::domain;
use crate::receiver::{detach, micros_now};
use crate::report::rounded;

/// Events a second.
pub(super) const RATE: u64 = 50;
/// How long publishing one event may take before it is sent again, with the same id.
const PUBLISH_WITHIN: Duration = Duration::from_secs(5);
const PUBLISH_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Domains of the victim besides the first, and the newcomers': for resend jobs.
pub(super) const HELD: [&str; 2] = ["/held/first", "/held/second"];

/// The moments between which things are compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Phases {
    begun: Instant,
    begun_us: u64,
    pub(super) quiet: Instant,
    pub(super) attack: Instant,
    pub(super) after: Instant,
    pub(super) end: Instant,
}

/// One of the stretches of time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    WarmUp,
    Quiet,
    Attack,
    After,
}

impl Phases {
    /// From now on: warming up, being quiet, being attacked, and what comes after it.
    pub(super) fn new(begun: Instant, [warm_up, quiet, attack, after]: [Duration; 4]) -> Self {
        let starts = begun + warm_up;
        Self {
            begun,
            begun_us: micros_now(),
            quiet: starts,
            attack: starts + quiet,
            after: starts + quiet + attack,
            end: starts + quiet + attack + after,
        }
    }

    pub(super) fn of(&self, at: Instant) -> Phase {
        match () {
            () if at < self.quiet => Phase::WarmUp,
            () if at < self.attack => Phase::Quiet,
            () if at < self.after => Phase::Attack,
            () => Phase::After,
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        self.begun_us + u64::try_from((at - self.begun).as_micros()).unwrap_or(u64::MAX)
    }
}

/// An event.
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// When it was to be sent: what ingest makes callers wait is part of the latency.
    due: Instant,
    /// The same, in microseconds since the epoch.
    due_us: u64,
    arrived_us: Option<u64>,
}

/// Which events are meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stream {
    /// To one receiver that has long been known.
    Steady,
    /// Each to a target that has never been asked.
    Newcomers,
}

impl Stream {
    const ALL: [Self; 2] = [Self::Steady, Self::Newcomers];

    /// In the ids of its events.
    const fn letter(self) -> char {
        match self {
            Self::Steady => 's',
            Self::Newcomers => 'n',
        }
    }
}

/// The record while it goes on.
#[derive(Debug, Default)]
struct Record {
    sent: [Vec<Sent>; 2],
    looks: Vec<Look>,
    /// When, and how much the process and the request bin had in RAM.
    memory: Vec<(Instant, f64, f64)>,
    /// Calls to ingest that had to be made again.
    repeated: u64,
}

type Shared = Arc<Mutex<Record>>;

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The tenant.
pub(super) struct Victim {
    record: Shared,
    receiver: Receiver,
    client: IngestClient<Channel>,
    newcomers: u64,
}

/// Latencies of the events of one phase, in milliseconds.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(super) struct Latency {
    pub(super) sent: usize,
    /// Those that have not arrived; they count among the slowest.
    pub(super) missing: usize,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) largest_ms: f64,
}

impl Victim {
    /// Makes the account. With names of its own, each delivery looks one up: its receiver
    /// keeps no connection.
    pub(super) async fn start(arena: &Arena, has_names: bool, newcomers: u64) -> Result<Self> {
        let record = Shared::default();
        let receiver = Receiver::start(Arc::clone(&record), has_names).await?;
        let port = receiver.port();
        let host = |name: &str| {
            if has_names { format!("{name}.{WELL}:{port}") } else { format!("127.0.0.1:{port}") }
        };
        let mut urls = vec![format!("http://{}/steady", host("steady"))];
        urls.extend(
            (1..=newcomers)
                .map(|number| format!("http://{}/new/{number}", host(&format!("new-{number}")))),
        );
        urls.extend(HELD.map(|path| format!("http://{}{path}", host("held"))));
        arena.add_customer(VICTIM, &urls).await?;
        let client =
            IngestClient::connect(format!("http://{}", arena.stage(0).ingest_grpc)).await?;
        Ok(Self { record, receiver, client, newcomers })
    }

    /// URL of one of the webhooks whose deliveries can be held.
    pub(super) fn held_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.receiver.port())
    }

    /// Domain of the webhook of this number among [`HELD`].
    pub(super) fn held_domain(&self, number: u64) -> String {
        domain(VICTIM, self.newcomers + 1 + number)
    }

    /// Requests that came to this path so far.
    pub(super) fn requests(&self, path: &str) -> u64 {
        self.receiver.requests(path)
    }

    /// Begins to send and to look, until the end of the last phase.
    pub(super) fn begin(&self, arena: &Arena, phases: &Phases) -> Result<()> {
        let template: Event = serde_json::from_str(EVENT)?;
        let every = Duration::from_secs(1) / u32::try_from(RATE)?;
        self.send(Stream::Steady, every, phases, &template, |_| 0);
        // Between two of the others.
        let newcomers = self.newcomers;
        let domain_of = move |number| 1 + number % newcomers;
        self.send(Stream::Newcomers, Duration::from_secs(1), phases, &template, domain_of);
        watch::begin(&self.record, arena, phases);
        Ok(())
    }

    fn send(
        &self,
        stream: Stream,
        every: Duration,
        phases: &Phases,
        template: &Event,
        domain_of: impl Fn(u64) -> u64 + Send + 'static,
    ) {
        let (record, client, phases) = (Arc::clone(&self.record), self.client.clone(), *phases);
        let template = template.clone();
        detach(async move {
            let first =
                phases.begun + if stream == Stream::Steady { Duration::ZERO } else { every / 3 };
            for number in 0.. {
                let due = first + every * number;
                if due >= phases.end {
                    return;
                }
                sleep_until(due).await;
                let number = u64::from(number);
                let due_us = phases.micros(due);
                let sent = Sent { due, due_us, arrived_us: None };
                lock(&record).sent[stream as usize].push(sent);
                let event = Event {
                    id: format!("v-{}-{number}", stream.letter()),
                    timestamp: Some(timestamp(due_us)),
                    domain: domain(VICTIM, domain_of(number)),
                    ..template.clone()
                };
                detach(publish(client.clone(), event, Arc::clone(&record), phases.end));
            }
        });
    }

    /// Publishes one event of one of the webhooks that can be held.
    pub(super) async fn publish_held(
        &self,
        held: u64,
        number: u64,
        template: &Event,
    ) -> Result<()> {
        let event = Event {
            id: format!("held-{held}-{number}"),
            domain: self.held_domain(held),
            ..template.clone()
        };
        self.client.clone().publish(PublishRequest { events: vec![event] }).await?;
        Ok(())
    }

    /// Waits until everything has arrived, or until the deadline; says which.
    pub(super) async fn arrived(&self, deadline: Instant) -> bool {
        loop {
            let missing = Stream::ALL.into_iter().any(|stream| {
                lock(&self.record).sent[stream as usize]
                    .iter()
                    .any(|sent| sent.arrived_us.is_none())
            });
            if !missing || Instant::now() > deadline {
                return !missing;
            }
            sleep_until(Instant::now() + Duration::from_millis(100)).await;
        }
    }

    /// Latency of what was due in a phase.
    pub(super) fn latency(&self, stream: Stream, phases: &Phases, phase: Phase) -> Latency {
        let now_us = micros_now();
        let record = lock(&self.record);
        let of_phase =
            record.sent[stream as usize].iter().filter(|sent| phases.of(sent.due) == phase);
        let (mut all, mut missing) = (Vec::new(), 0);
        for sent in of_phase {
            missing += usize::from(sent.arrived_us.is_none());
            let until = sent.arrived_us.unwrap_or(now_us);
            all.push(until.saturating_sub(sent.due_us) as f64 / 1000.0);
        }
        all.sort_by(f64::total_cmp);
        Latency {
            sent: all.len(),
            missing,
            p50_ms: rounded(percentile(&all, 50)),
            p99_ms: rounded(percentile(&all, 99)),
            largest_ms: rounded(percentile(&all, 100)),
        }
    }

    /// The samples of a phase, second by second.
    pub(super) fn looks(&self, phases: &Phases, phase: Phase) -> Vec<Look> {
        let record = lock(&self.record);
        record.looks.iter().filter(|look| phases.of(look.at) == phase).copied().collect()
    }

    /// The most that the process and the request bin had in RAM in a phase.
    pub(super) fn peak_mb(&self, phases: &Phases, phase: Phase) -> [f64; 2] {
        let record = lock(&self.record);
        let of_phase = record.memory.iter().filter(|(at, ..)| phases.of(*at) == phase);
        of_phase
            .fold([0.0, 0.0], |[all, bin], (_, more, of_bin)| [all.max(*more), bin.max(*of_bin)])
    }

    /// Calls to ingest that had to be made again.
    pub(super) fn repeated(&self) -> u64 {
        lock(&self.record).repeated
    }
}

/// Publishes until it is stored, as a caller does that must not lose anything.
async fn publish(mut client: IngestClient<Channel>, event: Event, record: Shared, until: Instant) {
    let request = PublishRequest { events: vec![event] };
    while Instant::now() < until + super::PATIENCE {
        let answer = timeout(PUBLISH_WITHIN, client.publish(request.clone())).await;
        if matches!(answer, Ok(Ok(_))) {
            return;
        }
        lock(&record).repeated += 1;
        sleep_until(Instant::now() + PUBLISH_AGAIN_AFTER).await;
    }
}

fn timestamp(micros: u64) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(micros % 1_000_000 * 1000).unwrap_or_default(),
    }
}

/// Of sorted values.
pub(super) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_three_thousand_the_thirtieth_from_the_end_is_the_99th_percentile() {
        let sorted: Vec<f64> = (1..=3_000).map(f64::from).collect();
        assert_eq!(
            [50, 99, 100].map(|percent| percentile(&sorted, percent)),
            [1_500.0, 2_970.0, 3_000.0]
        );
        assert_eq!(percentile(&[], 99), 0.0);
        assert_eq!(percentile(&[7.0], 99), 7.0);
    }
}
