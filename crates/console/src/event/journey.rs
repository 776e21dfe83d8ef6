//! What the APIs tell of an event.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

/// Everything that has become of it.
#[derive(Debug, Deserialize)]
pub(super) struct Journey {
    pub(super) event: Event,
    pub(super) explanation: String,
    pub(super) routings: Vec<Routing>,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) is_whole: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) event_type: String,
    pub(super) domain: Option<String>,
    pub(super) occurred_at: DateTime<Utc>,
    pub(super) accepted: Vec<Acceptance>,
    payload: Option<Value>,
}

impl Event {
    /// As people read it; `None` when it cannot be shown.
    pub(super) fn pretty(&self) -> Option<String> {
        serde_json::to_string_pretty(self.payload.as_ref()?).ok()
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Acceptance {
    pub(super) at: DateTime<Utc>,
    pub(super) caller: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Routing {
    pub(super) routed_at: DateTime<Utc>,
    pub(super) decisions: Vec<Decision>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Decision {
    pub(super) verdict: String,
    pub(super) explanation: String,
    pub(super) level: String,
    pub(super) subscription_id: Option<String>,
    pub(super) url: Option<String>,
}

impl Decision {
    pub(super) fn level(&self) -> &str {
        match self.level.as_str() {
            "parent_account" => "parent account",
            level => level,
        }
    }

    pub(super) fn place(&self) -> &str {
        self.url.as_deref().or(self.subscription_id.as_deref()).unwrap_or("mailboxes")
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Delivery {
    pub(super) delivery_id: String,
    pub(super) generation: u32,
    pub(super) url: Option<String>,
    pub(super) alert_setting_id: Option<String>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) end: Option<End>,
    pub(super) next: Next,
}

impl Delivery {
    pub(super) fn place(&self) -> &str {
        let setting = self.alert_setting_id.as_deref();
        self.url.as_deref().or(setting).unwrap_or("not known any more")
    }

    /// How it ended, or what it waits for.
    pub(super) fn state(&self) -> &str {
        self.end.as_ref().map_or(self.next.state.as_str(), |end| end.outcome.as_str())
    }

    /// Whether somebody may have it sent again.
    pub(super) fn can_be_sent_again(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.sent_again_at.is_none())
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Attempt {
    pub(super) attempt: u32,
    pub(super) charged: bool,
    pub(super) started_at: DateTime<Utc>,
    pub(super) duration_ms: u32,
    pub(super) url: String,
    pub(super) status: Option<u32>,
    pub(super) reason: String,
    pub(super) detail: String,
    pub(super) response: String,
    pub(super) next_attempt_at: Option<DateTime<Utc>>,
}

impl Attempt {
    pub(super) fn mood(&self) -> &'static str {
        match (self.reason.as_str(), self.charged) {
            ("ok", _) => "good",
            (_, true) => "bad",
            (_, false) => "wait",
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct End {
    pub(super) outcome: String,
    pub(super) reason: String,
    pub(super) explanation: String,
    pub(super) ended_at: DateTime<Utc>,
    pub(super) is_body_kept: bool,
    pub(super) sent_again_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Next {
    pub(super) state: String,
    pub(super) at: Option<DateTime<Utc>>,
    pub(super) explanation: String,
}
