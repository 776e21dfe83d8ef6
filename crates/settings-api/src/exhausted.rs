//! Alert settings whose deliveries have used up their schedule are disabled.

use std::collections::BTreeSet;
use std::time::Duration;

use bus::{OutcomeKind, Pulled};
use chassis::Tasks;
use prost::Message as _;
use protocol::v1::{Exhausted, OutcomeBatch, outcome};
use store::{DocumentKey, ExhaustedAlert};
use uuid::Uuid;

use crate::SettingsApi;

/// The role under which all replicas share one durable consumer.
const ROLE: &str = "settings-api";
/// Messages in work at once. Each takes a few milliseconds.
const BATCH: usize = 32;
/// How long to leave the broker or the database alone after it has failed.
const PAUSE: Duration = Duration::from_secs(2);

impl SettingsApi {
    /// Disables what is reported, until a stop is asked for.
    pub(crate) async fn disable_exhausted(&self, tasks: &Tasks) {
        let limit = i64::try_from(BATCH).unwrap_or(i64::MAX);
        let mut consumer = self.bus.outcomes_consumer(ROLE, &[OutcomeKind::Exhausted], limit);
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
                        for message in &messages {
                            self.handle(message).await;
                        }
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

    /// Every answer to the broker stands here. The ack comes after the
    /// documents are in the bucket: dying before it repeats the report, which
    /// finds the setting disabled and publishes what is left of it.
    async fn handle(&self, message: &Pulled) {
        let batch = match OutcomeBatch::decode(message.payload().clone()) {
            Ok(batch) => batch,
            Err(error) => {
                // It will not become readable by being handed out again.
                tracing::error!(%error, sequence = message.stream_sequence(), "a report of exhausted deliveries cannot be read");
                return message.ack().await;
            }
        };
        chassis::crash_point("settings.exhausted_pulled");
        match self.disable_all(&batch).await {
            Ok(()) => {
                chassis::crash_point("settings.exhausted_applied");
                message.ack().await;
            }
            Err(error) => {
                tracing::warn!(%error, "a setting is not disabled yet");
                message.nak(PAUSE).await;
            }
        }
    }

    async fn disable_all(&self, batch: &OutcomeBatch) -> anyhow::Result<()> {
        let mut accounts = BTreeSet::new();
        for outcome in &batch.outcomes {
            match &outcome.kind {
                Some(outcome::Kind::Exhausted(exhausted)) => {
                    self.disable(exhausted).await?;
                    accounts.insert(exhausted.account_id.clone());
                }
                // Dying before the ack notes it again, which changes nothing.
                Some(outcome::Kind::Trouble(trouble)) => self.note_trouble(trouble).await?,
                _ => {}
            }
        }
        for account_id in accounts {
            // Also when nothing was disabled now: an earlier try may have died
            // between commit and publication.
            self.publish(&DocumentKey::Account(account_id)).await?;
        }
        Ok(())
    }

    async fn disable(&self, exhausted: &Exhausted) -> anyhow::Result<()> {
        let Exhausted { account_id, setting_id, setting_generation, reason, .. } = exhausted;
        let (Ok(setting_id), Ok(generation)) =
            (Uuid::try_parse(setting_id), i64::try_from(*setting_generation))
        else {
            tracing::error!(setting.id = setting_id, "a report names no setting of ours");
            return Ok(());
        };
        let at = exhausted.at.and_then(|at| at.try_into().ok());
        let at = at.unwrap_or_else(|| self.clock.now());
        let exhausted = ExhaustedAlert { account_id, setting_id, generation, reason, at };
        if self.store.disable_alert_setting(exhausted).await? {
            metrics::counter!("postrider_alert_settings_disabled_total").increment(1);
            tracing::info!(account.id = account_id, setting.id = %setting_id, reason, "an alert setting is disabled");
        }
        Ok(())
    }

    async fn pause(&self, tasks: &Tasks) {
        tokio::select! {
            () = self.clock.sleep(PAUSE) => {}
            () = tasks.stopping() => {}
        }
    }
}
