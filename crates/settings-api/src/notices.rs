//! Mails to the owners of accounts about alerts that do not arrive: at first
//! trouble, before a setting is disabled, and when it is.
//!
//! What is to be told is noted in the database first, and sent from there: claimed,
//! sent, noted, with no transaction open meanwhile. Dying between a mail and its note
//! sends it again when the claim is over, with the same Message-ID.

mod text;

use std::time::Duration;

use chassis::Tasks;
use chrono::{DateTime, TimeDelta, Utc};
use egress::mail::{Accepted, Mail, MailAddress, Mailer};
use protocol::v1::AlertTrouble;
use protocol::v1::alert_trouble::Stage;
use store::{Notice, NoticeStage, StoreError};
use uuid::Uuid;

use crate::SettingsApi;

/// How often to look for notices.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long to leave the database alone after it has failed.
const PAUSE: Duration = Duration::from_secs(5);
/// Tries of one mail, over some ten hours.
const MAX_TRIES: i16 = 16;
/// How long a mail is left to whoever sends it: longer than any relay may take.
const CLAIM: TimeDelta = TimeDelta::minutes(10);

impl SettingsApi {
    /// Notes that an owner is to hear of an alert that did not arrive.
    pub(crate) async fn note_trouble(&self, trouble: &AlertTrouble) -> Result<(), StoreError> {
        let stage = match trouble.stage() {
            Stage::FirstFailure => NoticeStage::FirstFailure,
            Stage::LastChance => NoticeStage::LastChance,
            Stage::Unspecified => return Ok(()),
        };
        let (Ok(setting_id), Ok(generation)) =
            (Uuid::try_parse(&trouble.setting_id), i64::try_from(trouble.setting_generation))
        else {
            tracing::error!(setting.id = trouble.setting_id, "a report names no setting of ours");
            return Ok(());
        };
        let moment = |at: Option<protocol::Timestamp>| at.and_then(|at| at.try_into().ok());
        let trouble = store::AlertTrouble {
            account_id: &trouble.account_id,
            setting_id,
            generation,
            stage,
            reason: &trouble.reason,
            at: moment(trouble.at).unwrap_or_else(|| self.clock.now()),
            next_attempt_at: moment(trouble.next_attempt_at),
        };
        self.store.note_alert_trouble(trouble).await?;
        Ok(())
    }

    /// Sends what is noted, until a stop is asked for. Without a mail relay
    /// nobody can be told; what was noted is told once there is one.
    pub(crate) async fn send_notices(&self, tasks: &Tasks) {
        let Some(mailer) = &self.mailer else { return };
        while !tasks.is_stopping() {
            let now = self.clock.now();
            let wait = match self.store.claim_notice(now, now + CLAIM).await {
                Ok(Some(notice)) => match self.send_notice(mailer, &notice).await {
                    Ok(()) => continue,
                    Err(error) => {
                        tracing::warn!(%error, "a notice was not noted as tried");
                        PAUSE
                    }
                },
                Ok(None) => LOOK_EVERY,
                Err(error) => {
                    tracing::warn!(%error, "notices cannot be read");
                    PAUSE
                }
            };
            tokio::select! {
                () = self.clock.sleep(wait) => {}
                () = tasks.stopping() => return,
            }
        }
    }

    async fn send_notice(&self, mailer: &Mailer, notice: &Notice) -> Result<(), StoreError> {
        let to = notice.contact_email.as_deref().and_then(|text| text.parse::<MailAddress>().ok());
        let Some(to) = to else { return self.store.notice_tried(notice.notice_id, None).await };
        if notice.tries > MAX_TRIES {
            // Each of these tries has killed whoever made it.
            tracing::error!(notice.id = notice.notice_id, "a notice is given up");
            return self.store.notice_tried(notice.notice_id, None).await;
        }
        let text::Message { subject, text, html } =
            text::message(notice, self.console_url.as_deref());
        let mail = Mail {
            // The same each time, and that of no other deployment.
            id: format!("notice-{}-{}", self.bus.config().names.region(), notice.notice_id),
            to: vec![to],
            subject,
            text,
            html: Some(html),
            delivery: None,
            list: None,
        };
        let now = self.clock.now();
        let again_at = match mailer.send(&mail).await {
            Ok(Accepted { refused, .. }) if refused.is_empty() => None,
            Ok(_) => {
                tracing::info!(notice.id = notice.notice_id, "a notice was refused");
                None
            }
            Err(failure) if failure.kind.is_ours() && notice.tries < MAX_TRIES => {
                tracing::info!(
                    notice.id = notice.notice_id,
                    reason = failure.kind.as_str(),
                    "a notice was not sent yet"
                );
                Some(next_try(notice.tries, now))
            }
            Err(failure) => {
                tracing::warn!(
                    notice.id = notice.notice_id,
                    reason = failure.kind.as_str(),
                    "a notice is given up"
                );
                None
            }
        };
        if again_at.is_none() {
            metrics::counter!("postrider_notices_total").increment(1);
        }
        // Dying before this line sends the mail once more.
        chassis::crash_point("settings.notice_sent");
        self.store.notice_tried(notice.notice_id, again_at).await
    }
}

/// A minute after the first try, twice as long each time, an hour at most.
fn next_try(tries: i16, now: DateTime<Utc>) -> DateTime<Utc> {
    now + TimeDelta::minutes(1 << tries.clamp(0, 6)).min(TimeDelta::hours(1))
}
