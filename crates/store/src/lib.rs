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

mod account_domains;
mod account_info;
mod account_webhooks;
mod accounts;
mod alerts;
mod api_keys;
mod callers;
mod config;
mod database;
mod deployment;
mod documents;
mod domain_webhooks;
mod domains;
mod erasures;
mod error;
mod forget;
pub mod history;
mod lifecycle;
mod notices;
mod operators;
mod outbox;
mod quotas;
mod rate_windows;
mod resends;
mod signing_keys;
mod subaccounts;
mod url_options;
mod webhooks;

pub use account_domains::{AccountDomain, DomainChange, DomainOrder, DomainPage};
pub use account_info::{AccountInfo, FeatureChanges, Features};
pub use account_webhooks::{AccountWebhook, AccountWebhooks, NewAccountWebhook, Removed};
pub use accounts::{Account, AccountStatus, NewAccount, SealedKeys};
pub use alerts::{AlertDestination, AlertSetting, ExhaustedAlert, NewAlert};
pub use api_keys::{ApiKey, KeyFilter, KeyKind, NewKey, Role};
pub use callers::{Authenticated, CallerAccount, Family};
pub use config::StoreConfig;
pub use database::{DatabaseUrl, Store};
pub use deployment::KnownBucket;
pub use documents::{Document, Documents, MAX_DOCUMENT_BYTES};
pub use domain_webhooks::{DomainWebhook, DomainWithUrl, MAX_URLS};
pub use domains::{Domain, NewDomain};
pub use erasures::{Pass, Purge};
pub use error::{StoreError, Thing};
pub use forget::{ForgetPlace, Forgetting};
pub use notices::{AlertTrouble, Notice, NoticeStage};
pub use operators::{AccountChange, AccountDetails, PathQuota};
pub use outbox::{DocumentKey, Outbox, Publication};
pub use quotas::{Quota, Quotas, Usage};
pub use rate_windows::{RateBudget, RateWindow};
pub use resends::{AfterNote, JobBatch, MAX_RESENDS, NewResend, Resend, ResendBatch, Undelivered};
pub use signing_keys::{Resealing, SealedHeader, SealedSecrets, SigningKeyKind};
pub use subaccounts::{NewSubaccount, Subaccount, SubaccountQuery};
pub use url_options::{
    AccountPolicies, MAX_URL_OPTIONS, NewHeader, NewUrlOptions, UrlHeader, UrlOptions,
};
pub use webhooks::{AnyWebhook, WebhookPage};
