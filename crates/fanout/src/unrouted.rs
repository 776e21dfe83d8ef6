//! Events that cannot be routed: they wait where they hold up nobody, for a bounded time and
//! in a bounded number, and then end under a name of their own.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bus::{Bus, BusError, Unrouted};
use chrono::{DateTime, TimeDelta, Utc};
use model::EventType;
use prost::Message as _;
use prost::bytes::Bytes;
use protocol::v1::decision::Verdict;
use protocol::v1::{AcceptedEvent, Decision, Routed, UnroutedEvent, outcome};
use tokio::sync::Mutex;

use crate::route::REFUSED_TIMES;
use crate::{Answer, Fanout, LONGEST_PAUSE, UnroutedLimits, again};

/// How long the first wait is; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// How long a wait is at most: what it lacks may be there at any time.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What an event lacks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lack {
    /// The document of its account, or of the account's parent.
    Settings,
    /// A fanout that knows its kind.
    Kind,
    /// A broker that takes deliveries of its size.
    Size,
}

impl Lack {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Settings => "no_settings",
            Self::Kind => "unknown_kind",
            Self::Size => "too_large",
        }
    }

    const fn verdict(self) -> Verdict {
        match self {
            Self::Settings => Verdict::NoSettings,
            Self::Kind => Verdict::UnknownKind,
            Self::Size => Verdict::TooLarge,
        }
    }

    const fn patience(self, limits: &UnroutedLimits) -> Duration {
        match self {
            Self::Settings | Self::Size => limits.patience,
            Self::Kind => limits.kind_patience,
        }
    }
}

/// An event that was taken, from wherever.
pub(crate) struct Taken<'a> {
    pub(crate) pulled: &'a bus::Pulled,
    /// As it was stored.
    pub(crate) bytes: Bytes,
    pub(crate) event: AcceptedEvent,
    /// `None` for a kind that this version does not know.
    pub(crate) event_type: Option<EventType>,
    /// When the broker stored it in the stream of events.
    pub(crate) stored_at: DateTime<Utc>,
    /// Since when it has waited to be routed, and how often it was looked at.
    waits: Option<(DateTime<Utc>, u32)>,
    /// Since when the broker finds its deliveries too large.
    refused_since: Option<DateTime<Utc>>,
}

impl<'a> Taken<'a> {
    /// Reads it. `None` for what no version of ingest wrote.
    pub(crate) fn read(is_accepted: bool, pulled: &'a bus::Pulled) -> Option<Self> {
        let payload = pulled.payload().clone();
        let (bytes, stored_at, waits, refused_since) = if is_accepted {
            (payload, pulled.stored_at(), None, None)
        } else {
            let waiting = UnroutedEvent::decode(payload).ok()?;
            let since = moment(waiting.waits_since.as_ref()).unwrap_or_else(|| pulled.stored_at());
            let stored_at = moment(waiting.stored_at.as_ref()).unwrap_or(since);
            let refused_since = moment(waiting.refused_since.as_ref());
            (waiting.accepted_event, stored_at, Some((since, waiting.rounds)), refused_since)
        };
        let event = AcceptedEvent::decode(bytes.clone()).ok()?;
        let event_type = event.event.as_ref()?.kind.as_ref().map(EventType::of);
        Some(Self { pulled, bytes, event, event_type, stored_at, waits, refused_since })
    }

    pub(crate) fn has_waited(&self) -> bool {
        self.waits.is_some()
    }

    /// Whether the broker has found its deliveries too large for so long. What cannot even
    /// wait comes back in place.
    pub(crate) fn was_refused_for(&self, patience: Duration, now: DateTime<Utc>) -> bool {
        let refused = match self.refused_since {
            Some(since) => (now - since).to_std().unwrap_or_default(),
            None => {
                let again = self.pulled.times_handed_out().saturating_sub(REFUSED_TIMES);
                LONGEST_PAUSE.saturating_mul(u32::try_from(again).unwrap_or(u32::MAX))
            }
        };
        refused >= patience
    }
}

impl Fanout {
    /// Lets an event wait for what it lacks, or gives it up.
    ///
    /// Dying anywhere in here means that it is handed out again, and finds itself waiting,
    /// or is given up by the same record.
    pub(crate) async fn wait(&self, taken: Taken<'_>, lack: Lack, revision: u64) -> Answer {
        let now = self.clock.now();
        let account_id = taken.event.account_id.as_str();
        let (since, rounds) = match taken.waits {
            Some((since, rounds)) => (since, rounds + 1),
            None => (now, 0),
        };
        let patience = lack.patience(&self.config.unrouted);
        let patience = TimeDelta::from_std(patience).unwrap_or(TimeDelta::MAX);
        let rest = (since + patience - now).to_std().unwrap_or_default();
        let may_end = match lack {
            // While the bucket is being filled again, nobody knows what is missing.
            Lack::Settings => self.settings.is_complete(),
            Lack::Kind => true,
            // Some of its deliveries may be stored, so that whoever writes them ends it.
            Lack::Size => false,
        };
        if rest.is_zero() && may_end {
            return self.give_up(&taken, lack.verdict(), revision).await;
        }
        let waiting = UnroutedEvent {
            accepted_event: taken.bytes.clone(),
            stored_at: Some(taken.stored_at.into()),
            waits_since: Some(since.into()),
            rounds,
            refused_since: (lack == Lack::Size).then(|| taken.refused_since.unwrap_or(now).into()),
        };
        // Spread, because everything that is due at once is loaded at once.
        let wait = FIRST_WAIT.saturating_mul(1 << rounds.min(16)).min(LONGEST_WAIT);
        let wait = wait.mul_f64(0.75 + chassis::entropy::fraction() / 2.0);
        let wait = if may_end { wait.min(rest) } else { wait };
        let stored = if taken.has_waited() {
            self.bus.wait_longer(&waiting, taken.pulled, wait).await.map(drop)
        } else {
            match self.room.take(&self.bus, account_id, &taken.bytes, &self.config.unrouted).await {
                Ok(true) => self.bus.wait_unrouted(&waiting, taken.pulled, now + wait).await,
                // The broker takes nothing at all, perhaps: no reason to give everything up.
                Ok(false) if lack == Lack::Size => return again(taken.pulled),
                Ok(false) => return self.give_up(&taken, Verdict::TooManyUnrouted, revision).await,
                Err(error) => Err(error),
            }
        };
        match stored {
            Ok(()) => {
                if !taken.has_waited() {
                    metrics::counter!("postrider_events_unrouted_total", "reason" => lack.as_str())
                        .increment(1);
                    tracing::warn!(
                        event.key = taken.event.event_key,
                        account.id = account_id,
                        reason = lack.as_str(),
                        "an accepted event cannot be routed, and waits"
                    );
                }
                Answer::Ack
            }
            Err(error) => {
                tracing::warn!(%error, event.key = taken.event.event_key, "an event that cannot be routed goes back");
                again(taken.pulled)
            }
        }
    }

    /// Ends an event without a delivery. History has its body and this decision; handed
    /// over again by its caller, it is routed anew.
    async fn give_up(&self, taken: &Taken<'_>, verdict: Verdict, settings_revision: u64) -> Answer {
        let AcceptedEvent { event_key, account_id, .. } = &taken.event;
        let mut decision = Decision::default();
        decision.set_verdict(verdict);
        let reason = verdict.as_str_name().to_ascii_lowercase();
        tracing::error!(
            event.key = event_key,
            account.id = account_id,
            reason,
            "an accepted event could not be routed and is given up"
        );
        metrics::counter!("postrider_events_given_up_total", "reason" => reason).increment(1);
        let routed = Routed {
            event_key: event_key.clone(),
            account_id: account_id.clone(),
            at: Some(taken.stored_at.into()),
            settings_revision,
            decisions: vec![decision],
        };
        self.outcomes.record(account_id, outcome::Kind::Routed(routed)).await;
        Answer::Ack
    }
}

pub(crate) fn moment(at: Option<&protocol::Timestamp>) -> Option<DateTime<Utc>> {
    let at = at?;
    DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?)
}

/// How much more may wait. Several processes count each for itself in between, so that
/// the limits hold but for what arrives within [`ASK_EVERY`].
#[derive(Default)]
pub(crate) struct Room {
    accounts: Mutex<HashMap<String, (Instant, Counted)>>,
}

/// What the broker said, and what was added since.
type Counted = Result<Unrouted, BusError>;

/// How often the broker is asked how much of an account waits.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// Accounts that are counted; beyond that, those that were asked about long ago go.
const ACCOUNTS: usize = 1000;

impl Room {
    /// Whether one more event of this account may wait.
    async fn take(
        &self,
        bus: &Bus,
        account_id: &str,
        bytes: &Bytes,
        limits: &UnroutedLimits,
    ) -> Result<bool, BusError> {
        let mut accounts = self.accounts.lock().await;
        let is_fresh = |asked: Instant| asked.elapsed() < ASK_EVERY;
        if !accounts.get(account_id).is_some_and(|(asked, _)| is_fresh(*asked)) {
            if accounts.len() >= ACCOUNTS {
                accounts.retain(|_, (asked, _)| is_fresh(*asked));
            }
            // A failure is shared as well, or each event would wait for one of its own.
            let found = bus.unrouted_of(account_id).await;
            accounts.insert(account_id.to_owned(), (Instant::now(), found));
        }
        let Some((_, waiting)) = accounts.get_mut(account_id) else { return Ok(false) };
        let waiting = waiting.as_mut().map_err(|error| error.clone())?;
        let size = bytes.len() as u64;
        let fits = waiting.events < limits.account_events
            && waiting.bytes + size <= limits.account_bytes
            && waiting.total_bytes + size <= limits.bytes;
        if fits {
            waiting.events += 1;
            waiting.bytes += size;
            waiting.total_bytes += size;
        }
        Ok(fits)
    }
}
