//! Alert settings whose deliveries have used up their schedule are disabled.
//!
//! No report waits for anybody's settings document: it is acked once the outbox has what
//! follows from it. What a report may wait for is history, which has to know whether the
//! delivery arrived after all, a database that is away, and an upgrade of this service.
//! It does so for [`PATIENCE`] and no longer, because it keeps the stream from being
//! trimmed; then it is given up under a name, and nothing is disabled. That is the safe
//! side: whoever still does not take alerts is reported again with the next one, whereas
//! a setting that was disabled by mistake stays silent until a person looks.

use std::collections::BTreeSet;
use std::time::Duration;

use bus::{OutcomeKind, Pulled};
use chassis::Tasks;
use futures_util::future::join_all;
use prost::Message as _;
use protocol::v1::{Exhausted, OutcomeBatch, outcome};
use store::{DocumentKey, ExhaustedAlert, StoreError};
use uuid::Uuid;

use crate::SettingsApi;

/// The role under which all replicas share one durable consumer.
const ROLE: &str = "settings-api";
/// Messages in work at once. Each takes a few milliseconds.
const BATCH: usize = 32;
/// Messages that may be handed out, those that wait among them: so many that some that
/// have to wait keep nobody else from being handled.
const MAX_PENDING: i64 = 4_096;
/// How long to leave the broker alone after it has failed.
const PAUSE: Duration = Duration::from_secs(2);
/// How long a report waits, at most.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
/// How often it is looked at before that counts: a clock that is wrong gives up nothing.
const LOOKS: u64 = 5;
/// How long a report waits at first; twice as long each time, up to the most.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long the documents of disabled settings are published here. The rest is the relay's.
const PUBLISHING: Duration = Duration::from_secs(2);

/// Why a report cannot be applied, as it stands in logs and metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Waits {
    /// History may not know yet how its delivery ended.
    ForHistory,
    /// For an upgrade: it is of a kind that this version does not know.
    ForUpgrade,
    /// The database refuses what it says.
    Refused,
    /// For the database, without which history and everything else waits as well: this
    /// is the one thing that is waited for without an end.
    ForDatabase,
}

impl Waits {
    const fn as_str(self) -> &'static str {
        match self {
            Self::ForHistory => "history",
            Self::ForUpgrade => "upgrade",
            Self::Refused => "refused",
            Self::ForDatabase => "database",
        }
    }
}

impl From<StoreError> for Waits {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "a report of an exhausted delivery is not applied yet");
        if error.is_unavailable() { Self::ForDatabase } else { Self::Refused }
    }
}

/// What was handed out together.
#[derive(Default)]
struct Chunk {
    /// Up to which message of the stream history has everything; asked for once.
    archived_to: Option<u64>,
    /// Accounts whose documents have changed.
    changed: BTreeSet<String>,
}

impl SettingsApi {
    /// Disables what is reported, until a stop is asked for.
    pub(crate) async fn disable_exhausted(&self, tasks: &Tasks) {
        let mut consumer = self.bus.outcomes_consumer(ROLE, &[OutcomeKind::Exhausted], MAX_PENDING);
        while !tasks.is_stopping() {
            let pulled = tokio::select! {
                pulled = consumer.pull(BATCH) => pulled,
                () = tasks.stopping() => return,
            };
            let mut pull = match pulled {
                Ok(pull) => pull,
                Err(error) => {
                    tracing::warn!(%error, "reports of exhausted deliveries cannot be pulled");
                    self.pause(tasks).await;
                    continue;
                }
            };
            loop {
                // What was pulled and is not handled when a stop comes is handed out again.
                let next = tokio::select! {
                    next = pull.next() => next,
                    () = tasks.stopping() => return,
                };
                match next {
                    None => break,
                    Some(Ok(messages)) => {
                        let mut chunk = Chunk::default();
                        for message in &messages {
                            self.handle(message, &mut chunk).await;
                        }
                        self.publish_soon(chunk.changed).await;
                    }
                    Some(Err(error)) => {
                        tracing::warn!(%error, "pulling reports of exhausted deliveries failed");
                        consumer.forget();
                        self.pause(tasks).await;
                        break;
                    }
                }
            }
        }
    }

    /// Every answer to the broker stands here. The ack comes after the commit: dying
    /// before it repeats the report, which finds the setting disabled. What the commit has
    /// left in the outbox is published by the relay, whoever dies.
    async fn handle(&self, message: &Pulled, chunk: &mut Chunk) {
        let batch = match OutcomeBatch::decode(message.payload().clone()) {
            Ok(batch) => batch,
            Err(error) => {
                // It will not become readable by being handed out again.
                tracing::error!(%error, sequence = message.stream_sequence(), "a report of exhausted deliveries cannot be read");
                given_up("unreadable");
                return message.ack().await;
            }
        };
        chassis::crash_point("settings.exhausted_pulled");
        let applied = self.apply(message, &batch, chunk).await;
        chassis::crash_point("settings.exhausted_applied");
        let Err(waits) = applied else { return message.ack().await };
        let looks = message.times_handed_out();
        let is_over = message.stood(self.clock.now()) > PATIENCE && looks >= LOOKS;
        if is_over && waits != Waits::ForDatabase {
            for outcome in &batch.outcomes {
                tell_given_up(outcome.kind.as_ref(), message, waits);
            }
            given_up(waits.as_str());
            return message.ack().await;
        }
        let doublings = u32::try_from(looks.clamp(1, 8) - 1).unwrap_or_default();
        message.nak((FIRST_WAIT * 2_u32.pow(doublings)).min(LONGEST_WAIT)).await;
    }

    /// Does what can be done of these reports, each of which may come again.
    async fn apply(
        &self,
        message: &Pulled,
        batch: &OutcomeBatch,
        chunk: &mut Chunk,
    ) -> Result<(), Waits> {
        let mut all = Ok(());
        for outcome in &batch.outcomes {
            let applied = match &outcome.kind {
                Some(outcome::Kind::Exhausted(exhausted)) => {
                    self.disable(exhausted, message, chunk).await
                }
                Some(outcome::Kind::Trouble(trouble)) => {
                    self.note_trouble(trouble).await.map_err(Waits::from)
                }
                // Not on these subjects.
                Some(
                    outcome::Kind::Routed(_)
                    | outcome::Kind::Attempted(_)
                    | outcome::Kind::Ended(_),
                ) => Ok(()),
                None => Err(Waits::ForUpgrade),
            };
            all = all.and(applied);
        }
        all
    }

    /// Whether history has everything that was stored before this report: also the end
    /// of a copy of its delivery that was answered with a 2xx.
    async fn is_archived(&self, report: &Pulled, chunk: &mut Chunk) -> bool {
        if chunk.archived_to.is_none() {
            match self.bus.outcomes_archived_to().await {
                Ok(sequence) => chunk.archived_to = Some(sequence),
                Err(error) => tracing::warn!(%error, "how far history is cannot be told"),
            }
        }
        // The report itself is history's too, and stands behind the end of its delivery.
        chunk.archived_to.is_some_and(|to| to + 1 >= report.stream_sequence())
    }

    async fn disable(
        &self,
        exhausted: &Exhausted,
        message: &Pulled,
        chunk: &mut Chunk,
    ) -> Result<(), Waits> {
        let Exhausted { account_id, setting_id, setting_generation, reason, .. } = exhausted;
        let (Ok(setting_id), Ok(generation)) =
            (Uuid::try_parse(setting_id), i64::try_from(*setting_generation))
        else {
            tracing::error!(setting.id = setting_id, "a report names no setting of ours");
            return Ok(());
        };
        // A receiver that has taken an alert, and says no to the copy that a death has
        // made of it, is not to be punished for that. In this order: what history has by
        // now is only then known to be all.
        let is_archived = self.is_archived(message, chunk).await;
        if !chassis::mutant("disable_ignores_ends") {
            let delivery_id = Uuid::try_parse(&exhausted.delivery_id).unwrap_or_default();
            if self.store.was_delivered(delivery_id).await? {
                metrics::counter!("postrider_alert_reports_refuted_total").increment(1);
                tracing::info!(delivery.id = exhausted.delivery_id, setting.id = %setting_id, "an exhausted delivery was delivered before: its setting stays");
                return Ok(());
            }
            if !is_archived {
                return Err(Waits::ForHistory);
            }
        }
        let at = exhausted.at.and_then(|at| at.try_into().ok());
        let at = at.unwrap_or_else(|| self.clock.now());
        let exhausted = ExhaustedAlert { account_id, setting_id, generation, reason, at };
        if self.store.disable_alert_setting(exhausted).await? {
            metrics::counter!("postrider_alert_settings_disabled_total").increment(1);
            tracing::info!(account.id = account_id, setting.id = %setting_id, reason, "an alert setting is disabled");
            chunk.changed.insert(account_id.clone());
        }
        Ok(())
    }

    /// The sooner they are in force, the fewer alerts are tried in vain. But a document
    /// that the broker does not take, or takes slowly, holds up no report.
    async fn publish_soon(&self, accounts: BTreeSet<String>) {
        let keys: Vec<DocumentKey> = accounts.into_iter().map(DocumentKey::Account).collect();
        let publishing = join_all(keys.iter().map(|key| self.publish(key)));
        if tokio::time::timeout(PUBLISHING, publishing).await.is_err() {
            tracing::warn!("documents of disabled settings are left to the relay");
        }
    }

    async fn pause(&self, tasks: &Tasks) {
        tokio::select! {
            () = self.clock.sleep(PAUSE) => {}
            () = tasks.stopping() => {}
        }
    }
}

fn given_up(reason: &'static str) {
    metrics::counter!("postrider_alert_reports_given_up_total", "reason" => reason).increment(1);
}

/// By its sequence the message can be had from the stream, until that is trimmed.
fn tell_given_up(report: Option<&outcome::Kind>, message: &Pulled, waits: Waits) {
    let (account_id, setting_id, delivery_id) = match report {
        Some(outcome::Kind::Exhausted(exhausted)) => {
            (&*exhausted.account_id, &*exhausted.setting_id, &*exhausted.delivery_id)
        }
        Some(outcome::Kind::Trouble(trouble)) => (&*trouble.account_id, &*trouble.setting_id, ""),
        Some(_) => return,
        None => ("", "", ""),
    };
    tracing::error!(
        account.id = account_id,
        setting.id = setting_id,
        delivery.id = delivery_id,
        subject = message.subject(),
        sequence = message.stream_sequence(),
        waited_for = waits.as_str(),
        "a report is given up after an hour: its setting stays as it is"
    );
}
