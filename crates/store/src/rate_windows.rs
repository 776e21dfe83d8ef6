//! How many calls each account has made in its present minute.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{Store, StoreError};

/// Whose calls are counted together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RateBudget {
    /// What the account's programs call.
    Api,
    /// What its people look at and change in the console.
    Console,
}

impl RateBudget {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Console => "console",
        }
    }
}

const WINDOW: TimeDelta = TimeDelta::minutes(1);

/// The present minute of an account.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RateWindow {
    /// When the count begins anew.
    pub ends_at: DateTime<Utc>,
    /// Calls so far, with this one.
    pub calls: u32,
}

impl Store {
    /// Counts a call of an account. Its minute begins with the first call
    /// after the minute before has ended.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn count_call(
        &self,
        account_id: &str,
        budget: RateBudget,
        at: DateTime<Utc>,
    ) -> Result<RateWindow, StoreError> {
        let row = sqlx::query!(
            "INSERT INTO rate_windows AS w (account_id, budget, ends_at, calls) \
             VALUES ($1, $4, $2, 1) ON CONFLICT (account_id, budget) DO UPDATE SET \
             calls = CASE WHEN w.ends_at <= $3 THEN 1 ELSE w.calls + 1 END, \
             ends_at = CASE WHEN w.ends_at <= $3 THEN excluded.ends_at ELSE w.ends_at END \
             RETURNING ends_at, calls",
            account_id,
            at + WINDOW,
            at,
            budget.as_str()
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(RateWindow { ends_at: row.ends_at, calls: row.calls.try_into().unwrap_or_default() })
    }
}
