//! The place of one try at a target.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Came, Change, State, Targets, Waiter, follow};

/// The place of one try. Freed when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    pub(super) targets: Arc<Targets>,
    pub(super) target_id: String,
    pub(super) began: DateTime<Utc>,
    pub(super) ended: Option<DateTime<Utc>>,
    /// Whose it is, where the target has taken nothing lately.
    pub(super) unproven_of: Option<Arc<str>>,
}

impl Permit {
    /// Says what came of the try, and returns what the other dispatchers should know.
    pub(crate) fn report(
        mut self,
        came: Came,
        took: Duration,
        chance: f64,
        now: DateTime<Utc>,
    ) -> Option<Change> {
        self.ended = Some(now);
        let took = took.min(self.targets.limits.longest_try);
        let mut state = self.targets.lock();
        let State { targets, usual_unproven_try, .. } = &mut *state;
        let target = targets.get_mut(&self.target_id)?;
        if came != Came::Unknown {
            follow(&mut target.usual_try, took);
            if self.unproven_of.is_some() {
                follow(usual_unproven_try, took);
            }
        }
        match came {
            Came::Taken => (target.last_success, target.last_answer) = (Some(now), Some(now)),
            Came::Down | Came::Busy(_) => (target.last_success, target.last_answer) = (None, None),
            Came::Answered => target.last_answer = Some(now),
            Came::Unknown => {}
        }
        target.breaker.report(came, chance, now)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.targets.lock();
        if let Some(primary_id) = &self.unproven_of {
            state.unproven = state.unproven.saturating_sub(1);
            state.unproven_began_ms -= self.began.timestamp_millis();
            state.one_less_of(primary_id);
        }
        let most = self.targets.most_at_once(state.live);
        let State { targets, unproven, unproven_of, unproven_waiters, unproven_began_ms, .. } =
            &mut *state;
        let Some(target) = targets.get_mut(&self.target_id) else { return };
        if let Some(place) = target.under_way.iter().position(|began| *began == self.began) {
            target.under_way.swap_remove(place);
        }
        let is_free = target.breaker.is_closed();
        let next = loop {
            let Some(Waiter { turn, is_unproven }) = target.queue.pop_front() else { break None };
            *unproven_waiters -= usize::from(is_unproven);
            // Who has given up waiting is passed over; while the target is in
            // trouble, nobody has a turn and all of them ask again.
            if !turn.is_closed() && is_free {
                break Some(turn);
            }
        };
        let Some(turn) = next else {
            if let Some(now) = self.ended {
                target.pull_in(most, self.targets.limits.longest_try, now);
            }
            return;
        };
        // Its try begins about now, as this one ends.
        let began = self.ended.unwrap_or(target.last_used);
        target.under_way.push(began);
        let whose = (!target.is_proven(began)).then(|| Arc::clone(&target.primary_id));
        if let Some(primary_id) = &whose {
            *unproven += 1;
            *unproven_began_ms += began.timestamp_millis();
            *unproven_of.entry(Arc::clone(primary_id)).or_default() += 1;
        }
        drop(state);
        let (targets, target_id) = (Arc::clone(&self.targets), self.target_id.clone());
        // Should nobody listen any more, the permit comes back and is dropped.
        let _ = turn.send(Permit { targets, target_id, began, ended: None, unproven_of: whose });
    }
}
