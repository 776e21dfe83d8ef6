//! How targets are doing, as statistics have it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::path;
use crate::visitor::Visitor;

const CALL: &str = "/postrider/v1/statistics/targets";
/// So many of the worst targets of the last day are asked for at once, as many as
/// the APIs tell.
const MOST: usize = 100;

/// What is known of one target.
#[derive(Deserialize)]
pub(super) struct Health {
    target_id: String,
    pub(super) last_success_at: Option<DateTime<Utc>>,
    pub(super) last_failure_at: Option<DateTime<Utc>>,
    last_failure_reason: Option<String>,
}

impl Health {
    /// Whether the last try went wrong.
    pub(super) fn is_failing(&self) -> bool {
        self.last_failure_at > self.last_success_at
    }

    pub(super) fn reason(&self) -> &str {
        self.last_failure_reason.as_deref().unwrap_or("failed")
    }
}

/// What is known, by target.
#[derive(Default)]
pub(super) struct AllHealth {
    targets: HashMap<String, Health>,
    /// Whether there is no other target that something was sent to.
    is_whole: bool,
}

impl AllHealth {
    pub(super) fn of(&self, target_id: &str) -> Option<&Health> {
        self.targets.get(target_id)
    }

    /// What can be said of a target that is not among these.
    pub(super) fn of_others(&self) -> &'static str {
        if self.is_whole { "nothing sent" } else { "not among the worst" }
    }
}

/// Asks for the worst targets.
pub(super) async fn read(visitor: &Visitor) -> AllHealth {
    ask(visitor, ("limit", &MOST.to_string())).await
}

/// Asks for one target.
pub(super) async fn read_one(visitor: &Visitor, target_id: &str) -> AllHealth {
    ask(visitor, ("target_id", target_id)).await
}

/// Pages do without when statistics have no answer just now.
async fn ask(visitor: &Visitor, what: (&str, &str)) -> AllHealth {
    #[derive(Deserialize)]
    struct Targets {
        targets: Vec<Health>,
    }
    match visitor.get::<Targets>(&path::with_query(CALL, &[what])).await {
        Ok(Targets { targets }) => AllHealth {
            is_whole: targets.len() < MOST,
            targets: targets.into_iter().map(|one| (one.target_id.clone(), one)).collect(),
        },
        Err(error) => {
            tracing::debug!(%error, "the health of targets cannot be shown");
            AllHealth::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_was_not_asked_for_nothing_is_claimed() {
        let known = |is_whole| AllHealth { is_whole, ..AllHealth::default() };
        assert_eq!(known(true).of_others(), "nothing sent");
        assert_eq!(known(false).of_others(), "not among the worst");
    }
}
