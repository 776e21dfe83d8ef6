//! One event: who hears of it, stored.

use std::time::Duration;

use bus::{BusError, Pulled};
use chassis::Handles;
use chassis::trace::{Span, SpanKind};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt as _, stream};
use metrics::Counter;
use model::{EventType, Family, Identity, Routing, Scope, route};
use protocol::v1::decision::Verdict;
use protocol::v1::{AcceptedEvent, Delivery, Routed, outcome};

use crate::unrouted::{Lack, Taken};
use crate::{Answer, Fanout, again};

/// By family.
static ROUTED: Handles<Counter, 2> = Handles::new(
    |family| metrics::counter!("postrider_events_routed_total", "family" => Family::ALL[family].as_str()),
);
static MADE: Handles<Counter, 2> = Handles::new(
    |family| metrics::counter!("postrider_deliveries_made_total", "family" => Family::ALL[family].as_str()),
);

/// Deliveries of one event that are written at once: each has a copy of it.
const WRITES_AT_ONCE: usize = 32;
/// Times that a delivery may be refused as too large in place, within a quarter of a minute:
/// a stream that takes nothing for a moment says the same.
pub(crate) const REFUSED_TIMES: u64 = 5;
/// For how long the refused part of an event's deliveries is tried again. The other part is
/// written again each time, and its end is looked up for five minutes.
const PARTLY_REFUSED_FOR: Duration = Duration::from_secs(180);
/// How far the broker's clock may be ahead of ours and is still believed.
const BROKER_AHEAD: TimeDelta = TimeDelta::days(1);

impl Fanout {
    /// Decides and stores. Dying anywhere in here means that the broker hands
    /// the event out again, and everything is done once more: deliveries have
    /// the same ids and are marked as possibly existing, the routing record has
    /// the event's key and the moment of its storing, and so the second time changes
    /// nothing.
    pub(crate) async fn route(
        &self,
        is_accepted: bool,
        pulled: &Pulled,
        settings_revision: u64,
    ) -> Answer {
        chassis::crash_point("fanout.pulled");
        let Some(taken) = Taken::read(is_accepted, pulled) else {
            return set_aside(pulled);
        };
        let Some(event_type) = taken.event_type else {
            // ingest accepts no event without a kind: a newer one knows this one's.
            return Box::pin(self.wait(taken, Lack::Kind, settings_revision)).await;
        };
        let event = &taken.event;
        let Some(routing) = self.resolve(event, event_type) else {
            // ingest knew the account and its parent, so the settings bucket must have
            // lost one.
            return Box::pin(self.wait(taken, Lack::Settings, settings_revision)).await;
        };
        let mut span = Span::after("route", SpanKind::Consumer, &event.traceparent);
        let account_id = event.account_id.as_str();
        let family = event_type.family().number();

        let Routing { decisions, chosen } = routing;
        let made = chosen.len();
        span.text("postrider.event_key", &event.event_key);
        span.number("postrider.deliveries", i64::try_from(made).unwrap_or(i64::MAX));
        let traceparent = span.traceparent();
        let may_exist = (pulled.may_be_redelivered() || taken.has_waited())
            && !chassis::mutant("fanout_never_may_exist");
        let first_due = self.first_due(taken.stored_at);
        let writes = chosen.into_iter().map(|chosen| {
            let delivery = Delivery {
                delivery_id: chosen.delivery_id,
                event_key: event.event_key.clone(),
                target: Some(chosen.target),
                generation: 0,
                hop: 0,
                attempt: 0,
                uncharged_returns: 0,
                first_due: Some(first_due.into()),
                level: chosen.level.into(),
                accepted_event: taken.bytes.clone(),
                may_exist,
                parks: 0,
                mail: None,
                traceparent: traceparent.clone(),
                ..Delivery::default()
            };
            self.publish(delivery)
        });
        let mut routed = Routed {
            event_key: event.event_key.clone(),
            account_id: account_id.to_owned(),
            at: Some(taken.stored_at.into()),
            settings_revision,
            decisions,
        };
        // A process that was frozen may thaw here, when another one has the event and is
        // done with it. If nobody has it, it comes back.
        let lease = self.bus.config().lease;
        if pulled.lease_may_be_lost(lease) && !chassis::mutant("fanout_thaws_blindly") {
            return Answer::Leave;
        }
        if chassis::mutant("route_record_before_writes") {
            let routed = Routed { at: Some(self.clock.now().into()), ..routed.clone() };
            self.outcomes.record(account_id, outcome::Kind::Routed(routed)).await;
        }
        chassis::crash_point("fanout.before_writes");
        let written: Vec<_> = stream::iter(writes).buffer_unordered(WRITES_AT_ONCE).collect().await;
        let refused: Vec<_> =
            written.into_iter().filter_map(|(id, stored)| Some((id, stored.err()?))).collect();
        let other = refused.iter().find(|(_, error)| !matches!(error, BusError::TooLarge));
        if let Some((_, error)) = other.or(refused.first()) {
            span.fail(&error.to_string());
            tracing::warn!(%error, event.key = event.event_key, "a delivery was not stored");
            if chassis::mutant("fanout_ack_refused") {
                return Answer::Ack;
            }
            // How old the event is says nothing of how long it was refused.
            let is_new = !taken.has_waited() && pulled.times_handed_out() < REFUSED_TIMES;
            if other.is_some() || is_new {
                return again(pulled);
            }
            let mut patience = self.config.unrouted.patience;
            if refused.len() < made {
                patience = patience.min(PARTLY_REFUSED_FOR);
            }
            if !taken.was_refused_for(patience, self.clock.now()) {
                return Box::pin(self.wait(taken, Lack::Size, settings_revision)).await;
            }
            give_up_too_large(&mut routed, &refused);
        }
        // Only now: it says that these deliveries were made.
        self.outcomes.record(account_id, outcome::Kind::Routed(routed)).await;
        chassis::crash_point("fanout.recorded");
        ROUTED.of(family).increment(1);
        MADE.of(family).increment((made - refused.len()) as u64);
        Answer::Ack
    }

    async fn publish(&self, delivery: Delivery) -> (String, Result<(), BusError>) {
        // `Duplicate` is no error here: ids are hashes of an acceptance of the event and
        // the target, so that what is there is this very delivery.
        let stored = self.bus.publish_delivery(&delivery).await.map(drop);
        if stored.is_ok() {
            chassis::crash_point("fanout.delivery_stored");
        }
        (delivery.delivery_id, stored)
    }

    /// The moment from which a delivery's schedule counts. Not before the broker, by whose
    /// clock schedules fire, has stored the event: with a clock that is behind, the
    /// schedule would be over before it begins.
    fn first_due(&self, stored_at: DateTime<Utc>) -> DateTime<Utc> {
        let now = self.clock.now();
        now.max(stored_at.min(now + BROKER_AHEAD))
    }

    fn resolve(&self, event: &AcceptedEvent, event_type: EventType) -> Option<Routing> {
        let forgets = chassis::mutant("same_id_after_window");
        let acceptance = if forgets { "" } else { event.acceptance.as_str() };
        let identity = Identity { event_key: &event.event_key, acceptance };
        self.settings.read(|documents| {
            let account = documents.account(&event.account_id)?;
            let parent = documents.account(&account.parent_account_id);
            if parent.is_none() && !account.parent_account_id.is_empty() {
                return None;
            }
            let domain = documents.domain(&event.domain_id);
            let scope = Scope {
                account,
                parent: parent.map(AsRef::as_ref),
                domain: domain.map(AsRef::as_ref),
            };
            Some(route(event_type, identity, scope))
        })
    }
}

/// Says of deliveries that are larger than the broker takes that there are none.
fn give_up_too_large(routed: &mut Routed, refused: &[(String, BusError)]) {
    for decision in &mut routed.decisions {
        if refused.iter().any(|(id, _)| *id == decision.delivery_id) {
            decision.set_verdict(Verdict::TooLarge);
            decision.delivery_id.clear();
        }
    }
    let reason = "too_large";
    tracing::error!(
        event.key = routed.event_key,
        account.id = routed.account_id,
        reason,
        deliveries = refused.len(),
        "deliveries of an accepted event are larger than the broker takes and are given up"
    );
    metrics::counter!("postrider_events_given_up_total", "reason" => reason).increment(1);
}

/// What cannot be read was not written by any version of ingest: it is set aside, loudly,
/// and must not block the rest.
fn set_aside(pulled: &Pulled) -> Answer {
    metrics::counter!("postrider_poisoned_total", "role" => "fanout").increment(1);
    tracing::error!(
        subject = pulled.subject(),
        sequence = pulled.stream_sequence(),
        "an event cannot be read and is set aside; it stays in the stream under this sequence"
    );
    Answer::Ack
}
