//! One message from the broker: one look at what is wanted, at most one request.

use std::sync::Arc;
use std::time::Duration;

use bus::{HopKey, Pulled};
use chassis::Handles;
use chassis::trace::{Span, SpanKind};
use chrono::{DateTime, Utc};
use egress::request::Signer;
use egress::{Answer as Received, Failure, FailureKind};
use metrics::{Counter, Histogram};
use model::{
    Answered, Destination, EndReason, EventType, Family, NotWanted, RetryPolicy, Scope, Wanted,
    still_wanted,
};
use prost::Message as _;
use protocol::v1::ended::End;
use protocol::v1::target::Kind as TargetKind;
use protocol::v1::{
    AcceptedEvent, AccountDocument, Attempted, Channel, Delivery, DomainDocument, EventName,
    Target, TargetTrouble,
};
use tokio::sync::oneshot;

use crate::Dispatcher;
use crate::alone::Company;
use crate::past::Next;
use crate::settled::Known;
use crate::targets::{Admission, Came, Change, Permit};

/// By family.
static DUE_WAIT: Handles<Histogram, 2> = Handles::new(
    |family| metrics::histogram!("postrider_due_wait_seconds", "family" => Family::ALL[family].as_str()),
);
static ATTEMPTS_OK: Handles<Counter, 2> = Handles::new(
    |family| metrics::counter!("postrider_attempts_total", "family" => Family::ALL[family].as_str(), "outcome" => "ok"),
);
static DURATION: Handles<Histogram, 2> = Handles::new(
    |family| metrics::histogram!("postrider_attempt_duration_seconds", "family" => Family::ALL[family].as_str()),
);
static FIRST_LATENCY: Handles<Histogram, 2> = Handles::new(
    |family| metrics::histogram!("postrider_first_attempt_latency_seconds", "family" => Family::ALL[family].as_str()),
);

/// How a message is answered. Every ack and nak of a readable delivery follows from one of these.
pub(crate) enum Answer {
    /// It has ended, and its end is stored: nothing but this ack is left of it.
    Ended,
    /// Its next hop is stored, or it was a copy that is done.
    Ack,
    /// Nothing was begun; the broker is to hand it out again.
    Again(Duration),
    /// The broker may have given it to another, who does all that is to be done.
    Leave,
}

/// Whose fault a try was.
pub(crate) enum Tried {
    /// The receiver answered, and this is what it means.
    Answered(Answered),
    /// The receiver's fault.
    Theirs,
    /// Ours: not charged.
    Ours,
    /// That of our mail relay, which is in trouble whatever the mail: not charged
    /// either, and for as long as it takes.
    Relay,
}

/// A delivery with everything that is known of it at this moment.
pub(crate) struct Work {
    pub(crate) delivery: Delivery,
    pub(crate) event: AcceptedEvent,
    pub(crate) event_type: EventType,
    /// The one in force at this moment.
    pub(crate) policy: Arc<RetryPolicy>,
    /// The primary account, with whose others this delivery waits, once it is known.
    pub(crate) primary: Option<Arc<AccountDocument>>,
    /// What came of its try, if whoever made it could say so and went no further.
    pub(crate) known: Option<Box<Attempted>>,
}

impl Work {
    /// The record of a try of this number, as far as it is known before it.
    pub(crate) fn attempted(&self, number: u32, started_at: DateTime<Utc>) -> Attempted {
        let delivery = &self.delivery;
        Attempted {
            delivery_id: delivery.delivery_id.clone(),
            event_key: delivery.event_key.clone(),
            account_id: self.event.account_id.clone(),
            target_id: delivery.target.as_ref().map(|target| target.id.clone()).unwrap_or_default(),
            hop: delivery.hop,
            attempt: number,
            started_at: Some(crate::settle::timestamp(started_at)),
            generation: delivery.generation,
            level: delivery.level,
            ..Attempted::default()
        }
    }

    /// The name of its event, for failure logs.
    pub(crate) fn event_name(&self) -> EventName {
        EventName {
            event_id: self.event.event.as_ref().map(|event| event.id.clone()).unwrap_or_default(),
            event_type: self.event_type.as_str().to_owned(),
            domain_id: self.event.domain_id.clone(),
        }
    }
}

/// The settings documents that one attempt is made with.
pub(crate) struct InForce {
    pub(crate) account: Arc<AccountDocument>,
    pub(crate) parent: Option<Arc<AccountDocument>>,
    pub(crate) domain: Option<Arc<DomainDocument>>,
}

/// How long a delivery waits for its turn at a target that works fast.
const LONGEST_TURN: Duration = Duration::from_secs(1);

/// What an answer says of the state that its receiver is in.
fn came(answered: Answered, status: u16, retry_after: Option<Duration>) -> Came {
    match status {
        _ if answered == Answered::Taken => Came::Taken,
        429 => Came::Busy(retry_after),
        503 if retry_after.is_some() => Came::Busy(retry_after),
        502..=504 => Came::Down,
        _ => Came::Answered,
    }
}

impl Dispatcher {
    /// Works on one message and answers it.
    pub(crate) async fn handle(&self, pulled: Pulled) {
        let Ok(delivery) = Delivery::decode(pulled.payload().clone()) else {
            self.set_aside(&pulled).await;
            return self.acks.ack_confirmed(&pulled).await;
        };
        let hop = HopKey::of(&delivery.delivery_id, delivery.hop);
        match self.settled.begin(hop) {
            // The one who is at it prolongs the lease and will ack.
            Known::UnderWay => return,
            Known::Finished => return self.acks.ack_confirmed(&pulled).await,
            Known::New => {}
        }
        // Should this panic, the hop is not blocked for as long as this process lives.
        let abandon = self.settled.abandon_on_drop(hop);
        let work = Box::pin(self.work(&pulled, delivery));
        let held = std::slice::from_ref(&pulled);
        let answer = bus::keeping_leases(held, self.lease, &self.clock, work).await;
        if let Answer::Again(delay) = answer {
            drop(abandon);
            return pulled.nak(delay).await;
        }
        if matches!(answer, Answer::Leave) {
            metrics::counter!("postrider_lost_leases_total").increment(1);
            return drop(abandon);
        }
        abandon.disarm();
        self.settled.finish(hop);
        chassis::crash_point("dispatcher.before_ack");
        if matches!(answer, Answer::Ended) {
            return self.acks.ack_confirmed(&pulled).await;
        }
        // Not confirmed: the next hop tells of itself.
        self.acks.ack(&pulled);
    }

    async fn work(&self, pulled: &Pulled, delivery: Delivery) -> Answer {
        chassis::crash_point("dispatcher.pulled");
        let repeats = pulled.may_be_redelivered()
            || delivery.may_exist
            || self.late_since(pulled, &delivery).is_some()
            || delivery.may_have_arrived.is_some()
            || delivery.deaths > 0;
        // The rare ways are boxed, so that the common one stays small.
        if repeats {
            return Box::pin(self.work_again(pulled, delivery)).await;
        }
        self.work_on(pulled, delivery, Next::Try).await
    }

    /// Works on a delivery that somebody may have worked on before.
    async fn work_again(&self, pulled: &Pulled, mut delivery: Delivery) -> Answer {
        let next = match self.look_back(pulled, &mut delivery).await {
            Next::Answer(answer) => return answer,
            next => next,
        };
        let _alone = match self.company(pulled, &mut delivery).await {
            Company::Answer(answer) => return answer,
            Company::Alone(alone) => Some(alone),
            Company::Any => None,
        };
        chassis::crash_point("dispatcher.looked_back");
        self.work_on(pulled, delivery, next).await
    }

    async fn work_on(&self, pulled: &Pulled, mut delivery: Delivery, next: Next) -> Answer {
        let Ok(event) = AcceptedEvent::decode(delivery.accepted_event.clone()) else {
            return self.end_unread(delivery, EndReason::UnreadableEvent.as_str()).await;
        };
        let Some(kind) = event.event.as_ref().and_then(|event| event.kind.as_ref()) else {
            return self.hand_back(pulled, delivery, EndReason::NewerEvent.as_str()).await;
        };
        let event_type = EventType::of(kind);
        let stood = pulled.stood(self.clock.now());
        DUE_WAIT.of(event_type.family().number()).record(stood.as_secs_f64());
        if let Some(due) = crate::settle::moment(delivery.due_again.as_ref()) {
            let late = (self.clock.now() - due).as_seconds_f64().max(0.0);
            metrics::histogram!("postrider_retry_lateness_seconds", "family" => event_type.family().as_str())
                .record(late);
        }
        crate::clocks::witness_first_due(&mut delivery, pulled.stored_at());
        // Boxed, because it is handed on through every step of what follows.
        let policy = self.config.policies.in_force(event_type.family(), None, None);
        let mut work =
            Box::new(Work { delivery, event, event_type, policy, primary: None, known: None });
        match next {
            Next::Report(reason) => return Box::pin(self.report_again(&work, &reason)).await,
            Next::GoOn(attempted) => work.known = Some(attempted),
            Next::Try | Next::Answer(_) => {}
        }
        self.decide(pulled, work).await
    }

    /// Asks whether the target still wants it, and tries if there is room for it.
    async fn decide(&self, pulled: &Pulled, mut work: Box<Work>) -> Answer {
        let target = work.delivery.target.clone().unwrap_or_default();
        let mut place = None;
        loop {
            chassis::crash_point("dispatcher.before_decision");
            // Another may be at it: what is decided here would be written beside its try.
            if self.has_lost(pulled) && !chassis::mutant("lost_decides") {
                return Answer::Leave;
            }
            if pulled.may_be_redelivered()
                && work.known.is_none()
                && !chassis::mutant("looked_long_ago")
            {
                work = match Box::pin(self.look_once_more(pulled, work)).await {
                    Ok(work) => work,
                    Err(answer) => return answer,
                };
            }
            let Some(in_force) = self.in_force(&work.event) else {
                // Settings never lose an account that has events: this is a fault of ours.
                let detail = "the account, or its parent, has no settings document".to_owned();
                return self.settle_fault(pulled, work, detail).await;
            };
            work.primary = Some(Arc::clone(in_force.parent.as_ref().unwrap_or(&in_force.account)));
            let scope = Scope {
                account: &in_force.account,
                parent: in_force.parent.as_deref(),
                domain: in_force.domain.as_deref(),
            };
            let family = work.event_type.family();
            if has_unknown_channel(&target, &in_force.account) {
                return self
                    .hand_back(pulled, work.delivery, EndReason::NewerChannel.as_str())
                    .await;
            }
            let destination = match still_wanted(&target, work.event_type, scope) {
                Wanted::No(reason) => {
                    if reason == NotWanted::Erased {
                        // Its end is told like every other, and nothing of it is kept.
                        work.delivery.accepted_event.clear();
                        work.delivery.mail = None;
                        work.delivery.target.iter_mut().for_each(|target| target.kind = None);
                    }
                    return self.end(work, End::Suppressed, reason.as_str()).await;
                }
                Wanted::NotNow(held) => return self.end(work, End::Held, held.as_str()).await,
                Wanted::ByEmail(addresses) => {
                    let of_account = in_force.account.alert_policy.as_ref();
                    work.policy = self.config.policies.in_force(family, of_account, None);
                    return Box::pin(self.mail(pulled, work, addresses)).await;
                }
                Wanted::AtUrl(destination) => destination,
            };
            let of_account = match family {
                Family::Message => destination.owner.message_policy.as_ref(),
                Family::Alert => destination.owner.alert_policy.as_ref(),
            };
            let of_url = destination.options.and_then(|options| options.policy.as_ref());
            work.policy = self.config.policies.in_force(family, of_account, of_url);
            if let Some(attempted) = work.known.take() {
                return Box::pin(self.go_on(pulled, work, *attempted)).await;
            }
            if let Some(permit) = place.take() {
                return self.attempt(pulled, work, destination, &in_force, permit).await;
            }
            let chance = chassis::entropy::fraction();
            let primary_id = work.primary.as_ref().map_or("", |primary| &primary.account_id);
            let (parks, now) = (work.delivery.parks, self.clock.now());
            match self.targets.admit(primary_id, &target.id, parks, chance, now) {
                Admission::Go(permit) => {
                    return self.attempt(pulled, work, destination, &in_force, permit).await;
                }
                Admission::Park { at, wait } => return self.park(pulled, work, at, wait).await,
                Admission::Queue(turn) => match self.turn(turn).await {
                    Some(permit) => place = Some(permit),
                    // The target got into trouble, or slow: ask again.
                    None => continue,
                },
            }
            // Settings may have changed while this one was waiting.
            if !self.fence().await {
                return Answer::Again(Duration::from_secs(1));
            }
        }
    }

    /// Waits for a turn in a target's queue, for as long as it is short.
    async fn turn(&self, turn: oneshot::Receiver<Permit>) -> Option<Permit> {
        tokio::select! {
            permit = turn => permit.ok(),
            () = self.clock.sleep(LONGEST_TURN) => None,
        }
    }

    async fn attempt(
        &self,
        pulled: &Pulled,
        work: Box<Work>,
        destination: Destination<'_>,
        in_force: &InForce,
        permit: Permit,
    ) -> Answer {
        let url = destination.url;
        let number = work.delivery.attempt + 1;
        let signer = Signer {
            secret_key: &self.config.secret_key,
            account: &in_force.account,
            parent: in_force.parent.as_deref(),
            domain: in_force.domain.as_deref(),
            destination,
        };
        chassis::crash_point("dispatcher.before_post");
        chassis::crash_point_at("dispatcher.before_post_to", url);
        if self.has_lost(pulled) {
            return Answer::Leave;
        }
        let mut span = span(&work.delivery, number);
        let started_at = self.clock.now();
        let sent = self.egress.post_signed(url, || {
            let token = hex::encode(chassis::entropy::bytes::<25>());
            let timestamp = self.clock.epoch_seconds();
            let id = &work.delivery.delivery_id;
            signer.request(&work.event, work.event_type, id, number, timestamp, &token)
        });
        let sent = match sent.await {
            Ok(sent) => sent,
            Err(error) => return self.settle_fault(pulled, work, error.to_string()).await,
        };
        // Dying from here until the outcome is stored means that the receiver is
        // asked again: the one duplicate that nobody can rule out. The event's id
        // and the delivery's id stay the same, so that the receiver can.
        chassis::crash_point("dispatcher.answered");

        let mut attempted = Attempted {
            charged: true,
            duration_ms: u32::try_from(sent.duration.as_millis()).unwrap_or(u32::MAX),
            url: sent.shown_url,
            ..work.attempted(number, started_at)
        };
        let (tried, came) = match sent.answer {
            Received::Response { status, snippet, retry_after } => {
                attempted.status = status.into();
                attempted.response_snippet = snippet;
                let answered = work.policy.answered(status);
                attempted.reason = if answered == Answered::Taken { "ok" } else { "status" }.into();
                (Tried::Answered(answered), came(answered, status, retry_after))
            }
            Received::Failed(Failure { kind, detail }) => {
                attempted.reason = kind.as_str().into();
                attempted.detail = detail;
                match kind {
                    _ if kind.is_ours() => (Tried::Ours, Came::Unknown),
                    // Refused by us, at once: says nothing of the receiver.
                    FailureKind::Blocked | FailureKind::InvalidUrl => {
                        (Tried::Theirs, Came::Unknown)
                    }
                    _ => (Tried::Theirs, Came::Down),
                }
            }
        };
        if attempted.status > 0 {
            span.number("http.response.status_code", attempted.status.into());
        }
        tell_span(&mut span, &attempted.reason);
        let chance = chassis::entropy::fraction();
        let change = permit.report(came, sent.duration, chance, self.clock.now());
        self.tell(&attempted.target_id, &attempted.reason, change);
        self.measure(&work, &attempted);
        self.settle(pulled, work, tried, attempted).await
    }

    /// Lets the other dispatchers know what has become of a target.
    fn tell(&self, target_id: &str, reason: &str, change: Option<Change>) {
        match change {
            Some(Change::Opened { until, streak }) => {
                metrics::counter!("postrider_breakers_opened_total").increment(1);
                tracing::info!(target.id = target_id, %until, streak, reason, "a target is left alone");
                let until = Some(crate::settle::timestamp(until));
                let trouble = TargetTrouble { until, streak, reason: reason.to_owned() };
                self.board.open(target_id, &trouble);
            }
            Some(Change::Closed) => {
                tracing::info!(target.id = target_id, "a target answers again");
                self.board.close(target_id);
            }
            None => {}
        }
    }

    pub(crate) fn in_force(&self, event: &AcceptedEvent) -> Option<InForce> {
        self.settings.read(|documents| {
            let account = documents.account(&event.account_id)?;
            let parent = documents.account(&account.parent_account_id).cloned();
            if parent.is_none() && !account.parent_account_id.is_empty() {
                return None;
            }
            Some(InForce {
                account: Arc::clone(account),
                parent,
                domain: documents.domain(&event.domain_id).cloned(),
            })
        })
    }

    pub(crate) fn measure(&self, work: &Work, attempted: &Attempted) {
        let family = work.event_type.family();
        let outcome = match (attempted.reason.as_str(), attempted.status) {
            ("ok", _) => "ok",
            ("status", 500..) => "5xx",
            ("status", 400..) => "4xx",
            ("status", 300..) => "3xx",
            ("status", _) => "2xx",
            ("refused", 0) => "refused",
            ("deferred", 0) => "deferred",
            _ => "no_answer",
        };
        match outcome {
            "ok" => ATTEMPTS_OK.of(family.number()).increment(1),
            _ => metrics::counter!("postrider_attempts_total", "family" => family.as_str(), "outcome" => outcome)
                .increment(1),
        }
        DURATION.of(family.number()).record(f64::from(attempted.duration_ms) / 1000.0);
        if let (0, Some(accepted)) = (work.delivery.hop, work.event.accepted_at.as_ref()) {
            let now = self.clock.now();
            let nanos = f64::from(now.timestamp_subsec_nanos()) - f64::from(accepted.nanos);
            let latency_s = (now.timestamp() - accepted.seconds) as f64 + nanos / 1e9;
            FIRST_LATENCY.of(family.number()).record(latency_s.max(0.0));
        }
        tracing::debug!(
            delivery.id = attempted.delivery_id,
            event.id = work.event.event.as_ref().map(|e| e.id.as_str()),
            attempt = attempted.attempt,
            status = attempted.status,
            reason = attempted.reason,
            duration_ms = attempted.duration_ms,
            is_alert = family == Family::Alert,
            "attempted"
        );
    }
}

/// Whether an alert goes a way that this version does not know: a newer one has made it.
fn has_unknown_channel(target: &Target, account: &AccountDocument) -> bool {
    let Some(TargetKind::Alert(alert)) = &target.kind else { return false };
    let setting = account.alerts.iter().find(|setting| setting.setting_id == alert.setting_id);
    setting.is_some_and(|setting| Channel::try_from(setting.channel).is_err())
}

/// The span of one try. The first one belongs to the trace of its event; those
/// that follow, hours later perhaps, have one of their own.
pub(crate) fn span(delivery: &Delivery, number: u32) -> Span {
    let begin = match (delivery.generation, delivery.hop) {
        (0, 0) => Span::after,
        _ => Span::led_to_by,
    };
    let mut span = begin("attempt", SpanKind::Client, &delivery.traceparent);
    span.text("postrider.delivery_id", &delivery.delivery_id);
    span.number("postrider.attempt", i64::from(number));
    span
}

/// Says in its span what has come of a try.
pub(crate) fn tell_span(span: &mut Span, reason: &str) {
    span.text("postrider.reason", reason);
    if reason != "ok" {
        span.fail(reason);
    }
}
