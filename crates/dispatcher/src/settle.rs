//! What follows from a try: outcome, then retry, then ack, each stored before
//! the next. The answer to the broker is the return value.

mod next;

use std::time::Duration;

use bus::{Pulled, Rescheduled};
use chassis::Handles;
use chrono::{DateTime, Utc};
use metrics::Counter;
use model::{EndReason, Family, Wait, after_our_fault};
use prost::Message as _;
use protocol::Timestamp;
use protocol::v1::alert_trouble::Stage;
use protocol::v1::ended::End;
use protocol::v1::target::Kind as TargetKind;
use protocol::v1::{
    AcceptedEvent, AccountDocument, AlertTrouble, Attempted, Delivery, Ended, Exhausted, outcome,
};

pub(crate) use self::next::Now;
use self::next::{MAX_UNCHARGED_RETURNS, Next, next, next_hop};
use crate::Dispatcher;
use crate::attempt::{Answer, Tried, Work};

/// By family.
static DELIVERED: Handles<Counter, 2> = Handles::new(
    |family| metrics::counter!("postrider_ended_total", "family" => Family::ALL[family].as_str(), "end" => End::Delivered.as_str_name()),
);

impl Dispatcher {
    /// Stores what came of a try and everything that follows from it.
    pub(crate) async fn settle(
        &self,
        pulled: &Pulled,
        mut work: Box<Work>,
        tried: Tried,
        mut attempted: Attempted,
    ) -> Answer {
        attempted.charged =
            !matches!(tried, Tried::Ours | Tried::Relay) || chassis::mutant("charge_our_faults");
        if chassis::mutant("ack_before_outcome") {
            pulled.ack().await;
        }
        if attempted.reason != "ok" {
            attempted.event = Some(work.event_name());
        }
        let (now, chance) = (self.clocks.now(&self.clock), chassis::entropy::fraction());
        match next(&mut work, &tried, &attempted, &self.faults, now, chance) {
            Next::End { end, reason } => self.end_after(work, end, &reason, Some(attempted)).await,
            Next::Retry { at } => {
                match attempted.charged.then(|| self.too_much(&work)).flatten() {
                    Some(reason) => {
                        self.end_after(work, End::Exhausted, reason.as_str(), Some(attempted)).await
                    }
                    // Boxed, so that the common way stays small.
                    None => Box::pin(self.retry(pulled, work, attempted, at)).await,
                }
            }
        }
    }

    /// A fault of ours before anything was sent.
    pub(crate) async fn settle_fault(
        &self,
        pulled: &Pulled,
        work: Box<Work>,
        detail: String,
    ) -> Answer {
        tracing::error!(
            delivery.id = work.delivery.delivery_id,
            detail,
            "a delivery cannot be tried"
        );
        let attempted = Attempted {
            reason: "ours".into(),
            detail,
            ..work.attempted(work.delivery.attempt + 1, self.clock.now())
        };
        self.settle(pulled, work, Tried::Ours, attempted).await
    }

    async fn retry(
        &self,
        pulled: &Pulled,
        work: Box<Work>,
        mut attempted: Attempted,
        at: DateTime<Utc>,
    ) -> Answer {
        let (trouble, charged) = (trouble(&work, &attempted, at), attempted.charged);
        attempted.next_attempt_at = Some(timestamp(at));
        attempted.mail = work.delivery.mail.clone();
        if !charged {
            attempted.attempt = work.delivery.attempt;
        }
        // Dying before this is stored repeats the try, with the mark that it may have
        // arrived; dying after it goes on from here.
        self.outcomes.record(&work.event.account_id, outcome::Kind::Attempted(attempted)).await;
        self.come_back(pulled, work, charged, trouble, at).await
    }

    /// Goes on from a try that somebody else has made, whose outcome is stored.
    pub(crate) async fn go_on(
        &self,
        pulled: &Pulled,
        mut work: Box<Work>,
        attempted: Attempted,
    ) -> Answer {
        let at = moment(attempted.next_attempt_at.as_ref()).unwrap_or_else(|| self.clock.now());
        // Told again: whoever stored the outcome may not have got so far.
        let (trouble, charged) = (trouble(&work, &attempted, at), attempted.charged);
        if attempted.mail.is_some() {
            work.delivery.mail = attempted.mail;
        }
        self.come_back(pulled, work, charged, trouble, at).await
    }

    async fn come_back(
        &self,
        pulled: &Pulled,
        work: Box<Work>,
        charged: bool,
        trouble: Option<AlertTrouble>,
        at: DateTime<Utc>,
    ) -> Answer {
        let Work { mut delivery, event, primary, .. } = *work;
        if let Some(trouble) = trouble {
            self.outcomes.record(&event.account_id, outcome::Kind::Trouble(trouble)).await;
        }
        chassis::crash_point("dispatcher.outcome_stored");
        next_hop(&mut delivery, charged, at);
        self.reschedule(pulled, &delivery, primary.as_deref(), at).await
    }

    /// Sends a delivery back that this version does not understand: a newer one has made it,
    /// and will be there soon. After twenty times it is set aside.
    pub(crate) async fn hand_back(
        &self,
        pulled: &Pulled,
        mut delivery: Delivery,
        reason: &'static str,
    ) -> Answer {
        if delivery.uncharged_returns >= MAX_UNCHARGED_RETURNS {
            return self.end_unread(delivery, reason).await;
        }
        metrics::counter!("postrider_handed_back_total", "reason" => reason).increment(1);
        tracing::warn!(
            delivery.id = delivery.delivery_id,
            reason,
            "a delivery is for a newer version and goes back"
        );
        let chance = chassis::entropy::fraction();
        let at = after_our_fault(delivery.uncharged_returns, self.clock.now(), chance);
        next_hop(&mut delivery, false, at);
        self.reschedule(pulled, &delivery, None, at).await
    }

    /// Sends a delivery that cannot go now to a later moment, uncharged. At the
    /// end of its schedule's time it is given up.
    pub(crate) async fn park(
        &self,
        pulled: &Pulled,
        work: Box<Work>,
        at: DateTime<Utc>,
        wait: Wait,
    ) -> Answer {
        let Now { own: now, earliest } = self.clocks.now(&self.clock);
        let first_due = moment(work.delivery.first_due.as_ref()).unwrap_or(now);
        let last_chance = work.policy.last_chance(first_due);
        if earliest >= last_chance && !chassis::mutant("park_for_ever") {
            // What waits for our own relay has nothing to answer for.
            let end = if wait == Wait::Relay { End::Expired } else { End::Exhausted };
            return self.end(work, end, wait.as_str()).await;
        }
        if wait != Wait::Relay
            && let Some(reason) = self.too_much(&work)
        {
            return self.end(work, End::Exhausted, reason.as_str()).await;
        }
        let at = at.min(last_chance + (now - earliest));
        metrics::counter!("postrider_parked_total", "wait" => wait.as_str()).increment(1);
        // History hears of the first wait; those that follow would only repeat it.
        if work.delivery.parks == 0 {
            let attempted = Attempted {
                reason: wait.as_str().into(),
                next_attempt_at: Some(timestamp(at)),
                event: Some(work.event_name()),
                ..work.attempted(work.delivery.attempt, now)
            };
            let account_id = &work.event.account_id;
            self.outcomes.record(account_id, outcome::Kind::Attempted(attempted)).await;
        }
        let Work { mut delivery, primary, .. } = *work;
        delivery.due_again = Some(timestamp(at));
        delivery.hop += 1;
        delivery.may_exist = false;
        delivery.parks += 1;
        self.reschedule(pulled, &delivery, primary.as_deref(), at).await
    }

    /// Why a delivery may not wait, if it finds too many waiting: for its target, or
    /// of its account. One that has waited already goes on: there is nowhere to put
    /// it back to.
    fn too_much(&self, work: &Work) -> Option<EndReason> {
        if work.delivery.hop > 0 {
            return None;
        }
        let now = self.clock.now();
        if self.targets.is_backlog_full(target_id(&work.delivery).as_str(), now) {
            return Some(EndReason::TargetBacklog);
        }
        let primary = work.primary.as_deref()?;
        let most = self.most_waiting(primary)?;
        let is_full = self.targets.is_account_full(&primary.account_id, most, now);
        is_full.then_some(EndReason::AccountBacklog)
    }

    /// How many deliveries of a primary account and its subaccounts may wait.
    fn most_waiting(&self, primary: &AccountDocument) -> Option<u64> {
        let own = primary.waiting_deliveries.map(u64::from);
        Some(own.unwrap_or(self.config.account_backlog)).filter(|most| *most > 0)
    }

    /// Stores the next hop. From then on the copy that is held is done.
    pub(crate) async fn reschedule(
        &self,
        pulled: &Pulled,
        delivery: &Delivery,
        primary: Option<&AccountDocument>,
        at: DateTime<Utc>,
    ) -> Answer {
        if chassis::mutant("retry_after_ack") {
            pulled.ack().await;
        }
        // The broker fires it, by its own clock.
        let fires_at = at - self.clocks.ahead();
        let mut wait = Duration::from_millis(250);
        loop {
            match self.bus.reschedule(delivery, pulled, fires_at).await {
                Ok(Rescheduled::Stored) => {
                    let now = self.clock.now();
                    self.targets.waits(&target_id(delivery), at, now);
                    if let Some(primary) = primary
                        && let Some(most) = self.most_waiting(primary)
                    {
                        self.targets.account_waits(&primary.account_id, most, at, now);
                    }
                    break;
                }
                // Whoever had this copy before, or took it over while this process
                // was frozen, got as far as the retry, or to the end.
                Ok(Rescheduled::Superseded) => break,
                // The receiver has answered: it is not asked again because the
                // broker is away. The lease is kept alive meanwhile.
                Err(error) => {
                    tracing::warn!(%error, delivery.id = delivery.delivery_id, "the retry is not stored yet");
                    self.clock.sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(5));
                }
            }
        }
        chassis::crash_point("dispatcher.retry_stored");
        Answer::Ack
    }

    /// Ends a delivery without a try.
    pub(crate) async fn end(&self, work: Box<Work>, end: End, reason: &str) -> Answer {
        self.end_after(work, end, reason, None).await
    }

    async fn end_after(
        &self,
        work: Box<Work>,
        end: End,
        reason: &str,
        last_attempt: Option<Attempted>,
    ) -> Answer {
        let Work { delivery, event, event_type, policy, .. } = *work;
        let family = event_type.family();
        // The receiver may have it, and have refused the repeats for that reason.
        let reason = match delivery.may_have_arrived {
            Some(_) if end == End::Exhausted && !chassis::mutant("disable_after_repeat") => {
                EndReason::MayHaveArrived.as_str()
            }
            _ => reason,
        };
        match end {
            End::Delivered => DELIVERED.of(family.number()).increment(1),
            _ => metrics::counter!("postrider_ended_total", "family" => family.as_str(), "end" => end.as_str_name())
                .increment(1),
        }
        if end != End::Delivered {
            tracing::info!(
                delivery.id = delivery.delivery_id,
                target.id = target_id(&delivery),
                end = end.as_str_name(),
                reason,
                "a delivery ended undelivered"
            );
        }
        let charged_now = last_attempt.as_ref().is_some_and(|attempt| attempt.charged);
        let at = Some(timestamp(self.clock.now()));
        let exhausted = exhausted_setting(&delivery, &event, end, reason, at);
        let exhausted = exhausted.filter(|_| policy.disables);
        let body = match end {
            End::Delivered => Default::default(),
            _ => delivery.encode_to_vec().into(),
        };
        let ended = Ended {
            delivery_id: delivery.delivery_id,
            event_key: delivery.event_key,
            account_id: event.account_id.clone(),
            target_id: delivery.target.map(|target| target.id).unwrap_or_default(),
            generation: delivery.generation,
            hop: delivery.hop,
            end: end.into(),
            reason: reason.to_owned(),
            at,
            attempts: delivery.attempt + u32::from(charged_now),
            last_attempt,
            delivery: body,
        };
        // Dying before this is stored repeats the last try; after it, whoever is handed the
        // delivery finds its end.
        self.outcomes.record(&event.account_id, outcome::Kind::Ended(ended)).await;
        chassis::crash_point("dispatcher.outcome_stored");
        if let Some(exhausted) = exhausted {
            self.outcomes.record(&event.account_id, outcome::Kind::Exhausted(exhausted)).await;
            chassis::crash_point("dispatcher.exhausted_stored");
        }
        Answer::Ended
    }

    /// Sets a delivery aside without looking at what it holds. Its body goes to history.
    pub(crate) async fn end_unread(&self, delivery: Delivery, reason: &str) -> Answer {
        metrics::counter!("postrider_poisoned_total", "role" => "dispatcher").increment(1);
        tracing::error!(delivery.id = delivery.delivery_id, reason, "a delivery is set aside");
        let account_id = match delivery.target.as_ref().and_then(|target| target.kind.as_ref()) {
            Some(TargetKind::Message(target)) => target.account_id.clone(),
            Some(TargetKind::Alert(target)) => target.account_id.clone(),
            None => "unknown".to_owned(),
        };
        let ended = Ended {
            delivery_id: delivery.delivery_id.clone(),
            event_key: delivery.event_key.clone(),
            account_id: account_id.clone(),
            target_id: target_id(&delivery),
            generation: delivery.generation,
            hop: delivery.hop,
            end: End::Poisoned.into(),
            reason: reason.to_owned(),
            at: Some(timestamp(self.clock.now())),
            attempts: delivery.attempt,
            last_attempt: None,
            delivery: delivery.encode_to_vec().into(),
        };
        self.outcomes.record(&account_id, outcome::Kind::Ended(ended)).await;
        Answer::Ended
    }

    /// Sets a message aside that is no delivery at all. Its bytes go to history.
    pub(crate) async fn set_aside(&self, pulled: &Pulled) {
        metrics::counter!("postrider_poisoned_total", "role" => "dispatcher").increment(1);
        tracing::error!(
            subject = pulled.subject(),
            sequence = pulled.stream_sequence(),
            "a message is no delivery and is set aside"
        );
        let mut tokens = pulled.subject().rsplit('.');
        let delivery_id = tokens.next().unwrap_or_default().to_owned();
        let target_id = tokens.next().unwrap_or_default().to_owned();
        let ended = Ended {
            delivery_id,
            target_id,
            account_id: "unknown".to_owned(),
            end: End::Poisoned.into(),
            reason: EndReason::UnreadableDelivery.as_str().into(),
            at: Some(timestamp(self.clock.now())),
            delivery: pulled.payload().clone(),
            ..Ended::default()
        };
        self.outcomes.record("unknown", outcome::Kind::Ended(ended)).await;
    }
}

/// What the owner of an alert is to hear after a try that was charged: of the
/// first one, and of the last but one before the setting is disabled.
fn trouble(work: &Work, attempted: &Attempted, at: DateTime<Utc>) -> Option<AlertTrouble> {
    let Some(TargetKind::Alert(target)) = work.delivery.target.as_ref()?.kind.as_ref() else {
        return None;
    };
    let tries = usize::try_from(attempted.attempt).ok()?;
    let stage = match tries {
        _ if !attempted.charged => return None,
        _ if tries == work.policy.waits.len()
            && work.policy.disables
            && work.delivery.may_have_arrived.is_none() =>
        {
            Stage::LastChance
        }
        1 => Stage::FirstFailure,
        _ => return None,
    };
    let reason = match attempted.status {
        0 if attempted.detail.is_empty() => attempted.reason.clone(),
        0 => attempted.detail.clone(),
        status => format!("it was answered with status {status}"),
    };
    Some(AlertTrouble {
        account_id: work.event.account_id.clone(),
        setting_id: target.setting_id.clone(),
        setting_generation: target.setting_generation,
        stage: stage.into(),
        reason,
        at: attempted.started_at,
        next_attempt_at: Some(timestamp(at)),
    })
}

/// The report that disables an alert setting, where the end does that. It carries the generation
/// that fanout saw: a setting that was saved since has been validated since.
pub(crate) fn exhausted_setting(
    delivery: &Delivery,
    event: &AcceptedEvent,
    end: End,
    reason: &str,
    at: Option<Timestamp>,
) -> Option<Exhausted> {
    let Some(TargetKind::Alert(target)) = delivery.target.as_ref()?.kind.as_ref() else {
        return None;
    };
    // Whoever did take a mail is not to lose the next one because of a mailbox
    // that has put this one off for too long.
    let reached_some = delivery.mail.as_ref().is_some_and(|mail| mail.taken > 0);
    // Where it waited until its time was up, that is the target's doing.
    let disables = EndReason::parse(reason).is_none_or(EndReason::disables);
    (end == End::Exhausted && !reached_some && disables).then(|| Exhausted {
        account_id: event.account_id.clone(),
        setting_id: target.setting_id.clone(),
        setting_generation: target.setting_generation,
        delivery_id: delivery.delivery_id.clone(),
        at,
        reason: reason.to_owned(),
    })
}

fn target_id(delivery: &Delivery) -> String {
    delivery.target.as_ref().map(|target| target.id.clone()).unwrap_or_default()
}

/// A moment, as the wire has it.
pub(crate) fn timestamp(at: DateTime<Utc>) -> Timestamp {
    Timestamp { seconds: at.timestamp(), nanos: at.timestamp_subsec_nanos().cast_signed() }
}

/// A moment from the wire.
pub(crate) fn moment(timestamp: Option<&Timestamp>) -> Option<DateTime<Utc>> {
    let timestamp = timestamp?;
    DateTime::from_timestamp(timestamp.seconds, timestamp.nanos.try_into().ok()?)
}

#[cfg(test)]
mod tests {
    use protocol::v1::{AlertTarget, Target};

    use super::*;

    /// Also where it is reported again, because the first report may not have been stored.
    #[test]
    fn an_alert_that_too_many_wait_before_or_that_may_have_arrived_disables_nothing() {
        let kind = Some(TargetKind::Alert(AlertTarget {
            setting_id: "s".into(),
            ..AlertTarget::default()
        }));
        let target = Some(Target { kind, ..Target::default() });
        let delivery = Delivery { target, ..Delivery::default() };
        let event = AcceptedEvent::default();
        for (reason, disables) in [
            (EndReason::Schedule.as_str(), true),
            (EndReason::GiveUpAt.as_str(), true),
            (Wait::Breaker.as_str(), true),
            (EndReason::TargetBacklog.as_str(), false),
            (EndReason::AccountBacklog.as_str(), false),
            (EndReason::MayHaveArrived.as_str(), false),
        ] {
            let report = exhausted_setting(&delivery, &event, End::Exhausted, reason, None);
            assert_eq!(report.is_some(), disables, "{reason}");
        }
    }
}
