//! What became of each event, and how that is shown.

use std::collections::BTreeMap;

use model::End;
use serde::Serialize;
use store::history::Considered;
use utoipa::ToSchema;

use super::standing::{Standing, StandingView};
use crate::journeys::{DecisionView, EndView, EventName, rfc3339, words};
use crate::viewer::Viewer;

/// What became of an event at the target.
pub(super) enum Fate {
    /// Its delivery has ended; of several that of the last resend.
    Ended(&'static str),
    /// There is a delivery that has not ended.
    UnderWay,
    /// It was decided that there is none.
    Silent(&'static str),
    /// Nothing was decided about the target.
    Missed(&'static str, String),
    /// No routing is known.
    NotRouted,
}

/// Every way not to be heard, by the names in history.
const SILENT: [&str; 2] = ["account_not_open", "domain_disabled"];

impl Fate {
    pub(super) fn of(event: &Considered, standing: &Standing) -> Self {
        let known = |names: &[&'static str], name: &str| {
            names.iter().copied().find(|known| *known == name).unwrap_or("unknown")
        };
        if let Some(end) = &event.end {
            return Self::Ended(End::parse(&end.outcome).map_or("unknown", End::as_str));
        }
        if event.decisions.iter().any(|decision| decision.delivery_id.is_some()) {
            return Self::UnderWay;
        }
        match event.decisions.first() {
            Some(decision) => Self::Silent(known(&SILENT, &decision.verdict)),
            None if event.is_routed => {
                let (name, words) = standing.missed(&event.event_type, event.domain_id);
                Self::Missed(name, words)
            }
            None => Self::NotRouted,
        }
    }

    /// Its short name.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Ended(name) | Self::Silent(name) | Self::Missed(name, _) => name,
            Self::UnderWay => "under_way",
            Self::NotRouted => "not_routed",
        }
    }

    fn explain(self, event: &Considered) -> String {
        match self {
            Self::Ended(_) => event.end.as_ref().map(words::end).unwrap_or_default(),
            Self::UnderWay => "Its delivery is under way.".to_owned(),
            Self::Silent(_) => event.decisions.first().map(words::verdict).unwrap_or_default(),
            Self::Missed(_, words) => words,
            Self::NotRouted => {
                "No routing of it is known: it is about to be routed, or that is kept no longer."
                    .to_owned()
            }
        }
    }
}

/// A page of events.
#[derive(Serialize, ToSchema)]
#[schema(as = WhyPage)]
pub(super) struct Page {
    /// What settings say now.
    pub(super) settings: StandingView,
    /// On the first page alone; `null` on all others.
    #[schema(required)]
    pub(super) summary: Option<Summary>,
    pub(super) items: Vec<ItemView>,
    pub(super) paging: Paging,
}

/// How many events of the range had which fate.
#[derive(Serialize, ToSchema)]
#[schema(as = WhySummary)]
pub(super) struct Summary {
    pub(super) events: usize,
    /// By `fate`.
    #[schema(value_type = BTreeMap<String, usize>)]
    pub(super) counts: BTreeMap<&'static str, usize>,
    /// False when only the last 10000 events of the range were counted.
    pub(super) is_whole: bool,
}

/// An event, and what became of it at the target.
#[derive(Serialize, ToSchema)]
#[schema(as = WhyItem)]
pub(super) struct ItemView {
    event: EventName,
    #[schema(format = DateTime)]
    accepted_at: String,
    /// How the delivery ended: `delivered`, `rejected`, `exhausted`, `expired`,
    /// `suppressed`, `held` or `poisoned`; that it is `under_way`; why none was
    /// made: `account_not_open`, `domain_disabled`; why nothing was decided:
    /// `other_event_type`, `other_domain`, `subscribed_later`, `not_subscribed`; or
    /// `not_routed`.
    fate: &'static str,
    /// The same, for people.
    explanation: String,
    /// Those about this target, the highest level first.
    decisions: Vec<DecisionView>,
    /// Of its last resend, where there was one; `null` while it is under way.
    #[schema(required)]
    end: Option<EndView>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = WhyPaging)]
pub(super) struct Paging {
    /// The next page; `null` on the last one.
    #[schema(required)]
    pub(super) next: Option<String>,
}

impl ItemView {
    pub(super) fn of(viewer: Viewer, event: &Considered, standing: &Standing) -> Self {
        let fate = Fate::of(event, standing);
        let occurred_at = event.place.occurred_at;
        Self {
            event: EventName::new(&event.event_id, &event.event_type, &event.event, occurred_at),
            accepted_at: rfc3339(event.accepted_at),
            fate: fate.name(),
            explanation: fate.explain(event),
            decisions: DecisionView::all(viewer, &event.decisions),
            end: event.end.as_ref().map(EndView::of),
        }
    }
}
