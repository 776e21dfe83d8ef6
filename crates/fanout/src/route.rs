//! One event: who hears of it, stored.

use std::time::Duration;

use bus::{BusError, Pulled};
use chassis::Handles;
use chassis::trace::{Span, SpanKind};
use metrics::Counter;
use model::{EventType, Family, Routing, Scope, route};
use prost::Message as _;
use protocol::Timestamp;
use protocol::v1::{AcceptedEvent, Delivery, Routed, outcome};

use crate::{Answer, Fanout};

/// By family.
static ROUTED: Handles<Counter, 2> = Handles::new(
    |family| metrics::counter!("postrider_events_routed_total", "family" => Family::ALL[family].as_str()),
);
static MADE: Handles<Counter, 2> = Handles::new(
    |family| metrics::counter!("postrider_deliveries_made_total", "family" => Family::ALL[family].as_str()),
);

impl Fanout {
    /// Decides and stores. Dying anywhere in here means that the broker hands
    /// the event out again, and everything is done once more: deliveries have
    /// the same ids and are marked as possibly existing, the routing record has
    /// the event's key, and so the second time changes nothing.
    pub(crate) async fn route(&self, pulled: &Pulled, settings_revision: u64) -> Answer {
        chassis::crash_point("fanout.pulled");
        let Some((event, event_type)) = decode(pulled) else {
            return Answer::Ack;
        };
        let Some(routing) = self.resolve(&event, event_type) else {
            // ingest knew the account and its parent, so the settings bucket must
            // have lost one: keep the event until somebody has put it right.
            tracing::error!(
                event.key = event.event_key,
                account.id = event.account_id,
                "an accepted event's account, or its parent, has no settings document"
            );
            return Answer::Again(Duration::from_secs(10));
        };
        let mut span = Span::after("route", SpanKind::Consumer, &event.traceparent);
        let now = self.clock.now();
        let account_id = event.account_id.as_str();
        let family = event_type.family().number();
        ROUTED.of(family).increment(1);
        MADE.of(family).increment(routing.chosen.len() as u64);

        let Routing { decisions, chosen } = routing;
        span.text("postrider.event_key", &event.event_key);
        span.number("postrider.deliveries", i64::try_from(chosen.len()).unwrap_or(i64::MAX));
        let traceparent = span.traceparent();
        let first_due = Some(Timestamp {
            seconds: now.timestamp(),
            nanos: now.timestamp_subsec_nanos().cast_signed(),
        });
        let writes = chosen.into_iter().map(|chosen| {
            let delivery = Delivery {
                delivery_id: chosen.delivery_id,
                event_key: event.event_key.clone(),
                target: Some(chosen.target),
                generation: 0,
                hop: 0,
                attempt: 0,
                uncharged_returns: 0,
                first_due,
                level: chosen.level.into(),
                accepted_event: pulled.payload().clone(),
                may_exist: pulled.may_be_redelivered(),
                parks: 0,
                mail: None,
                traceparent: traceparent.clone(),
                ..Delivery::default()
            };
            self.publish(delivery)
        });
        let routed = Routed {
            event_key: event.event_key.clone(),
            account_id: account_id.to_owned(),
            at: first_due,
            settings_revision,
            decisions,
        };
        let recorded = self.outcomes.record(account_id, outcome::Kind::Routed(routed));
        let (written, ()) = tokio::join!(futures_util::future::join_all(writes), recorded);
        chassis::crash_point("fanout.recorded");

        match written.into_iter().collect::<Result<Vec<()>, BusError>>() {
            Ok(_) => Answer::Ack,
            Err(error) => {
                span.fail(&error.to_string());
                tracing::warn!(%error, event.key = event.event_key, "a delivery was not stored, the event goes back");
                Answer::Again(Duration::from_secs(1))
            }
        }
    }

    async fn publish(&self, delivery: Delivery) -> Result<(), BusError> {
        // `Duplicate` is no error here: ids are hashes of event, target and
        // generation, so that what is there is this very delivery.
        self.bus.publish_delivery(&delivery).await?;
        chassis::crash_point("fanout.delivery_stored");
        Ok(())
    }

    fn resolve(&self, event: &AcceptedEvent, event_type: EventType) -> Option<Routing> {
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
            Some(route(event_type, &event.event_key, scope))
        })
    }
}

/// Reads the event. What cannot be read was not written by any version of
/// ingest: it is set aside, loudly, and must not block the rest.
fn decode(pulled: &Pulled) -> Option<(AcceptedEvent, EventType)> {
    let decoded = AcceptedEvent::decode(pulled.payload().clone()).ok();
    let decoded = decoded.and_then(|event| {
        let kind = event.event.as_ref()?.kind.as_ref()?;
        let event_type = EventType::of(kind);
        Some((event, event_type))
    });
    if decoded.is_none() {
        metrics::counter!("postrider_poisoned_total", "role" => "fanout").increment(1);
        tracing::error!(
            subject = pulled.subject(),
            sequence = pulled.stream_sequence(),
            "an event cannot be read and is set aside; it stays in the stream under this sequence"
        );
    }
    decoded
}
