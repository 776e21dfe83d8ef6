//! Sends again, a batch at a time.

use std::time::Duration;

use bus::BusError;
use chassis::Tasks;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::{join_all, try_join_all};
use model::EndReason;
use prost::Message as _;
use protocol::Timestamp;
use protocol::v1::{AcceptedEvent, Delivery};
use store::{AfterNote, JobBatch, StoreError};
use uuid::Uuid;

use crate::SettingsApi;
use crate::error::ApiError;

/// Workers of a process, each with the job of another tenant.
const WORKERS: u32 = 4;
/// How often a worker looks for jobs.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Deliveries that are handed to the broker at once.
const AT_ONCE: usize = 5;
/// How long what was stored goes unnoted: so much is stored once more after a death.
const NOTE_EVERY: TimeDelta = TimeDelta::milliseconds(100);
/// How long one batch may take, however slow the broker is. A group more than this is
/// well within the time for which the job is claimed.
const BATCH_TIME: TimeDelta = TimeDelta::seconds(10);
/// How long a call may wait for the broker, with its deliveries locked.
const CALL_TIME: Duration = Duration::from_secs(15);
/// How long to leave the broker or the database alone after it has failed.
const PAUSE: Duration = Duration::from_secs(2);

/// The result of a look.
enum Sent {
    /// A batch; its job, if it has not ended, goes on then.
    Batch(Option<DateTime<Utc>>),
    Nothing,
}

/// From now until then, and no longer than without any job.
fn until(at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Duration {
    let rest = at.filter(|at| *at > now).map(|at| at - now);
    rest.and_then(|rest| rest.to_std().ok()).unwrap_or(LOOK_EVERY).min(LOOK_EVERY)
}

impl SettingsApi {
    /// Works on the jobs of all accounts, until a stop is asked for. Several workers: where the
    /// database is slow with the jobs of one tenant, it takes one of them.
    pub(crate) async fn run_resends(&self, tasks: &Tasks) {
        // They look in turns, so that a job is found as soon as by one that looks more often.
        let number = if chassis::mutant("jobs_one_by_one") { 1 } else { WORKERS };
        let workers = (0..number).map(|number| self.work(LOOK_EVERY * number / WORKERS, tasks));
        join_all(workers).await;
    }

    async fn work(&self, begins_after: Duration, tasks: &Tasks) {
        let (mut wait, mut goes_on) = (begins_after, None);
        loop {
            tokio::select! {
                () = self.clock.sleep(wait) => {}
                () = tasks.stopping() => return,
            }
            wait = match self.next_batch().await {
                Ok(Sent::Batch(at)) => {
                    goes_on = at;
                    Duration::ZERO
                }
                Ok(Sent::Nothing) => until(goes_on, self.clock.now()),
                Err(error) => {
                    tracing::warn!(%error, "a batch of a resend was not sent, and is tried again");
                    PAUSE
                }
            };
        }
    }

    async fn next_batch(&self) -> anyhow::Result<Sent> {
        let claim = uuid::Builder::from_random_bytes(chassis::entropy::bytes()).into_uuid();
        let batch = self.store.next_resend_batch(claim, self.clock.now()).await?;
        let Some(mut batch) = batch else { return Ok(Sent::Nothing) };
        let sent = self.send_batch(&mut batch).await;
        // What was stored is noted and the job let go, whatever came then.
        let then = if sent.is_ok() { AfterNote::LetGo } else { AfterNote::LetGoUnsure };
        let goes_on = self.note_resent(&mut batch, then).await?;
        sent?;
        Ok(Sent::Batch(goes_on))
    }

    /// Sends a batch in small groups, between which others have their turn. No
    /// transaction is open meanwhile: what was sent is noted every [`NOTE_EVERY`], so
    /// that a slow broker has it noted group by group.
    async fn send_batch(&self, batch: &mut JobBatch) -> anyhow::Result<()> {
        // A part of the time is left for the database.
        let groups = u32::try_from(batch.left().div_ceil(AT_ONCE)).unwrap_or(u32::MAX);
        let every = batch.takes() * 3 / 4 / groups.max(1);
        let begun = self.clock.now();
        let mut noted_at = begun;
        for number in 0..groups {
            let passed = (self.clock.now() - begun).to_std().unwrap_or_default();
            let wait = (every * number).saturating_sub(passed);
            if !wait.is_zero() {
                self.clock.sleep(wait).await;
            }
            // Who was frozen here may have lost the job to another.
            if batch.may_be_lost(self.clock.now()) {
                return Ok(());
            }
            let Group { looked_at, ids, again } = self.next_group(batch);
            if chassis::mutant("resend_notes_first") {
                batch.looked_at(looked_at, ids);
                self.note_resent(batch, AfterNote::Next).await?;
                self.store_again(&again).await?;
                continue;
            }
            self.store_again(&again).await?;
            metrics::counter!("postrider_resent_total").increment(again.len() as u64);
            chassis::crash_point("settings.resend_stored");
            // Dying before the note stores the group once more. Its deliveries are the
            // same generation, with the same ids, and say since when they may have been
            // sent: one that is under way is not made again, one that has ended in between
            // is found to have.
            batch.looked_at(looked_at, ids);
            let now = self.clock.now();
            if now - begun > BATCH_TIME {
                return Ok(());
            }
            if now - noted_at > NOTE_EVERY && batch.left() > 0 {
                noted_at = now;
                // Nothing more is sent of a job that was paused or has gone to another.
                if self.note_resent(batch, AfterNote::Next).await?.is_none() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// What can be sent of the next few. What cannot be read is passed over, and stays
    /// where it is: a newer version may be able to.
    fn next_group(&self, batch: &JobBatch) -> Group {
        let first_due = self.clock.now().into();
        let knows = !chassis::mutant("resend_repeats_blindly");
        let repeats_since = batch.repeats_since().filter(|_| knows).map(Into::into);
        let mut group = Group::default();
        for (id, bytes) in batch.next(AT_ONCE) {
            group.looked_at += 1;
            match next_generation(bytes, first_due) {
                Ok(next) => {
                    group.ids.push(id);
                    group.again.push(Delivery { may_have_arrived: repeats_since, ..next });
                }
                Err(why) => {
                    let reason = why.as_str();
                    metrics::counter!("postrider_resends_passed_over_total", "reason" => reason)
                        .increment(1);
                    tracing::warn!(delivery.id = %id, reason, "a delivery is not sent again");
                }
            }
        }
        group
    }

    async fn note_resent(
        &self,
        batch: &mut JobBatch,
        then: AfterNote,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let goes_on = self.store.note_resent(batch, then, self.clock.now()).await?;
        chassis::crash_point("settings.resend_noted");
        Ok(goes_on)
    }

    /// Waits until nobody is at a job that was paused or cancelled, so that nothing more
    /// is sent of it once this is said. Whoever is at it sees that at its next note; one
    /// that has died meanwhile is not waited for long.
    pub(super) async fn let_go(&self, resend_id: Uuid) -> Result<(), StoreError> {
        for _ in 0..100 {
            if !self.store.is_resend_in_hand(resend_id, self.clock.now()).await? {
                break;
            }
            self.clock.sleep(Duration::from_millis(30)).await;
        }
        Ok(())
    }

    /// Stores these deliveries for a call.
    pub(super) async fn send_again(&self, again: &[Delivery]) -> Result<(), ApiError> {
        let stored = tokio::time::timeout(CALL_TIME, async {
            for group in again.chunks(AT_ONCE) {
                self.store_again(group).await?;
            }
            Ok::<(), BusError>(())
        });
        let error = match stored.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it took more than {CALL_TIME:?}"),
        };
        tracing::warn!(error, "a delivery was not sent again");
        let message = "The broker is not available; nothing was sent. Try again";
        Err(ApiError::new(http::StatusCode::SERVICE_UNAVAILABLE, message))
    }

    async fn store_again(&self, again: &[Delivery]) -> Result<(), BusError> {
        try_join_all(again.iter().map(|delivery| self.bus.publish_delivery(delivery))).await?;
        Ok(())
    }
}

/// A few deliveries of a batch.
#[derive(Default)]
struct Group {
    looked_at: usize,
    /// Of those that are sent again.
    ids: Vec<Uuid>,
    again: Vec<Delivery>,
}

/// Why a delivery cannot be sent again: what the end of one says that nobody could read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unreadable {
    Delivery,
    Event,
}

impl Unreadable {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Delivery => EndReason::UnreadableDelivery.as_str(),
            Self::Event => EndReason::UnreadableEvent.as_str(),
        }
    }
}

/// The stored delivery as if it had just been made, under an id of its own.
///
/// # Errors
/// What of it cannot be read.
pub(super) fn next_generation(bytes: &[u8], first_due: Timestamp) -> Result<Delivery, Unreadable> {
    let delivery = Delivery::decode(bytes).map_err(|_| Unreadable::Delivery)?;
    let event = AcceptedEvent::decode(delivery.accepted_event.clone()).ok();
    event.and_then(|event| event.event?.kind).ok_or(Unreadable::Event)?;
    renewed(delivery, first_due).ok_or(Unreadable::Delivery)
}

/// A delivery as if it had just been made; `None` when it is for nobody.
pub(super) fn renewed(delivery: Delivery, first_due: Timestamp) -> Option<Delivery> {
    let Delivery { delivery_id, event_key, target, generation, .. } = &delivery;
    let target_id = &target.as_ref()?.id;
    let next = model::next_delivery_id(delivery_id, event_key, target_id, *generation)?;
    Some(Delivery {
        delivery_id: next,
        generation: generation + 1,
        hop: 0,
        attempt: 0,
        uncharged_returns: 0,
        parks: 0,
        deaths: 0,
        mail: None,
        may_have_arrived: None,
        first_due: Some(first_due),
        // A batch that is stored twice must not push out what is under way.
        may_exist: true,
        ..delivery
    })
}
