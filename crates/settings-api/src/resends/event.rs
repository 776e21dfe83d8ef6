//! Sends one event again, to its targets.
//!
//! What was not delivered is taken from where it is kept, as every resend does it.
//! Of what was delivered no body is kept: it is made anew from the event and from
//! the decision that chose its target.
//!
//! Nothing is sent twice by asking twice: a delivery is sent again once, as its next
//! generation, and which ones were is noted under a lock. What was delivered goes
//! again only when the call asks for its generation, 0 unless it says otherwise; so
//! the same call again finds that one noted, whatever has become of the next.

use std::collections::HashMap;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use prost::Message as _;
use protocol::Timestamp;
use protocol::v1::target::Kind as TargetKind;
use protocol::v1::{
    AcceptedEvent, AlertTarget, Channel, Delivery, Event, Level, MessageTarget, Target,
};
use serde::{Deserialize, Serialize};
use store::history::{AcceptedRow, DecisionRow, Uuid};
use store::{AlertDestination, ResendBatch, StoreError};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::worker::{next_generation, renewed};
use crate::auth::Caller;
use crate::error::{ApiError, Problem};
use crate::form::{Body, Query, json};
use crate::journeys::{self, EventPath, EventTypeQuery, Story, hex, stories};
use crate::path::Segments;
use crate::{SettingsApi, respond};

type Result<T = Response> = std::result::Result<T, ApiError>;

pub(super) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new().routes(routes!(resend_event))
}

/// Sends an event again: to each of its targets that it was not delivered to, and,
/// with `all`, to the others too.
///
/// The same call again sends nothing twice. What is wanted, the keys and the policy
/// are those of the new attempts.
#[utoipa::path(
    post,
    path = "/postrider/v1/events/{event_id}/resend",
    operation_id = "resend_event",
    tag = "delivery",
    params(EventPath, EventTypeQuery),
    request_body = EventResendForm,
    responses(
        (status = 200, description = "What was sent, and what was not", body = EventResent),
        (status = 409, description = "Several events have this id", body = Problem),
    )
)]
async fn resend_event(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(event_id): Segments<String>,
    Query(query): Query,
    Body(body): Body,
) -> Result {
    // Nothing means nothing but the usual.
    let form = if body.is_empty() { EventResendForm::default() } else { json(&body)? };
    if form.generation.is_some() && form.all != Some(true) {
        return Err(ApiError::bad_request("generation is about what was delivered: give all"));
    }
    let delivered = form.all.unwrap_or_default().then(|| form.generation.unwrap_or_default());
    let accepted = journeys::find(&api, &caller, &event_id, &query).await?;
    let (event, journey) = journeys::travelled(&api, &caller, &accepted, &[]).await?;
    let stories = stories(&journey);
    let answer = api.resend(&caller, event, latest(&stories), delivered).await?;
    Ok(respond::ok(&answer))
}

/// Of each delivery that the routing made its last resend, or itself. Resends stand
/// behind what they are resends of.
fn latest<'a>(stories: &'a [Story<'a>]) -> impl Iterator<Item = &'a Story<'a>> {
    stories.iter().enumerate().filter_map(|(place, story)| {
        let has_next = stories.get(place + 1).is_some_and(|next| next.first == story.first);
        (!has_next).then_some(story)
    })
}

/// What is to be done about one delivery.
enum Choice {
    /// Its body is kept.
    Undelivered,
    /// Made anew.
    Delivered(Box<Delivery>),
    Not(NotSent),
}

impl SettingsApi {
    /// Sends one delivery again that was delivered.
    pub(super) async fn resend_delivered(&self, caller: &Caller, id: Uuid) -> Result<String> {
        let missing = || ApiError::from(StoreError::NotFound(store::Thing::Delivery));
        let event_key = self.store.event_of_delivery(&caller.account_id, id).await?;
        let event_key = event_key.ok_or_else(missing)?;
        let accepted = self.store.accepted_events(&caller.account_id, &[event_key]).await?;
        let (event, journey) = journeys::travelled(self, caller, &accepted, &[id]).await?;
        let stories = stories(&journey);
        let story = stories.iter().find(|story| story.id == id);
        let story = story.filter(|story| story.end.is_some()).ok_or_else(missing)?;
        let answer = self.resend(caller, event, [story], Some(story.generation)).await?;
        match (answer.sent.into_iter().next(), answer.not_sent.into_iter().next()) {
            (Some(sent), _) => Ok(sent.sent_as),
            (None, Some(Kept { reason: NotSent::SentAgain, .. })) => {
                Err(StoreError::SentAgain.into())
            }
            (None, Some(Kept { reason, .. })) => {
                Err(ApiError::new(http::StatusCode::CONFLICT, reason.words()))
            }
            (None, None) => Err(missing()),
        }
    }

    /// Sends these deliveries of an event again, as far as that is to be; of those
    /// that were delivered this generation.
    async fn resend<'a>(
        &self,
        caller: &Caller,
        event: &AcceptedRow,
        stories: impl IntoIterator<Item = &'a Story<'a>>,
        delivered: Option<u32>,
    ) -> Result<EventResent> {
        let mut answer = EventResent { sent: Vec::new(), not_sent: Vec::new() };
        let mut undelivered: Vec<Uuid> = Vec::new();
        let mut anew: HashMap<Uuid, Delivery> = HashMap::new();
        for story in stories {
            match self.choose(caller, event, story, delivered).await? {
                Choice::Undelivered => undelivered.push(story.id),
                Choice::Delivered(delivery) => {
                    anew.insert(story.id, *delivery);
                }
                Choice::Not(reason) => answer.not_sent.push(Kept::of(story.id, reason)),
            }
        }
        if undelivered.is_empty() && anew.is_empty() {
            return Ok(answer);
        }
        let delivered: Vec<Uuid> = anew.keys().copied().collect();
        // From here on nobody else sends these; whoever was quicker has sent the rest.
        let batch =
            self.store.take_deliveries(&caller.account_id, &undelivered, &delivered).await?;
        let taken = taken(&batch, &mut anew, self.clock.now().into());
        let asked = undelivered.iter().chain(&delivered);
        let missed = asked.filter(|id| !taken.iter().any(|(taken, _)| taken == *id));
        answer.not_sent.extend(missed.map(|id| Kept::of(*id, NotSent::SentAgain)));
        let (mut ids, mut again) = (Vec::new(), Vec::new());
        for (id, next) in taken {
            match next {
                Some(next) => {
                    answer.sent.push(Sent::of(id, &next));
                    ids.push(id);
                    again.push(next);
                }
                None => answer.not_sent.push(Kept::of(id, NotSent::Unreadable)),
            }
        }
        self.send_again(&again).await?;
        // Dying before this line sends nothing twice while it is under way: asked
        // again, it is the same generation, under the same id.
        batch.sent(&ids, self.clock.now()).await?;
        metrics::counter!("postrider_resent_total").increment(again.len() as u64);
        Ok(answer)
    }

    async fn choose(
        &self,
        caller: &Caller,
        event: &AcceptedRow,
        story: &Story<'_>,
        delivered: Option<u32>,
    ) -> Result<Choice> {
        let Some(end) = story.end else { return Ok(Choice::Not(NotSent::UnderWay)) };
        if end.outcome != "delivered" {
            return Ok(match end.is_body_kept {
                _ if end.sent_again_at.is_some() => Choice::Not(NotSent::SentAgain),
                true => Choice::Undelivered,
                false => Choice::Not(NotSent::BodyGone),
            });
        }
        match delivered {
            Some(asked) if asked == story.generation && end.sent_again_at.is_none() => {}
            Some(asked) if asked < story.generation => return Ok(Choice::Not(NotSent::IsResend)),
            Some(asked) if asked == story.generation => {
                return Ok(Choice::Not(NotSent::SentAgain));
            }
            _ => return Ok(Choice::Not(NotSent::Delivered)),
        }
        let Some(decision) = story.decision else { return Ok(Choice::Not(NotSent::BodyGone)) };
        let Some(target) = self.target(&caller.account_id, event, decision).await? else {
            return Ok(Choice::Not(NotSent::Deleted));
        };
        let again = made_anew(event, story.id, story.generation, decision, target);
        Ok(again
            .map_or(Choice::Not(NotSent::Unreadable), |again| Choice::Delivered(Box::new(again))))
    }

    /// The target that was chosen. `None` for an alert setting that is gone.
    pub(crate) async fn target(
        &self,
        account_id: &str,
        event: &AcceptedRow,
        decision: &DecisionRow,
    ) -> std::result::Result<Option<Target>, StoreError> {
        let id = decision.target_id.map(hex).unwrap_or_default();
        if event.domain_id.is_some() {
            let (account_id, url) = (event.account_id.clone(), decision.url.clone());
            let kind = TargetKind::Message(MessageTarget { account_id, url });
            return Ok(Some(Target { id, kind: Some(kind) }));
        }
        let setting_id = Uuid::try_parse(&decision.subscription_id).unwrap_or_default();
        let setting = match self.store.alert_setting(account_id, setting_id).await {
            Ok(setting) => setting,
            Err(StoreError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let channel = match setting.destination {
            AlertDestination::Webhook { .. } => Channel::Webhook,
            AlertDestination::Email { .. } => Channel::Email,
        };
        let kind = TargetKind::Alert(AlertTarget {
            account_id: event.account_id.clone(),
            setting_id: decision.subscription_id.clone(),
            // That of now: its failure is one of the setting as it stands.
            setting_generation: setting.generation.try_into().unwrap_or_default(),
            channel: channel.into(),
        });
        Ok(Some(Target { id, kind: Some(kind) }))
    }
}

/// The delivery as it was made. `None` when its event cannot be read.
pub(crate) fn made_anew(
    event: &AcceptedRow,
    delivery_id: Uuid,
    generation: u32,
    decision: &DecisionRow,
    target: Target,
) -> Option<Delivery> {
    let level = match decision.level.as_str() {
        "parent_account" => Level::ParentAccount,
        "account" => Level::Account,
        "domain" => Level::Domain,
        _ => Level::Alert,
    };
    let accepted = AcceptedEvent {
        event_key: hex(event.event_key),
        account_id: event.account_id.clone(),
        domain_id: event.domain_id.map(hex).unwrap_or_default(),
        accepted_at: Some(event.accepted_at.into()),
        event: Some(Event::decode(event.event.as_slice()).ok()?),
        caller: event.caller.clone(),
        // Nobody waits for what is sent again: it is traced no further.
        traceparent: String::new(),
        // Its deliveries have their ids already.
        acceptance: String::new(),
    };
    Some(Delivery {
        delivery_id: hex(delivery_id),
        event_key: accepted.event_key.clone(),
        target: Some(target),
        generation,
        level: level.into(),
        accepted_event: accepted.encode_to_vec().into(),
        ..Delivery::default()
    })
}

/// What a batch has taken, as it is sent again; `None` for what cannot be read.
fn taken(
    batch: &ResendBatch,
    anew: &mut HashMap<Uuid, Delivery>,
    first_due: Timestamp,
) -> Vec<(Uuid, Option<Delivery>)> {
    let kept = batch.deliveries().map(|(id, bytes)| (id, next_generation(bytes, first_due).ok()));
    let made = batch
        .delivered()
        .iter()
        .map(|id| (*id, anew.remove(id).and_then(|delivery| renewed(delivery, first_due))));
    kept.chain(made).collect()
}

/// Of what is to be sent again; nothing at all means the usual.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EventResendForm {
    /// Also to the targets that have it.
    #[schema(example = true)]
    all: Option<bool>,
    /// Of these, the deliveries of this generation: 0, which is the default, for
    /// those that were made when the event was routed, 1 for their first resends.
    /// What was sent again already stays as it is.
    #[schema(minimum = 0, example = 0)]
    generation: Option<u32>,
}

/// What became of the targets of an event.
#[derive(Serialize, ToSchema)]
pub(super) struct EventResent {
    sent: Vec<Sent>,
    not_sent: Vec<Kept>,
}

#[derive(Serialize, ToSchema)]
struct Sent {
    /// Of the delivery that was sent again.
    delivery_id: String,
    /// The new one.
    sent_as: String,
}

impl Sent {
    fn of(id: Uuid, next: &Delivery) -> Self {
        Self { delivery_id: hex(id), sent_as: next.delivery_id.clone() }
    }
}

/// A delivery that was not sent again.
#[derive(Serialize, ToSchema)]
#[schema(as = NotSentAgain)]
struct Kept {
    delivery_id: String,
    reason: NotSent,
    /// The same, for people.
    explanation: &'static str,
}

impl Kept {
    fn of(id: Uuid, reason: NotSent) -> Self {
        Self { delivery_id: hex(id), reason, explanation: reason.words() }
    }
}

/// Why a delivery was not sent again.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = WhyNotSent)]
enum NotSent {
    Delivered,
    IsResend,
    UnderWay,
    SentAgain,
    BodyGone,
    Deleted,
    Unreadable,
}

impl NotSent {
    const fn words(self) -> &'static str {
        match self {
            Self::Delivered => "it was delivered; to send it again all the same, ask for all",
            Self::IsResend => {
                "it is a resend, which was delivered; to send it again, ask for its generation"
            }
            Self::UnderWay => "it is under way",
            Self::SentAgain => "this delivery was sent again already",
            Self::BodyGone => "what it was made of is kept no longer",
            Self::Deleted => "its alert setting is gone",
            Self::Unreadable => "this delivery was set aside unread, and cannot be sent",
        }
    }
}
