//! One delivery, put together of what several tables know of it.

use std::collections::HashMap;

use store::history::{AttemptRow, DecisionRow, Journey, KnownEnd, Uuid, next_delivery_id};

/// A delivery of an event.
#[derive(Clone, Debug)]
pub(crate) struct Story<'a> {
    pub(crate) id: Uuid,
    /// The delivery that the routing made: this one, or the one that it is a resend of.
    pub(crate) first: Uuid,
    pub(crate) target_id: Option<Uuid>,
    /// 0, or which resend.
    pub(crate) generation: u32,
    /// That which led to it, or to the one that it is a resend of.
    pub(crate) decision: Option<&'a DecisionRow>,
    /// In the order of time.
    pub(crate) attempts: Vec<&'a AttemptRow>,
    pub(crate) end: Option<&'a KnownEnd>,
}

/// The stories of an event, in the order in which its targets were chosen, each
/// with its resends behind it.
#[derive(Debug, Default)]
struct Stories<'a> {
    told: Vec<Story<'a>>,
    by_id: HashMap<Uuid, usize>,
}

impl<'a> Stories<'a> {
    fn entry(&mut self, id: Uuid, target_id: Option<Uuid>, generation: u32) -> &mut Story<'a> {
        let place = *self.by_id.entry(id).or_insert_with(|| {
            let (decision, attempts, end) = (None, Vec::new(), None);
            let first = id;
            self.told.push(Story { id, first, target_id, generation, decision, attempts, end });
            self.told.len() - 1
        });
        &mut self.told[place]
    }
}

/// The deliveries of an event. One that was sent again and that nothing is known
/// of yet is among them.
pub(crate) fn stories(journey: &Journey) -> Vec<Story<'_>> {
    let mut stories = Stories::default();
    // By delivery, and for resends whose first delivery is not known any more by target:
    // the place in the order, and the decision.
    let mut chosen: HashMap<Uuid, (usize, &DecisionRow)> = HashMap::new();
    for decision in journey.routings.iter().flat_map(|routing| &routing.decisions) {
        let Some(delivery_id) = decision.delivery_id else { continue };
        stories.entry(delivery_id, decision.target_id, 0);
        let place = chosen.len();
        chosen.entry(delivery_id).or_insert((place, decision));
        if let Some(target_id) = decision.target_id {
            chosen.entry(target_id).or_insert((place, decision));
        }
    }
    for attempt in &journey.attempts {
        let AttemptRow { delivery_id, target_id, generation, .. } = *attempt;
        stories.entry(delivery_id, target_id, generation).attempts.push(attempt);
    }
    for end in &journey.ends {
        stories.entry(end.delivery_id, end.target_id, end.generation).end = Some(end);
        if let Some(next) = end.sent_again_as() {
            stories.entry(next, end.target_id, end.generation + 1);
        }
    }
    let mut told = stories.told;
    if let Some(event_key) = event_key(journey) {
        lead_back(&mut told, event_key);
    }
    let chosen = |story: &Story<'_>| {
        chosen.get(&story.first).or_else(|| chosen.get(&story.target_id?)).copied()
    };
    for story in &mut told {
        story.decision = chosen(story).map(|(_, decision)| decision);
    }
    told.sort_by_key(|story| {
        let place = chosen(story).map_or(usize::MAX, |(place, _)| place);
        (place, story.target_id, story.first, story.generation)
    });
    told
}

fn event_key(journey: &Journey) -> Option<Uuid> {
    let routed = journey.routings.iter().map(|routing| routing.event_key);
    let tried = journey.attempts.iter().map(|attempt| attempt.event_key);
    routed.chain(tried).chain(journey.ends.iter().map(|end| end.event_key)).next()
}

/// Says of each resend which delivery it goes back to: an event that was accepted twice
/// has two deliveries for each target, with resends of their own.
fn lead_back(told: &mut [Story<'_>], event_key: Uuid) {
    told.sort_by_key(|story| story.generation);
    let mut firsts: HashMap<Uuid, Uuid> = HashMap::new();
    for story in told {
        story.first = firsts.get(&story.id).copied().unwrap_or(story.id);
        let Some(target_id) = story.target_id else { continue };
        if let Some(next) = next_delivery_id(story.id, event_key, target_id, story.generation) {
            firsts.insert(next, story.first);
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use store::history::RoutedRow;

    use super::*;

    fn id(text: &str) -> Uuid {
        store::history::id(&format!("{text:0<32}")).expect("an id")
    }

    fn decision(target: &str, delivery: Option<&str>) -> DecisionRow {
        DecisionRow {
            verdict: "chosen".to_owned(),
            level: "account".to_owned(),
            subscription_id: format!("of {target}"),
            target_id: Some(id(target)),
            url: String::new(),
            delivery_id: delivery.map(id),
            duplicate_of: None,
            disabled_at: None,
        }
    }

    fn end(delivery: Uuid, generation: u32, sent_again: bool) -> KnownEnd {
        KnownEnd {
            event_key: id("e"),
            delivery_id: delivery,
            target_id: Some(id("a")),
            generation,
            outcome: "exhausted".to_owned(),
            reason: "schedule".to_owned(),
            ended_at: DateTime::UNIX_EPOCH,
            attempts: 1,
            last_status: None,
            is_body_kept: true,
            sent_again_at: sent_again.then_some(DateTime::UNIX_EPOCH),
        }
    }

    fn routing(seconds: i64, decisions: Vec<DecisionRow>) -> RoutedRow {
        RoutedRow {
            event_key: id("e"),
            account_id: String::new(),
            routed_at: DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(seconds),
            settings_revision: 1,
            decisions,
        }
    }

    #[test]
    fn an_event_that_was_accepted_twice_has_two_deliveries_for_a_target() {
        let (first, second) = (end(id("d1"), 0, true), end(id("d2"), 0, false));
        let resent = first.next_delivery_id().expect("an id");
        let decided = |seconds, delivery| routing(seconds, vec![decision("a", Some(delivery))]);
        let journey = Journey {
            routings: vec![decided(0, "d1"), decided(600, "d2")],
            ends: vec![second, end(resent, 1, false), first],
            ..Journey::default()
        };
        let told = stories(&journey);
        let order: Vec<_> =
            told.iter().map(|story| (story.id, story.first, story.generation)).collect();
        let (one, two) = (id("d1"), id("d2"));
        assert_eq!(order, [(one, one, 0), (resent, one, 1), (two, two, 0)]);
        let decisions = told.iter().map(|story| story.decision.and_then(|d| d.delivery_id));
        assert_eq!(decisions.collect::<Vec<_>>(), [Some(one), Some(one), Some(two)]);
    }

    #[test]
    fn targets_stand_in_the_order_of_decisions_and_resends_behind_them() {
        let first = end(id("d2"), 0, true);
        let second = first.next_delivery_id().expect("an id");
        let second = end(second, 1, true);
        let third = second.next_delivery_id().expect("an id");
        let decisions =
            vec![decision("b", Some("d1")), decision("a", Some("d2")), decision("a", None)];
        let journey = Journey {
            routings: vec![routing(0, decisions)],
            ends: vec![second.clone(), first],
            ..Journey::default()
        };
        let stories = stories(&journey);
        let told: Vec<_> =
            stories.iter().map(|story| (story.id, story.generation, story.end.is_some())).collect();
        let (first, second) = (id("d2"), second.delivery_id);
        let wanted = [(id("d1"), 0, false), (first, 0, true), (second, 1, true), (third, 2, false)];
        assert_eq!(told, wanted);
        assert!(stories[1..].iter().all(|story| {
            story.decision.is_some_and(|decision| decision.subscription_id == "of a")
        }));
    }
}
