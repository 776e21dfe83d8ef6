//! What the platform decides, without I/O: ids, event types, payloads,
//! subscriptions, retry policies, outcomes.
//!
//! What must always hold: the same input gives the same answer. Identities are
//! hashes of what makes a thing itself, so that two processes, or one before
//! and one after a crash, name the same thing alike.
//!
//! Deliberately absent: the clock, chance, tokio, and everything else that
//! touches the world. Time and random bytes come in as arguments.

mod end_reason;
pub mod event_filter;
mod event_type;
mod ids;
mod latency;
mod outcome;
mod payload;
mod policy;
mod routing;
mod sample;
pub mod validate;
mod webhook_id;

pub use end_reason::{EndReason, Wait};
pub use event_type::{EventType, Family};
pub use ids::{
    alert_target_id, delivery_id, domain_id, event_key, message_target_id, next_delivery_id,
    shard_of,
};
pub use latency::{Latencies, STEPS_MS};
pub use outcome::End;
pub use payload::{
    AlertMail, MailFrame, MailReason, PayloadError, Redaction, SendSignature, alert_body,
    alert_event_data, alert_mail, legacy_body, send_body, send_event_data,
};
pub use policy::{AfterFailure, Answered, RetryPolicy, Success, after_our_fault};
pub use routing::{
    Chosen, Destination, Held, Identity, NotWanted, Routing, Scope, Wanted, route, still_wanted,
};
pub use sample::sample;
pub use webhook_id::WebhookId;
