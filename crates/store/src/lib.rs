//! PostgreSQL: settings and history, and all SQL there is. One module per group of tables.
//!
//! What must always hold:
//! - a change of settings is one transaction, which locks the row of its
//!   account or domain, raises the version and leaves a row in the outbox;
//! - the limits that customers are promised are constraints of the database;
//! - every insert into history can be repeated.
//!
//! Deliberately absent: the clock, chance and secrets in the clear. Moments and
//! ids come in as arguments, keys come in sealed or hashed. Nothing on the
//! delivery path depends on this crate.

mod account_webhooks;
mod accounts;
mod alerts;
mod api_keys;
mod config;
mod database;
mod documents;
mod domain_webhooks;
mod domains;
mod error;
pub mod history;
mod outbox;
mod quotas;
mod rate_windows;

pub use account_webhooks::{AccountWebhook, NewAccountWebhook};
pub use accounts::{Account, AccountStatus, NewAccount, NewKey, SealedKeys};
pub use alerts::{AlertDestination, AlertSetting, ExhaustedAlert, NewAlert};
pub use api_keys::{ApiKey, Authenticated, CallerAccount, Role};
pub use config::StoreConfig;
pub use database::{DatabaseUrl, Store};
pub use documents::Document;
pub use domain_webhooks::{DomainWebhook, MAX_URLS};
pub use domains::{Domain, NewDomain};
pub use error::{StoreError, Thing};
pub use outbox::{DocumentKey, Publication};
pub use quotas::{Quota, Quotas};
pub use rate_windows::RateWindow;
