//! The one way in, whatever the door.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bus::{Bus, BusError, Settings, Stored};
use bytes::Bytes;
use chassis::door::Caller;
use chassis::trace::Span;
use chassis::{Clock, Handles, crash_point, entropy};
use futures_util::future::join_all;
use metrics::Counter;
use model::{EventType, Family, event_key, validate};
use prost::Message as _;
use protocol::v1::{AcceptedEvent, Event};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::IngestConfig;
use crate::error::Refusal;
use crate::json::{Misread, Written};
use crate::quota::EventQuota;
use crate::resolve::Resolver;

/// Characters of a caller's name that are kept.
const CALLER_CHARS: usize = 128;
/// How many times as long an event may be in JSON as it is stored: a character may be written
/// as six, and what is in user variables may be JSON in JSON.
const MOST_WRITTEN: usize = 4;

/// Checks events and stores them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Acceptor {
    bus: Bus,
    settings: Settings,
    clock: Clock,
    max_event_bytes: usize,
    quota: Arc<EventQuota>,
    /// One for each event that waits for the broker's ack.
    slots: Arc<Semaphore>,
}

/// By family.
static ACCEPTED: Handles<Counter, 2> = Handles::new(
    |family| metrics::counter!("postrider_events_accepted_total", "family" => Family::ALL[family].as_str()),
);

/// What became of one event.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// As sent, or as filled in.
    pub(crate) id: String,
    /// Unless the event got stuck before that was known.
    family: Option<Family>,
    pub(crate) outcome: Result<Stored, Refusal>,
}

impl Answer {
    /// Counts this event, once, when its answer is final.
    pub(crate) fn counted(self) -> Self {
        match (&self.outcome, self.family) {
            (Ok(Stored::New), Some(family)) => ACCEPTED.of(family.number()).increment(1),
            (Ok(_), family) => {
                let family = family.map_or("unknown", Family::as_str);
                metrics::counter!("postrider_events_duplicate_total", "family" => family)
                    .increment(1);
            }
            (Err(refusal), _) => {
                let code = refusal.code().as_str_name();
                metrics::counter!("postrider_events_refused_total", "code" => code).increment(1);
            }
        }
        self
    }
}

/// Where an event comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// Who hands it over, for the event's journey: the name that it has proven, or
    /// else what it calls itself.
    pub(crate) caller: String,
    /// The span that it is handed over under, if that is known.
    pub(crate) traceparent: String,
}

impl Origin {
    /// The same for both doors. Whoever has proven no name is called by one that is
    /// given for this purpose, or by the client's program.
    pub(crate) fn of<'a>(
        caller: &Caller,
        header: impl Fn(&'static str) -> Option<&'a str>,
    ) -> Self {
        let given = || header("x-postrider-caller").filter(|name| !name.is_empty());
        let own = || given().or_else(|| header("user-agent"));
        let name = caller.0.as_deref().or_else(own).unwrap_or_default();
        Self {
            caller: name.chars().filter(|c| !c.is_control()).take(CALLER_CHARS).collect(),
            traceparent: header("traceparent").unwrap_or_default().to_owned(),
        }
    }
}

/// An event that cannot be read.
pub(crate) struct Unread {
    /// As sent, if that much can be read.
    pub(crate) id: String,
    pub(crate) refusal: Refusal,
}

/// An event that is right and complete, but not stored yet.
pub(crate) struct Prepared {
    id: String,
    event_type: EventType,
    account_id: String,
    event_key: String,
    payload: Bytes,
    span: Span,
}

impl Acceptor {
    pub(crate) fn new(bus: Bus, settings: Settings, clock: Clock, config: &IngestConfig) -> Self {
        let slots = Arc::new(Semaphore::new(config.concurrency));
        let quota = EventQuota::new(config.events_per_second, config.events_burst);
        let max_event_bytes = config.max_event_bytes;
        Self { bus, settings, clock, max_event_bytes, quota: Arc::new(quota), slots }
    }

    /// Stores the events of one request, all at once, and answers in their order.
    ///
    /// An event that the request repeats is stored once: the second has the
    /// first one's answer, or is its duplicate.
    ///
    /// They are read one after the other: memory holds them as they came and as they are
    /// stored, and one of them as it is worked on.
    pub(crate) async fn accept_all(
        &self,
        events: impl ExactSizeIterator<Item = Result<Event, Unread>>,
        origin: &Origin,
    ) -> Vec<Answer> {
        let mut resolver = self.resolver();
        let mut steps = Vec::with_capacity(events.len());
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (position, event) in events.enumerate() {
            let step = match self.prepare(event, origin, &mut resolver).await {
                Ok(prepared) => match seen.get(&prepared.event_key) {
                    Some(&first) => Step::RepeatOf(first, prepared.id),
                    None => {
                        seen.insert(prepared.event_key.clone(), position);
                        Step::Publish(prepared)
                    }
                },
                Err(answer) => Step::Refused(answer),
            };
            steps.push(step);
        }
        let answers = join_all(steps.into_iter().map(|step| {
            in_turn(async move {
                match step {
                    Step::Publish(prepared) => {
                        let slot = self.slot().await;
                        Ok(self.publish(prepared, slot).await)
                    }
                    Step::Refused(answer) => Ok(answer),
                    Step::RepeatOf(first, id) => Err((first, id)),
                }
            })
        }))
        .await;
        let mut all: Vec<Answer> = Vec::with_capacity(answers.len());
        for answer in answers {
            // The first is always further to the front.
            all.push(answer.unwrap_or_else(|(first, id)| {
                let outcome = all[first].outcome.clone().map(|_| Stored::Duplicate);
                Answer { id, family: all[first].family, outcome }
            }));
        }
        all.into_iter().map(Answer::counted).collect()
    }

    /// For the events of one request, or for one event of a stream.
    pub(crate) fn resolver(&self) -> Resolver<'_> {
        Resolver::new(&self.settings, self.bus.is_connected())
    }

    /// Waits until one more event may be on its way to the broker.
    pub(crate) async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed; without a permit there is just no bound.
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }

    /// Checks one event and completes it. Nothing is stored yet.
    pub(crate) async fn prepare(
        &self,
        event: Result<Event, Unread>,
        origin: &Origin,
        resolver: &mut Resolver<'_>,
    ) -> Result<Prepared, Answer> {
        let mut event = event.map_err(|Unread { id, refusal }| Answer {
            id,
            family: None,
            outcome: Err(refusal),
        })?;
        // First of all, so that nothing below works on something huge.
        let checked = self.check_size(event.encoded_len()).and_then(|()| {
            validate::normalise(&mut event);
            validate::event(&event).map_err(Refusal::Invalid)
        });
        let event_type = match checked {
            Ok(event_type) => event_type,
            Err(refusal) => {
                return Err(Answer { id: event.id, family: None, outcome: Err(refusal) });
            }
        };
        let mut span = Span::accepting("accept", &origin.traceparent);
        let family = event_type.family();
        let refused = |id, refusal| Answer { id, family: Some(family), outcome: Err(refusal) };
        let owner = match resolver.resolve(&event, family).await {
            Ok(owner) => owner,
            Err(refusal) => return Err(refused(event.id, refusal)),
        };
        let now = self.clock.now();
        if event.id.is_empty() {
            event.id = self.make_id(family);
        }
        let id = event.id.clone();
        event.timestamp.get_or_insert_with(|| now.into());
        event.account = owner.account_name;
        event.domain = owner.domain_name;
        let event_key = event_key(&owner.account_id, event_type, &id);
        let accepted = AcceptedEvent {
            event_key: event_key.clone(),
            account_id: owner.account_id.clone(),
            domain_id: owner.domain_id,
            accepted_at: Some(now.into()),
            event: Some(event),
            caller: origin.caller.clone(),
            traceparent: span.traceparent(),
            // A caller that repeats the event within its window gets the stored one's:
            // the broker keeps the first bytes.
            acceptance: format!("{:016x}", u64::from_be_bytes(entropy::bytes())),
        };
        span.text("postrider.event_id", &id);
        span.text("postrider.event_type", event_type.as_str());
        span.text("postrider.account_id", &owner.account_id);
        if let Err(refusal) = self.check_size(accepted.encoded_len()) {
            return Err(refused(id, refusal));
        }
        if let Err(too_many) = self.quota.take(&owner.primary_id, owner.events_per_second, now) {
            return Err(refused(id, Refusal::OverQuota(too_many)));
        }
        let payload = accepted.encode_to_vec().into();
        Ok(Prepared { id, event_type, account_id: owner.account_id, event_key, payload, span })
    }

    /// Stores an event. Says yes only after the broker's ack.
    pub(crate) async fn publish(
        &self,
        prepared: Prepared,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Answer {
        let Prepared { id, event_type, account_id, event_key, payload, mut span } = prepared;
        let size_bytes = payload.len();
        // Dying here leaves nothing stored, and the caller without an answer.
        crash_point("ingest.prepared");
        let stored = self.bus.publish_event(event_type, &account_id, &event_key, payload).await;
        // Dying here leaves the event stored and the caller without an answer;
        // it sends the event again, which the broker recognises.
        crash_point("ingest.stored");
        drop(slot);
        match &stored {
            Ok(Stored::New) => {}
            Ok(Stored::Duplicate) => span.text("postrider.stored", "duplicate"),
            Err(error) => span.fail(&error.to_string()),
        }
        let outcome = stored.map_err(|error| match error {
            BusError::Refused(why) => Refusal::Full(why),
            // Larger than what the broker told at the start; it was reconfigured since.
            BusError::TooLarge => {
                Refusal::TooLarge { size_bytes, limit_bytes: self.bus.max_payload_bytes() }
            }
            other => Refusal::Unavailable(other.to_string()),
        });
        Answer { id, family: Some(event_type.family()), outcome }
    }

    /// Decodes an event of gRPC.
    pub(crate) fn decode(&self, event: Bytes) -> Result<Event, Unread> {
        let unread = |refusal| Unread { id: String::new(), refusal };
        self.check_size(event.len()).map_err(unread)?;
        Event::decode(event).map_err(|error| unread(Refusal::invalid("", error.to_string())))
    }

    /// Reads an event in JSON.
    pub(crate) fn read(&self, written: Written<'_>) -> Result<Event, Unread> {
        let (size_bytes, limit_bytes) = (written.len(), MOST_WRITTEN * self.max_event_bytes);
        if size_bytes > limit_bytes {
            let refusal = Refusal::TooLarge { size_bytes, limit_bytes };
            return Err(Unread { id: String::new(), refusal });
        }
        written.read().map_err(|Misread { id, field, message }| Unread {
            id,
            refusal: Refusal::invalid(field, message),
        })
    }

    fn check_size(&self, size_bytes: usize) -> Result<(), Refusal> {
        let limit_bytes = self.max_event_bytes;
        if size_bytes > limit_bytes {
            return Err(Refusal::TooLarge { size_bytes, limit_bytes });
        }
        Ok(())
    }

    /// An id of the shape that customers know: a UUID in alerts, the same
    /// sixteen bytes as base64url in message events (API reference, 7.4 and 9.4).
    fn make_id(&self, family: Family) -> String {
        let millis = self.clock.now().timestamp_millis().try_into().unwrap_or(0);
        let id: Uuid =
            uuid::Builder::from_unix_timestamp_millis(millis, &entropy::bytes()).into_uuid();
        match family {
            Family::Alert => id.hyphenated().to_string(),
            Family::Message => URL_SAFE_NO_PAD.encode(id),
        }
    }
}

/// Lets many of these, begun one after the other, reach the broker in that
/// order. Without this the scheduler's budget would interrupt some of them at
/// their very beginning, and let the later ones overtake.
pub(crate) fn in_turn<F: Future>(storing: F) -> impl Future<Output = F::Output> {
    tokio::task::coop::unconstrained(storing)
}

enum Step {
    Publish(Prepared),
    /// The same event stands at this position already.
    RepeatOf(usize, String),
    Refused(Answer),
}
