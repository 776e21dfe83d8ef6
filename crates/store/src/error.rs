//! What a caller of the store can act on.

use std::fmt;

use crate::{AccountStatus, Quota};

/// Why the store did not do it. Nothing was changed, unless it is
/// [`StoreError::Database`] out of a commit, which may have been done all the same.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// What was named is not there.
    #[error("{0} not found")]
    NotFound(Thing),
    /// It is there already, or its place is taken.
    #[error("{0} already exists")]
    Exists(Thing),
    /// The parent that was named is a subaccount itself.
    #[error("a subaccount cannot have subaccounts")]
    NestedSubaccount,
    /// An event type, or an id of it, has all the URLs that it may have.
    #[error(
        "unable to add more than {most} url{} for event type {event_type}",
        if *most == 1 { "" } else { "s" }
    )]
    TooManyUrls {
        /// The webhook id.
        event_type: String,
        /// How many it may have.
        most: usize,
    },
    /// The account has this URL for that event type already.
    #[error("url {url} already exists for event type {event_type}")]
    UrlExists {
        /// The webhook id.
        event_type: String,
        /// The URL.
        url: String,
    },
    /// The account is closed for good; nothing of it changes any more.
    #[error("the account is closed")]
    AccountClosed,
    /// Only a closed account can be erased.
    #[error("account {name} is not closed; close it first, which is final")]
    AccountNotClosed {
        /// Its name.
        name: String,
    },
    /// Another deployment has this database.
    #[error(
        "this database belongs to the deployment of region {found}, and POSTRIDER_REGION is \
         {region}; give each region a database of its own"
    )]
    OtherRegion {
        /// Whose it is.
        found: String,
        /// Who asked.
        region: String,
    },
    /// The account has as many of these as it may have.
    #[error("an account can have at most {limit} {quota}")]
    QuotaReached {
        /// Of what.
        quota: Quota,
        /// How many.
        limit: i64,
    },
    /// The settings of the account would be larger than they may be.
    #[error(
        "the settings of an account have at most {} KiB, and with this they would have {} KiB: its \
         webhooks, its alerts, and what it says of URLs, headers included",
        crate::MAX_DOCUMENT_BYTES / 1024,
        bytes.div_ceil(1024)
    )]
    SettingsTooLarge {
        /// As a document.
        bytes: usize,
    },
    /// The account says something of as many URLs as it may.
    #[error("an account can have options for at most {} URLs", crate::MAX_URL_OPTIONS)]
    TooManyUrlOptions,
    /// The account has as many jobs that send again as it may have.
    #[error("at most {} resends can be under way; wait for one, or cancel it", crate::MAX_RESENDS)]
    TooManyResends,
    /// A job that is done or cancelled stays so.
    #[error("the resend has ended")]
    ResendEnded,
    /// The delivery has been sent again.
    #[error("this delivery was sent again already")]
    SentAgain,
    /// What stands there was not written by this service.
    #[error("the database has {0} that cannot be read")]
    Corrupt(&'static str),
    /// Without this key nobody could make another one for the account.
    #[error("this is the account's only admin key that does not expire; make another one first")]
    LastAdminKey,
    /// An operator has disabled the domain.
    #[error("domain is disabled")]
    DomainDisabled,
    /// A subaccount is in that state already, or in one that it cannot leave.
    #[error("subaccount is already {}", match .0 {
        AccountStatus::Open => "enabled",
        AccountStatus::Disabled => "disabled",
        AccountStatus::Closed => "closed",
    })]
    Already(AccountStatus),
    /// No connection to the database could be made.
    #[error("the database at {at} cannot be used: {reason}")]
    Unreachable {
        /// Host, port and name.
        at: String,
        /// Of the system, or of the database.
        reason: String,
        /// Whether the same may go well a little later.
        may_pass: bool,
    },
    /// The database did not do what it was asked to.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// The schema is older than this release, and this user may not change it.
    #[error(
        "the schema lacks {missing} migration(s), up to {last}, and this user of the database may \
         not apply them; run `postrider migrate` as the user that owns the tables"
    )]
    NotMigrated {
        /// How many.
        missing: usize,
        /// The newest.
        last: String,
    },
    /// The schema could not be brought up to date.
    #[error("migration: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

/// What was not found, or exists already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Thing {
    Account,
    ParentAccount,
    ApiKey,
    Domain,
    Webhook,
    AlertSetting,
    UrlOptions,
    Header,
    Resend,
    Delivery,
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Account => "account",
            Self::ParentAccount => "parent account",
            Self::ApiKey => "API key",
            Self::Domain => "domain",
            Self::Webhook => "webhook",
            Self::AlertSetting => "alert setting",
            Self::UrlOptions => "options for this URL",
            Self::Header => "a header that is to be kept",
            Self::Resend => "resend",
            Self::Delivery => "a delivery of this id that has ended",
        })
    }
}

impl StoreError {
    /// Whether the database is away or too busy, so that the same call may
    /// succeed a little later.
    pub fn is_unavailable(&self) -> bool {
        let error = match self {
            Self::Unreachable { may_pass, .. } => return *may_pass,
            Self::Database(error) => error,
            Self::Migrate(sqlx::migrate::MigrateError::Execute(error)) => error,
            _ => return false,
        };
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            // PostgreSQL, appendix A: connection exceptions, insufficient resources,
            // operator intervention, and a lock that was not available in time.
            sqlx::Error::Database(error) => error.code().is_some_and(|code| {
                ["08", "53", "57"].iter().any(|class| code.starts_with(class)) || code == "55P03"
            }),
            _ => false,
        }
    }

    /// Whether the database refuses what it was given, so that the same call
    /// will never succeed: PostgreSQL's data exceptions, integrity violations and
    /// limits, such as that of a key in an index.
    pub fn is_about_the_data(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Encode(_)) => true,
            Self::Database(error) if is_out_of_place(error) => false,
            Self::Database(sqlx::Error::Database(error)) => error
                .code()
                .is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class))),
            _ => false,
        }
    }
}

/// Whether an insert met a row that has the same unique key.
pub(crate) fn is_duplicate(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// Whether a lock was not to be had in time.
pub(crate) fn is_lock_timeout(error: &StoreError) -> bool {
    let StoreError::Database(error) = error else { return false };
    // PostgreSQL, appendix A: lock_not_available, deadlock_detected.
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == "55P03" || code == "40P01")
}

/// Whether a row has no place for a moment, because another process is just making its day,
/// which is a violation too. Tried again, it finds it.
pub(crate) fn is_out_of_place(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("23514"))
}
