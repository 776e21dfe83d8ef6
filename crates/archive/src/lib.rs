//! Projects events and outcomes into PostgreSQL.
//!
//! What must always hold:
//! - a message is acked only after the database has committed what it holds;
//! - a message that the broker hands out twice changes nothing the second
//!   time, because every insert can be repeated;
//! - what cannot be stored whatever happens is set aside loudly, alone, and
//!   holds up nothing; its bytes are committed to a table of their own before the ack;
//! - what only a newer version can read is kept as it is, in a table of its own, before it is
//!   acked, and is read into history by that version;
//! - of an account that is erased nothing is stored any more;
//! - days are given up when all of them is older than they are kept, and bodies
//!   of what was not delivered are counted then.
//!
//! Deliberately absent: decisions. This role is not on the delivery path: with
//! it or PostgreSQL away, deliveries go on and history catches up later.

mod config;
mod days;
mod health;
mod lag;
mod projection;
mod rows;
mod table;
mod unread;

pub use config::ArchiveConfig;

use std::time::Duration;

use bus::{Bus, OutcomeKind};
use chassis::{Clock, Readiness, Tasks};
use store::{Store, StoreError};

use crate::days::Days;
use crate::health::Health;
use crate::projection::{Projection, Source};
use crate::unread::UnreadMessages;

/// The part of readiness that this role answers for.
pub const READINESS: &str = "archive";

/// How often the stream of outcomes is compared with its replay budget.
const TRIM_EVERY: Duration = Duration::from_secs(10);

/// How long a database that is not there, or has no schema yet, is left alone.
const DATABASE_RETRY: Duration = Duration::from_secs(1);

/// Runs until a stop is asked for, then finishes the batches in hand.
///
/// # Errors
/// When the database is another region's. Whatever is away, this waits for it.
pub async fn run(
    config: ArchiveConfig,
    bus: Bus,
    store: Store,
    clock: Clock,
    readiness: Readiness,
    tasks: Tasks,
) -> anyhow::Result<()> {
    readiness.expect(READINESS);
    tasks.background(trim(bus.clone(), clock.clone()));
    if !claim(&store, bus.config().names.region(), &clock, &tasks).await? {
        return Ok(());
    }
    let days = Days::new(store.clone(), config.retention, clock.clone());
    let pause = days.begin(&tasks).await;
    tasks.background(days.clone().keep(pause));
    let unread = UnreadMessages::new(store.clone(), days.clone(), clock.clone());
    tasks.background(unread.read());
    let lease = bus.config().lease;
    // Enough for every replica to have a batch in hand and one on its way.
    let max_pending = i64::try_from(config.batch)?.saturating_mul(16);
    let consumers = || {
        [
            (Source::Events, bus.events_consumer("archive", max_pending)),
            (Source::Outcomes, bus.outcomes_consumer("archive", &OutcomeKind::ALL, max_pending)),
        ]
    };
    tasks.background(lag::tell(consumers(), store.clone(), clock.clone()));
    let consumers = consumers();
    let health = Health::new(readiness, consumers.len());
    let projections = consumers.into_iter().enumerate().map(|(number, (source, consumer))| {
        let health = health.part(number);
        let (store, days, clock, tasks) =
            (store.clone(), days.clone(), clock.clone(), tasks.clone());
        let batch = config.batch;
        let projection =
            Projection { source, consumer, batch, lease, store, days, clock, health, tasks };
        projection.run()
    });
    futures_util::future::join_all(projections).await;
    Ok(())
}

/// Makes sure that the history here is this region's. Says whether it is: it is
/// not known when a stop is asked for before the database has answered.
async fn claim(
    store: &Store,
    region: &str,
    clock: &Clock,
    tasks: &Tasks,
) -> Result<bool, StoreError> {
    while !tasks.is_stopping() {
        match store.claim_for_region(region).await {
            Ok(()) => return Ok(true),
            Err(error @ StoreError::OtherRegion { .. }) => return Err(error),
            // settings-api makes the schema, and may start later.
            Err(error) => tracing::warn!(%error, "the database is not there yet"),
        }
        tokio::select! {
            () = clock.sleep(DATABASE_RETRY) => {}
            () = tasks.stopping() => {}
        }
    }
    Ok(false)
}

/// Keeps the stream of outcomes near its replay budget. Safe on every replica,
/// because only what all consumers have acked is purged.
async fn trim(bus: Bus, clock: Clock) {
    let mut trimmer = bus.outcomes_trimmer();
    loop {
        if let Err(error) = trimmer.look().await {
            tracing::debug!(%error, "cannot trim the stream of outcomes");
        }
        clock.sleep(TRIM_EVERY).await;
    }
}
