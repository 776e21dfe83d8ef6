//! How targets are doing, as statistics have it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::visitor::Visitor;

/// So many of the worst targets of the last day are known; of the others there is
/// nothing bad to tell.
const CALL: &str = "/postrider/v1/statistics/targets?limit=100";

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

/// What is known of all, by target.
#[derive(Default)]
pub(super) struct AllHealth(HashMap<String, Health>);

impl AllHealth {
    pub(super) fn of(&self, target_id: &str) -> Option<&Health> {
        self.0.get(target_id)
    }
}

/// Asks for it. Pages do without when statistics have no answer just now.
pub(super) async fn read(visitor: &Visitor) -> AllHealth {
    #[derive(Deserialize)]
    struct Targets {
        targets: Vec<Health>,
    }
    match visitor.get::<Targets>(CALL).await {
        Ok(Targets { targets }) => {
            AllHealth(targets.into_iter().map(|one| (one.target_id.clone(), one)).collect())
        }
        Err(error) => {
            tracing::debug!(%error, "the health of targets cannot be shown");
            AllHealth::default()
        }
    }
}
