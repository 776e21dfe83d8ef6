//! Outbound calls to receivers that may be hostile, and mail.
//!
//! Every request that a customer can cause goes through [`Client`]: deliveries,
//! the check of an alert's URL, test calls. Mail goes through [`mail::Mailer`],
//! which has its own head comment.
//!
//! What must always hold:
//! - Only addresses that were vetted are connected to. A name is resolved once,
//!   all of its addresses are vetted, and the connection goes to one of those.
//!   Addresses that stand in the URL itself are vetted before anything is sent.
//! - No redirect is followed, and no proxy is taken from the environment: the
//!   operator names one, or there is none.
//! - Time and bytes are capped: an answer's status is the answer, however long
//!   its body drips on. Nothing is decompressed.
//! - A failure says whose fault it was, so that a receiver is never charged
//!   for ours.
//! - No credentials of a URL, and no address that a name led to, get into what
//!   is returned.
//! - A request's bytes are made and signed in one place, [`request`], whatever
//!   it is made for.
//!
//! Deliberately absent: retries, when to send what, what a status means, logging.
//! [`Policies`] only reads what the deployment says of these, for whoever
//! delivers and whoever shows it.

mod address;
mod answer;
mod classify;
mod client;
mod connect;
pub mod mail;
mod names;
mod policies;
mod ports;
mod progress;
mod proxy;
pub mod request;
mod resolver;
mod retry_after;
mod routes;
mod settings;
mod snippet;
mod target;
mod tls;

pub use address::{AddressPolicy, Forbidden};
pub use answer::{Answer, Attempt, Failure, FailureKind};
pub use client::{Client, EgressConfig, EgressError};
pub use ipnet::IpNet;
pub use names::{Found, NotFound};
pub use policies::Policies;
pub use proxy::EgressProxy;
pub use routes::families_without_a_route;
pub use target::{MAX_URL_BYTES, UrlError, host_of, loggable, loggable_url};
