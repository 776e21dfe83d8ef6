//! Alerts by mail: one message to all who are to get it.
//!
//! A relay answers for each recipient, and a retry is for those alone whom it
//! put off. Who they are stands in the delivery itself, from its first try on:
//! who is taken out of the setting meanwhile gets nothing more, and who comes in
//! hears of the next alert.
//!
//! The Message-ID is made of the delivery's id, and is the same for every try
//! and for every recipient.
//!
//! All mails share one relay, which is the operator's. When it is in trouble,
//! that is nobody's fault but ours, and all of them wait for it.

mod progress;

use std::sync::Arc;
use std::time::Duration;

use bus::Pulled;
use chassis::Clock;
use chrono::{DateTime, TimeDelta, Utc};
use egress::EgressError;
use egress::mail::{Accepted, Mail, MailAddress, MailFailure, MailList, Mailer};
use model::{EndReason, MailFrame, MailReason, Wait};
use protocol::v1::Attempted;
use protocol::v1::ended::End;
use protocol::v1::target::Kind as TargetKind;
use tokio::time::Instant;

use self::progress::{Recipients, Try};
use crate::attempt::{Answer, Tried, Work, span};
use crate::targets::{Admission, Came, Change, Permit, TargetLimits, Targets};
use crate::{Dispatcher, DispatcherConfig};

/// The one target that all mails have.
const RELAY: &str = "relay";
/// How long a mail waits that finds all connections taken, at least.
const SHORTEST_PARK: TimeDelta = TimeDelta::milliseconds(500);
/// How long a mail waits before it asks again, at most, but for some spread:
/// whatever kept it may be over.
const LONGEST_PARK: TimeDelta = TimeDelta::minutes(5);

/// Most returns that are counted for a mail because of its relay: enough for the
/// longest wait.
const RELAY_RETURNS: u32 = 6;

/// What mail is sent with.
#[derive(Debug)]
pub(crate) struct Post {
    mailer: Mailer,
    /// Its one target is the relay.
    relay: Arc<Targets>,
    console_url: Option<String>,
}

impl Post {
    /// `None` where there is no relay.
    pub(crate) fn new(
        config: &DispatcherConfig,
        clock: &Clock,
    ) -> Result<Option<Self>, EgressError> {
        let Some(mail) = config.mail.clone() else { return Ok(None) };
        let connections = mail.max_connections;
        let relay = Targets::new(TargetLimits {
            concurrency: u32::try_from(connections).unwrap_or(u32::MAX),
            rate: None,
            // Of which a relay that has not taken anything lately gets a quarter:
            // all of its connections.
            slots: connections.saturating_mul(4),
            // Mails wait for their alerts, and nothing for the relay itself.
            backlog: u64::MAX,
            longest_try: mail.total_timeout,
        });
        let mailer = Mailer::new(mail, clock.clone())?;
        Ok(Some(Self { mailer, relay, console_url: config.console_url.clone() }))
    }

    /// A connection's place, or when to ask for one again. A mail that has to wait
    /// does so with the broker, and holds no slot meanwhile.
    fn admit(&self, parks: u32, now: DateTime<Utc>) -> Result<Permit, DateTime<Utc>> {
        let at = match self.relay.admit("", RELAY, parks, chassis::entropy::fraction(), now) {
            Admission::Go(permit) => return Ok(permit),
            Admission::Park { at, .. } => at,
            // Its turn would come soon, but settings may have changed until then.
            Admission::Queue(_) => now + SHORTEST_PARK,
        };
        let spread = LONGEST_PARK * i32::from(chassis::entropy::bytes::<1>()[0]) / 1_024;
        Err(at.min(now + LONGEST_PARK + spread))
    }
}

impl Dispatcher {
    /// Mails an alert to those of these addresses who are still to get it.
    pub(crate) async fn mail(
        &self,
        pulled: &Pulled,
        mut work: Box<Work>,
        addresses: &[String],
    ) -> Answer {
        if let Some(attempted) = work.known.take() {
            return self.go_on(pulled, work, *attempted).await;
        }
        let Some(post) = &self.post else {
            return self.end(work, End::Held, EndReason::EmailNotConfigured.as_str()).await;
        };
        let recipients = Recipients::of(work.delivery.mail.as_ref(), addresses);
        if recipients.is_empty() {
            let (end, reason) = recipients.end();
            return self.end(work, end, reason).await;
        }
        let permit = match post.admit(work.delivery.parks, self.clock.now()) {
            Ok(permit) => permit,
            Err(at) => return self.park(pulled, work, at, Wait::Relay).await,
        };
        let mail = match post.compose(&work, recipients.to()) {
            Ok(mail) => mail,
            Err(error) => return self.settle_fault(pulled, work, error.to_string()).await,
        };
        chassis::crash_point("dispatcher.before_mail");
        if self.has_lost(pulled) {
            return Answer::Leave;
        }
        let mut span = span(&work.delivery, work.delivery.attempt + 1);
        let (started_at, began) = (self.clock.now(), Instant::now());
        // Nothing is asked of the relay when no address is one.
        let sent = match mail.to.is_empty() {
            true => None,
            false => Some(post.mailer.send(&mail).await),
        };
        // Dying from here until the outcome is stored means that the mail is sent
        // again, to all of them: who reads it twice can tell by its Message-ID, and
        // most programs do.
        chassis::crash_point("dispatcher.answered");
        let took = began.elapsed();
        self.report(permit, sent.as_ref(), took);
        if let Some(Err(failure)) = &sent {
            span.fail(failure.kind.as_str());
        }
        drop(span);
        self.settle_mail(pulled, work, recipients, sent, started_at, took).await
    }

    async fn settle_mail(
        &self,
        pulled: &Pulled,
        mut work: Box<Work>,
        recipients: Recipients,
        sent: Option<Result<Accepted, MailFailure>>,
        started_at: DateTime<Utc>,
        took: Duration,
    ) -> Answer {
        let url = recipients.url();
        let Try { tried, progress, reason, detail, reply } = recipients.after(sent.as_ref());
        for (came, count) in [
            ("taken", progress.taken - work.delivery.mail.as_ref().map_or(0, |mail| mail.taken)),
            ("left", u32::try_from(progress.remaining.len()).unwrap_or(u32::MAX)),
        ] {
            metrics::counter!("postrider_mail_recipients_total", "came" => came)
                .increment(count.into());
        }
        let attempted = Attempted {
            duration_ms: u32::try_from(took.as_millis()).unwrap_or(u32::MAX),
            url,
            reason: reason.to_owned(),
            detail,
            response_snippet: reply,
            ..work.attempted(work.delivery.attempt + 1, started_at)
        };
        work.delivery.mail = Some(progress);
        if matches!(tried, Tried::Relay) {
            // It says nothing of this mail, which is not to be set aside because of it.
            let returns = work.delivery.uncharged_returns.min(RELAY_RETURNS);
            work.delivery.uncharged_returns = returns;
        }
        self.measure(&work, &attempted);
        self.settle(pulled, work, tried, attempted).await
    }

    /// Notes what the relay is like.
    fn report(&self, permit: Permit, sent: Option<&Result<Accepted, MailFailure>>, took: Duration) {
        let came = match sent {
            None => Came::Unknown,
            Some(Ok(_)) => Came::Taken,
            Some(Err(failure)) if !failure.refused.is_empty() => Came::Answered,
            Some(Err(failure)) if failure.kind.is_permanent() => Came::Unknown,
            Some(Err(failure)) => {
                // Its details may hold nothing of a recipient, who was not asked about.
                tracing::warn!(reason = failure.kind.as_str(), detail = %failure, "the mail relay is in trouble");
                Came::Down
            }
        };
        let chance = chassis::entropy::fraction();
        match permit.report(came, took, chance, self.clock.now()) {
            Some(Change::Opened { until, streak }) => {
                metrics::counter!("postrider_mail_relay_pauses_total").increment(1);
                tracing::warn!(%until, streak, "mail waits for its relay");
            }
            Some(Change::Closed) => tracing::info!("the mail relay works again"),
            None => {}
        }
    }
}

impl Post {
    fn compose(&self, work: &Work, to: &[MailAddress]) -> Result<Mail, model::PayloadError> {
        let setting_id = match work.delivery.target.as_ref().and_then(|t| t.kind.as_ref()) {
            Some(TargetKind::Alert(target)) => target.setting_id.as_str(),
            // Only alerts go by mail.
            Some(TargetKind::Message(_)) | None => "",
        };
        let frame = MailFrame {
            reason: MailReason::Setting(setting_id),
            console_url: self.console_url.as_deref(),
        };
        let model::AlertMail { subject, text, html } = model::alert_mail(&work.event, &frame)?;
        let account = work.event.event.as_ref().map(|event| event.account.as_str());
        let name = format!("{} alerts of {}", work.event_type, account.unwrap_or_default());
        let delivery_id = work.delivery.delivery_id.clone();
        Ok(Mail {
            id: delivery_id.clone(),
            to: to.to_vec(),
            subject,
            text,
            html: Some(html),
            delivery: Some(delivery_id),
            list: Some(MailList { id: format!("{setting_id}.alerts"), name }),
        })
    }
}
