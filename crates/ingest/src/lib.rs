//! Takes events from internal callers and answers once the broker has stored them.
//!
//! Two doors, one rule: gRPC and its HTTP/JSON twin both go through
//! [`acceptor`], which checks an event, finds its account and domain, and
//! stores it.
//!
//! What must always hold:
//! - "stored" and "duplicate" are said only after the broker's ack;
//! - an event is (account, kind, id); what is stored is complete: id, account
//!   name, domain name and time are filled in;
//! - an account or a domain is called unknown only after asking the broker
//!   whether this process has seen every change of settings, and only where the
//!   broker has them all;
//! - every queue has a bound, and a caller that does not read its answers
//!   holds up nobody else;
//! - where callers are asked who they are, they are asked before anything of
//!   theirs is decoded, and what they proved to be is what is recorded.
//!
//! Deliberately absent: subscriptions, PostgreSQL, and rights. The ports are
//! internal: whoever may come in may hand over events of every account.

mod acceptor;
mod config;
mod error;
mod grpc;
mod http;
pub mod json;
mod quota;
mod resolve;
mod server;

pub use config::IngestConfig;
pub use server::Server;

use bus::{Bus, Settings};
use chassis::{Clock, Readiness, Tasks};

/// The part of readiness that this role answers for.
pub const READINESS: &str = "ingest";

/// Opens both doors and serves until a stop is asked for; then answers what is
/// in flight.
///
/// # Errors
/// When the settings do not fit the broker, a port is taken, or a listener fails.
pub async fn run(
    config: IngestConfig,
    bus: Bus,
    settings: Settings,
    clock: Clock,
    readiness: Readiness,
    tasks: Tasks,
) -> anyhow::Result<()> {
    readiness.expect(READINESS);
    let server = Server::bind(config, &bus).await?;
    tasks.background(tell_readiness(settings.clone(), clock.clone(), readiness));
    server.serve(bus, settings, clock, tasks).await
}

/// Ready as long as it can say of an account whether there is one.
async fn tell_readiness(settings: Settings, clock: Clock, readiness: Readiness) {
    loop {
        readiness.set(READINESS, settings.is_complete());
        clock.sleep(server::HEALTH_EVERY).await;
    }
}
