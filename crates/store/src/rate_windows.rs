//! How often each tenant has done something in its present minute, hour or day.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{Store, StoreError};

/// What is counted together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RateBudget {
    /// What the tenant's programs call.
    Api,
    /// What its people look at and change in the console.
    Console,
    /// Changes of everything that [`Self::Api`] does not count.
    Changes,
    /// Test calls.
    Tests,
    /// Addresses that test mails go to.
    TestMails,
    /// Domains that are made, whether they are there still or not.
    Domains,
    /// API keys, the same.
    ApiKeys,
    /// Subaccounts, the same.
    Subaccounts,
}

impl RateBudget {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Console => "console",
            Self::Changes => "changes",
            Self::Tests => "tests",
            Self::TestMails => "test_mails",
            Self::Domains => "domains",
            Self::ApiKeys => "api_keys",
            Self::Subaccounts => "subaccounts",
        }
    }

    /// How long it is until the count begins anew.
    pub const fn window(self) -> TimeDelta {
        match self {
            Self::Api | Self::Console | Self::Changes | Self::Tests => TimeDelta::minutes(1),
            Self::TestMails => TimeDelta::hours(1),
            Self::Domains | Self::ApiKeys | Self::Subaccounts => TimeDelta::days(1),
        }
    }
}

/// The present window of a tenant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RateWindow {
    /// When the count begins anew.
    pub ends_at: DateTime<Utc>,
    /// So far, with what was counted just now.
    pub count: u32,
}

impl Store {
    /// Counts what a tenant does. Its window begins with the first of it after the window
    /// before has ended.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn count_in_window(
        &self,
        primary_id: &str,
        budget: RateBudget,
        count: u32,
        at: DateTime<Utc>,
    ) -> Result<RateWindow, StoreError> {
        let row = sqlx::query!(
            "INSERT INTO tenant_windows AS w (primary_id, budget, ends_at, count) \
             VALUES ($1, $4, $2, $5) ON CONFLICT (primary_id, budget) DO UPDATE SET \
             count = CASE WHEN w.ends_at <= $3 THEN $5 \
             ELSE least(w.count::bigint + $5, 2147483647)::integer END, \
             ends_at = CASE WHEN w.ends_at <= $3 THEN excluded.ends_at ELSE w.ends_at END \
             RETURNING ends_at, count",
            primary_id,
            at + budget.window(),
            at,
            budget.as_str(),
            i32::try_from(count).unwrap_or(i32::MAX)
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(RateWindow { ends_at: row.ends_at, count: row.count.try_into().unwrap_or_default() })
    }
}
