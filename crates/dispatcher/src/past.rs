//! What is known of a copy that somebody else may have worked on.
//!
//! Whoever worked on it has died, was cut off, or is still at it. The broker knows whether
//! a later hop was written; the stream of outcomes knows what had come of a try, if that
//! was stored. A try is repeated only if neither knows, and then the delivery is marked:
//! its receiver may have it, and may refuse repeats for that reason.

use std::time::Duration;

use bus::{Past, Pulled};
use chrono::{DateTime, TimeDelta, Utc};
use model::{Family, Scope, Wait, Wanted, still_wanted};
use protocol::v1::ended::End;
use protocol::v1::{Attempted, Delivery, outcome};
use tokio::time::Instant;

use crate::Dispatcher;
use crate::attempt::{Answer, Work};
use crate::settle::{exhausted_setting, moment, timestamp};

/// How long ago fanout may have made a delivery that it makes once more.
const FANOUT_AWAY: TimeDelta = TimeDelta::minutes(5);
/// Clocks of the broker's nodes agree within this.
const CLOCK_MARGIN: TimeDelta = TimeDelta::seconds(5);
/// A look that takes longer is one at which settings may have changed.
const LONG_LOOK: Duration = Duration::from_millis(500);
/// For how long it is looked for what came of a try after all that was repeated.
const UNSURE_FOR: TimeDelta = TimeDelta::minutes(15);

/// What is to be done with a copy.
pub(crate) enum Next {
    /// It is tried, perhaps once more.
    Try,
    /// It was tried, and this came of it.
    GoOn(Box<Attempted>),
    /// It is used up; its setting may not have been reported yet.
    Report(String),
    Answer(Answer),
}

/// Whether a record is one of a try, and not of a wait.
pub(crate) fn is_try(attempted: &Attempted) -> bool {
    Wait::parse(&attempted.reason).is_none()
}

impl Dispatcher {
    /// Finds out what is known of a copy, and marks its delivery if nothing is.
    pub(crate) async fn look_back(&self, pulled: &Pulled, delivery: &mut Delivery) -> Next {
        let late = self.late_since(pulled, delivery);
        if (pulled.may_be_redelivered() || late.is_some() || delivery.may_exist)
            && let Some(answer) = self.if_superseded(pulled).await
        {
            return Next::Answer(answer);
        }
        let now = self.clock.now();
        let mut since = pulled.stored_at();
        let mut is_in_question = pulled.may_be_redelivered();
        if let Some(unsure) = moment(delivery.may_have_arrived.as_ref()) {
            // A resend that is stored twice says since when, however long that was ago.
            let is_resend = delivery.hop == 0 && delivery.generation > 0;
            if is_resend || now - unsure < UNSURE_FOR {
                since = since.min(unsure);
                is_in_question = true;
            }
        } else if delivery.may_exist && delivery.generation == 0 {
            // It was made once more: what was made before may have ended since. Resends are
            // all marked so, and are looked up only where they are late.
            since -= FANOUT_AWAY;
            is_in_question = true;
        }
        if let Some(late) = late {
            since = since.min(late);
            is_in_question = true;
        }
        if !is_in_question {
            return Next::Try;
        }
        let next = self.recall(delivery, since).await;
        if matches!(next, Next::Try) && pulled.may_have_been_tried() {
            self.mark(delivery);
        }
        next
    }

    /// Since when somebody else may have worked on a copy that is on `due` later than it was
    /// meant to be.
    ///
    /// A first write may be stored long after it was made, because its writer was frozen or
    /// its bytes were held back: meanwhile another may have made the same delivery, and it
    /// may have ended. A retry may have been fired before: a broker that was killed forgets
    /// that, and fires it again when it is back.
    pub(crate) fn late_since(&self, pulled: &Pulled, delivery: &Delivery) -> Option<DateTime<Utc>> {
        let is_first = delivery.hop == 0;
        let meant = if is_first { &delivery.first_due } else { &delivery.due_again };
        let meant = moment(meant.as_ref())?;
        let lease = TimeDelta::from_std(self.lease).unwrap_or(TimeDelta::MAX);
        let mutant = if is_first { "late_write_is_fresh" } else { "late_retry_is_fresh" };
        let is_late = pulled.stored_at() - meant >= lease / 2 && !chassis::mutant(mutant);
        let since = if is_first { pulled.stored_at() - FANOUT_AWAY } else { meant };
        is_late.then_some(since)
    }

    /// Looks once more, before anything is decided, whether this is still for this process to
    /// decide. If not, the error is the answer to the copy.
    ///
    /// The process that had the copy before may have been waiting for the broker with the
    /// outcome of its own try, and may have stored it since the first look. Where this takes long, the
    /// settings are fenced again: they are read next.
    pub(crate) async fn look_once_more(
        &self,
        pulled: &Pulled,
        work: Box<Work>,
    ) -> Result<Box<Work>, Answer> {
        let began = Instant::now();
        if let Some(answer) = self.if_superseded(pulled).await {
            return Err(answer);
        }
        match self.recall(&work.delivery, pulled.stored_at()).await {
            Next::Try => {}
            Next::GoOn(attempted) => return Err(self.go_on(pulled, work, *attempted).await),
            Next::Report(reason) => return Err(self.report_again(&work, &reason).await),
            Next::Answer(answer) => return Err(answer),
        }
        if began.elapsed() > LONG_LOOK && !self.fence().await {
            return Err(Answer::Again(Duration::from_secs(1)));
        }
        Ok(work)
    }

    /// Whether another may have been given this copy, asked before anything is decided and
    /// directly before a try: a process that was frozen may thaw here, or was cut off from
    /// the broker for too long. If there is no other, the broker hands it out once more.
    pub(crate) fn has_lost(&self, pulled: &Pulled) -> bool {
        pulled.lease_may_be_lost(self.lease) && !chassis::mutant("thaw_posts")
    }

    /// The answer to a copy that is not the newest of its delivery: whoever
    /// worked on it died, or lost its lease, after the retry and before the ack.
    pub(crate) async fn if_superseded(&self, pulled: &Pulled) -> Option<Answer> {
        if chassis::mutant("no_look_at_retry") {
            return None;
        }
        let mut wait = Duration::from_millis(250);
        loop {
            match self.bus.is_newest(pulled).await {
                Ok(true) => return None,
                Ok(false) => return Some(Answer::Ack),
                Err(error) => {
                    tracing::warn!(%error, subject = pulled.subject(), "cannot look for a later hop");
                }
            }
            // Handed back, it would count as one that nobody has survived.
            tokio::select! {
                () = self.clock.sleep(wait) => wait = (wait * 2).min(Duration::from_secs(5)),
                () = self.tasks.stopping() => return Some(Answer::Again(Duration::from_secs(1))),
            }
        }
    }

    async fn recall(&self, delivery: &Delivery, since: DateTime<Utc>) -> Next {
        if chassis::mutant("forget_outcomes") {
            return Next::Try;
        }
        let id = &delivery.delivery_id;
        let past = tokio::select! {
            past = self.recent.of(id, delivery.hop, since - CLOCK_MARGIN) => past,
            () = self.tasks.stopping() => return Next::Answer(Answer::Again(Duration::from_secs(1))),
        };
        let found = match past {
            Past::Ended { .. } => "ended",
            Past::Attempted(_) => "attempted",
            Past::Nothing => "nothing",
            Past::Unknown => "unknown",
        };
        metrics::counter!("postrider_repeats_looked_up_total", "found" => found).increment(1);
        match past {
            Past::Ended { end: End::Exhausted, reason } => Next::Report(reason.into()),
            Past::Ended { .. } => Next::Answer(Answer::Ended),
            Past::Attempted(attempted) => Next::GoOn(attempted),
            Past::Nothing | Past::Unknown => Next::Try,
        }
    }

    fn mark(&self, delivery: &mut Delivery) {
        let now = || timestamp(self.clock.now());
        delivery.may_have_arrived.get_or_insert_with(now);
    }

    /// Reports a setting again whose delivery is used up, in case that whoever found out
    /// died before it had reported it.
    pub(crate) async fn report_again(&self, work: &Work, reason: &str) -> Answer {
        let event = &work.event;
        let policy = self.in_force(event).and_then(|in_force| {
            let scope = Scope {
                account: &in_force.account,
                parent: in_force.parent.as_deref(),
                domain: in_force.domain.as_deref(),
            };
            let target = work.delivery.target.as_ref()?;
            let of_account = in_force.account.alert_policy.as_ref();
            let of_url = match still_wanted(target, work.event_type, scope) {
                Wanted::AtUrl(destination) => {
                    destination.options.and_then(|options| options.policy.as_ref())
                }
                Wanted::ByEmail(_) => None,
                // Nobody is to be disabled who is not there any more.
                Wanted::No(_) | Wanted::NotNow(_) => return None,
            };
            Some(self.config.policies.in_force(Family::Alert, of_account, of_url))
        });
        let at = Some(timestamp(self.clock.now()));
        if policy.is_some_and(|policy| policy.disables)
            && let Some(report) =
                exhausted_setting(&work.delivery, event, End::Exhausted, reason, at)
        {
            self.outcomes.record(&event.account_id, outcome::Kind::Exhausted(report)).await;
        }
        Answer::Ended
    }
}
