//! How journeys are shown.

use chrono::{DateTime, SecondsFormat, Utc};
use prost::Message as _;
use protocol::v1::Event;
use serde::Serialize;
use serde_json::Value;
use store::history::{AcceptedRow, AttemptRow, DecisionRow, Journey, KnownEnd, RoutedRow, Uuid};
use utoipa::ToSchema;

use super::story::Story;
use super::words;
use crate::events::item;
use crate::viewer::Viewer;

/// What has become of an event.
#[derive(Serialize, ToSchema)]
#[schema(as = Journey)]
pub(super) struct JourneyView {
    event: EventView,
    /// All of it in one sentence.
    explanation: String,
    /// None before it is routed; several where that was done twice.
    routings: Vec<RoutingView>,
    /// In the order in which their targets were chosen, each with its resends
    /// behind it.
    deliveries: Vec<DeliveryView>,
    /// False when there is more of it than is shown.
    is_whole: bool,
}

#[derive(Serialize, ToSchema)]
#[schema(as = JourneyEvent)]
struct EventView {
    #[serde(flatten)]
    name: EventName,
    /// When it was handed over, and by whom; several times where that was done
    /// again after it had been forgotten.
    accepted: Vec<Acceptance>,
    /// As deliveries and the Events API have it, unredacted; `null` when it cannot
    /// be shown.
    #[schema(required, value_type = Option<serde_json::Map<String, Value>>)]
    payload: Option<Value>,
}

/// Which event.
#[derive(Serialize, ToSchema)]
#[schema(as = JourneyEventName)]
pub(crate) struct EventName {
    id: String,
    /// As webhooks and alerts are named.
    event_type: String,
    /// Of message events.
    #[schema(required)]
    domain: Option<String>,
    /// When it happened, as its payload says.
    #[schema(format = DateTime)]
    occurred_at: String,
}

#[derive(Serialize, ToSchema)]
struct Acceptance {
    #[schema(format = DateTime)]
    at: String,
    /// May be empty.
    caller: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = JourneyRouting)]
struct RoutingView {
    #[schema(format = DateTime)]
    routed_at: String,
    /// Raised by every change of settings: those that were in force.
    settings_revision: u64,
    /// One for each webhook or alert setting that was looked at, the highest level
    /// first. Empty when none was for this event.
    decisions: Vec<DecisionView>,
}

/// What became of one webhook or alert setting.
#[derive(Serialize, ToSchema)]
#[schema(as = JourneyDecision)]
pub(crate) struct DecisionView {
    /// `chosen`, `duplicate`, `disabled`, `paused`, `account_not_open` or
    /// `domain_disabled`.
    verdict: String,
    /// The same, for people.
    explanation: String,
    /// `parent_account`, `account`, `domain` or `alert`.
    level: String,
    /// Of the account's webhook, the domain or the alert setting; `null` where it
    /// is another account's.
    #[schema(required)]
    subscription_id: Option<String>,
    /// At that time; `null` for mailboxes.
    #[schema(required)]
    url: Option<String>,
    /// The delivery that it led to.
    #[schema(required)]
    delivery_id: Option<String>,
    /// Of a duplicate: the subscription that was chosen instead.
    #[schema(required)]
    duplicate_of: Option<String>,
    /// Of a disabled alert setting.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    disabled_since: Option<String>,
}

/// A delivery, its tries, its end, and what is next.
#[derive(Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(super) struct DeliveryView {
    delivery_id: String,
    /// 0, or which resend.
    generation: u32,
    /// Where it was to go when it was made; `null` for mailboxes.
    #[schema(required)]
    url: Option<String>,
    /// Of an alert.
    #[schema(required)]
    alert_setting_id: Option<String>,
    attempts: Vec<AttemptView>,
    /// `null` while it is under way.
    #[schema(required)]
    end: Option<EndView>,
    next: NextView,
}

/// One delivery, and of which event.
#[derive(Serialize, ToSchema)]
pub(super) struct OneDelivery {
    /// `null` when it is kept no longer.
    #[schema(required)]
    pub(super) event: Option<EventName>,
    pub(super) delivery: DeliveryView,
}

/// A try, or a return that was not charged to the receiver.
#[derive(Serialize, ToSchema)]
#[schema(as = Attempt)]
struct AttemptView {
    /// Number of this try, from 1; uncharged, the tries so far.
    attempt: u32,
    /// False for what was not the receiver's fault, and costs no try.
    charged: bool,
    #[schema(format = DateTime)]
    started_at: String,
    duration_ms: u32,
    /// Empty when it went nowhere.
    url: String,
    /// HTTP status; `null` without an answer.
    #[schema(required)]
    status: Option<u32>,
    /// `ok`, or why it failed, as a short name.
    reason: String,
    /// For people.
    detail: String,
    /// The first bytes of the answer.
    response: String,
    #[schema(required, value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<String>,
}

/// How a delivery ended.
#[derive(Serialize, ToSchema)]
#[schema(as = DeliveryEnd)]
pub(crate) struct EndView {
    /// `delivered`, `rejected`, `exhausted`, `expired`, `suppressed`, `held` or
    /// `poisoned`.
    outcome: String,
    /// Why, as a short name.
    reason: String,
    /// Why, for people.
    explanation: String,
    #[schema(format = DateTime)]
    ended_at: String,
    /// Tries that were charged.
    attempts: i64,
    /// Whether its body is still kept. What was delivered is made anew from its
    /// event when it is sent again.
    is_body_kept: bool,
    #[schema(required, value_type = Option<String>, format = DateTime)]
    sent_again_at: Option<String>,
    /// The delivery that it was sent again as.
    #[schema(required)]
    sent_again_as: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DeliveryNext)]
struct NextView {
    /// `due` now, `waiting` for its next try, or `ended`.
    state: &'static str,
    /// When the next try is due.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    at: Option<String>,
    explanation: String,
}

impl JourneyView {
    pub(super) fn of(
        viewer: Viewer,
        accepted: &[AcceptedRow],
        event: &AcceptedRow,
        journey: &Journey,
        stories: &[Story<'_>],
    ) -> Self {
        let name = EventName::of(event);
        let routing = |routing: &RoutedRow| RoutingView {
            routed_at: rfc3339(routing.routed_at),
            settings_revision: routing.settings_revision,
            decisions: DecisionView::all(viewer, &routing.decisions),
        };
        let acceptances = accepted
            .iter()
            .map(|row| Acceptance { at: rfc3339(row.accepted_at), caller: row.caller.clone() });
        Self {
            explanation: words::whole(&name.event_type, name.domain.as_deref(), journey, stories),
            event: EventView {
                name,
                accepted: acceptances.collect(),
                payload: item::payload(&event.account_id, &event.event),
            },
            routings: journey.routings.iter().map(routing).collect(),
            deliveries: stories.iter().map(|story| DeliveryView::of(viewer, story)).collect(),
            is_whole: journey.is_whole,
        }
    }
}

impl EventName {
    pub(crate) fn of(event: &AcceptedRow) -> Self {
        Self::new(&event.event_id, &event.event_type, &event.event, event.occurred_at)
    }

    /// `event` is the stored one.
    pub(crate) fn new(
        id: &str,
        event_type: &str,
        event: &[u8],
        occurred_at: DateTime<Utc>,
    ) -> Self {
        Self {
            id: id.to_owned(),
            event_type: event_type.to_owned(),
            domain: domain_of(event),
            occurred_at: rfc3339(occurred_at),
        }
    }
}

/// The domain that a stored event names.
fn domain_of(event: &[u8]) -> Option<String> {
    let event = Event::decode(event).ok()?;
    (!event.domain.is_empty()).then_some(event.domain)
}

/// `None` for mailboxes, which have none.
fn url_of(viewer: Viewer, decision: &DecisionRow) -> Option<String> {
    let url = viewer.url(Some(&decision.level), &decision.url);
    (!url.is_empty()).then_some(url)
}

impl DecisionView {
    /// All that were made at one time.
    pub(crate) fn all(viewer: Viewer, decisions: &[DecisionRow]) -> Vec<Self> {
        let parents: Vec<&str> = decisions
            .iter()
            .filter(|decision| !viewer.sees_level(Some(&decision.level)))
            .map(|decision| decision.subscription_id.as_str())
            .collect();
        let view = |decision: &DecisionRow| {
            let is_seen = viewer.sees_level(Some(&decision.level));
            let duplicate_of = decision.duplicate_of.clone();
            Self {
                verdict: decision.verdict.clone(),
                explanation: words::verdict(decision),
                level: decision.level.clone(),
                subscription_id: is_seen.then(|| decision.subscription_id.clone()),
                url: url_of(viewer, decision),
                delivery_id: decision.delivery_id.map(hex),
                duplicate_of: duplicate_of.filter(|id| !parents.contains(&id.as_str())),
                disabled_since: decision.disabled_at.map(rfc3339),
            }
        };
        decisions.iter().map(view).collect()
    }
}

impl DeliveryView {
    pub(super) fn of(viewer: Viewer, story: &Story<'_>) -> Self {
        let decided = story.decision.map(|decision| decision.level.as_str());
        let attempts = story.attempts.iter().map(|attempt| {
            // Of an earlier version what was decided says it.
            AttemptView::of(viewer, attempt.level.as_deref().or(decided), attempt)
        });
        let attempts: Vec<_> = attempts.collect();
        let tried = attempts.iter().map(|attempt| attempt.url.clone()).rfind(|url| !url.is_empty());
        let url = match story.decision {
            Some(decision) => url_of(viewer, decision),
            None => tried,
        };
        let alert = story.decision.filter(|decision| decision.level == "alert");
        Self {
            delivery_id: hex(story.id),
            generation: story.generation,
            url,
            alert_setting_id: alert.map(|decision| decision.subscription_id.clone()),
            attempts,
            end: story.end.map(EndView::of),
            next: NextView::of(story),
        }
    }
}

impl AttemptView {
    /// `level` is that of the webhook or alert setting that was tried for.
    fn of(viewer: Viewer, level: Option<&str>, attempt: &AttemptRow) -> Self {
        Self {
            attempt: attempt.attempt,
            charged: attempt.charged,
            started_at: rfc3339(attempt.started_at),
            duration_ms: attempt.duration_ms,
            url: viewer.url(level, &attempt.url),
            status: attempt.status,
            reason: attempt.reason.clone(),
            detail: attempt.detail.clone(),
            response: viewer.response(level, &attempt.response_snippet),
            next_attempt_at: attempt.next_attempt_at.map(rfc3339),
        }
    }
}

impl EndView {
    pub(crate) fn of(end: &KnownEnd) -> Self {
        Self {
            outcome: end.outcome.clone(),
            reason: end.reason.clone(),
            explanation: words::end(end),
            ended_at: rfc3339(end.ended_at),
            attempts: end.attempts,
            is_body_kept: end.is_body_kept,
            sent_again_at: end.sent_again_at.map(rfc3339),
            sent_again_as: end.sent_again_as().map(hex),
        }
    }
}

impl NextView {
    fn of(story: &Story<'_>) -> Self {
        if let Some(end) = story.end {
            let explanation = words::after(end).to_owned();
            return Self { state: "ended", at: None, explanation };
        }
        let last = story.attempts.last().copied();
        let at = last.and_then(|attempt| attempt.next_attempt_at);
        let state = if at.is_some() { "waiting" } else { "due" };
        Self { state, at: at.map(rfc3339), explanation: words::waiting(last) }
    }
}

/// An id as everything else has it.
pub(crate) fn hex(id: Uuid) -> String {
    id.simple().to_string()
}

pub(crate) fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
