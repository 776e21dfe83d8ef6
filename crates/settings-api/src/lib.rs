//! What customers configure, and what operators set up: the REST calls of
//! Mailgun's settings, and the internal `Admin` service.
//!
//! What must always hold:
//! - a change is answered with success only once the broker has the document
//!   that holds it, so that an event accepted after the answer sees the change;
//! - a change that was committed is published, whatever dies in between: the
//!   relay goes through the outbox for as long as this service runs;
//! - what the broker has of settings is what the database has: whatever it loses
//!   is published again, and a bucket that lacks some says so;
//! - answers have Mailgun's bytes: names, order of keys, texts;
//! - keys leave this service for their owner alone; they are stored sealed or hashed.
//!
//! Deliberately absent: deliveries. What a call sends to the outside is the GET
//! that checks an alert's URL, and what test calls ask for.

mod account;
mod account_webhooks;
mod admin;
mod alerts;
mod api;
mod api_keys;
mod auth;
mod config;
mod delivery;
mod destination;
mod domain_name;
mod domain_webhooks;
mod domains;
mod drain;
mod erasure;
mod error;
mod events;
mod exhausted;
mod export;
mod failures;
mod features;
mod form;
mod gauges;
mod guard;
mod held;
mod journeys;
mod keys;
mod limits;
mod logs;
mod notices;
mod openapi;
mod outbound;
#[doc(hidden)]
pub mod parsers;
mod path;
mod publish;
mod rate_limit;
mod reconcile;
mod reseal;
mod resends;
mod respond;
mod routes;
mod server;
mod signing_key;
mod statistics;
mod strangers;
mod subaccounts;
mod test_call;
mod viewer;
mod webhook_options;
mod webhooks;
mod why;

pub use api::SettingsApi;
pub use config::SettingsApiConfig;
pub use limits::{CustomerDomains, Limits};
pub use reseal::{ResealError, Resealed};
pub use routes::router;
pub use server::Server;
pub use webhook_options::{DnsCheck, LegacyIds, WebhookOptions};

use bus::Bus;
use chassis::{Clock, Readiness, Tasks};

/// The part of readiness that this role answers for.
pub const READINESS: &str = "settings-api";

/// What is served at the customers' door, given the calls that are answered there.
pub type Beside = Box<dyn FnOnce(axum::Router) -> axum::Router + Send>;

/// Opens both doors, brings the schema up to date and serves until a stop is
/// asked for; then answers what is in flight. The calls have something beside
/// them, or stand alone.
///
/// # Errors
/// When a port is taken, a migration cannot be applied, a listener fails, or
/// mail cannot be sent as it is configured.
pub async fn run(
    config: SettingsApiConfig,
    bus: Bus,
    egress: egress::Client,
    clock: Clock,
    beside: Option<Beside>,
    readiness: Readiness,
    tasks: Tasks,
) -> anyhow::Result<()> {
    readiness.expect(READINESS);
    let mut server = Server::bind(&config).await?;
    if let Some(beside) = beside {
        server = server.with(beside);
    }
    let api = SettingsApi::new(&config, bus, egress, clock)?;
    server.serve(api, readiness, tasks).await
}
