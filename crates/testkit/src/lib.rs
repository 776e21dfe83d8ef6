//! What the tests stand on: real servers, a scriptable receiver and mailbox, a
//! zoo of receivers that misbehave, a proxy, a browser, processes that can be killed.
//!
//! What must always hold:
//!
//! * Tests run against the real NATS and PostgreSQL. Nothing here imitates either.
//! * Tests that run at the same time do not see each other: each has a region of
//!   its own on the broker and a database of its own.
//! * A wait is a wait for a condition, with a deadline, and says what it waited
//!   for when the deadline passes.
//! * Signatures are checked by code that shares nothing with ours.
//!
//! Failing to set up the ground that a test stands on panics with the reason:
//! there is nothing else that a test could do about it.
//!
//! Deliberately absent: any of the product's crates, so that everything in the
//! workspace can use this in its tests, and a bug cannot hide on both sides.

mod authority;
mod bouncer;
pub mod broker;
pub mod browser;
pub mod http;
pub mod mailbox;
mod name_server;
pub mod network;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod receiver;
mod servers;
mod slow;
pub mod tools;
pub mod verify;
mod wait;
pub mod wire;
pub mod zoo;

pub use authority::{Authority, Issued};
pub use bouncer::PgBouncer;
pub use browser::{Browser, Look, Page};
pub use dev_servers::ports::free_port;
pub use dev_servers::{
    Nats, NatsCluster, NatsOptions, NatsSync, Postgres, PostgresOptions, Rig, Scratch, log_tail,
};
pub use mailbox::{Act, Letter, Mailbox, MailboxOptions, MailboxTls, Stage};
pub use name_server::NameServer;
pub use process::Postrider;
pub use prometheus::Prometheus;
pub use receiver::{Gate, Received, Receiver, Reply};
pub use servers::{DATABASE_URL, NATS_URL, OwnServers, TestEnv, fresh_region, shared_nats_url};
pub use slow::SlowLink;
pub use wait::{eventually, within};
pub use wire::{Speech, Tampering, Wire};
