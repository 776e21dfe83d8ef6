//! How much work customers can cause at one time, where each piece takes long:
//! requests to the outside, and searches of the history.
//!
//! A test call, or the check of a URL, makes this service ask a receiver, which
//! may take seconds. Without a bound, one customer could have us flood somebody,
//! or hold what all customers need. So each account has a few places, and the
//! process has some more. Who comes too early waits; who has waited too long is
//! sent away.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chassis::Clock;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;

/// Places of one account, in each process.
const OF_ONE_ACCOUNT: usize = 4;
/// Places of all accounts together, in each process.
const OF_ALL: usize = 64;
/// Searches of one account, in each process.
const SEARCHES_OF_ONE_ACCOUNT: usize = 3;
/// Searches of all accounts together: they leave connections to the calls that
/// are about settings.
const SEARCHES_OF_ALL: usize = 6;
/// How long a call waits for a place: long enough for a script that sends a
/// handful of calls at once to receivers that answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// When to ask again, in seconds, for who has waited in vain.
const RETRY_SECONDS: i64 = 5;

/// The places of this process. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Outbound {
    shared: Arc<Shared>,
    clock: Clock,
}

#[derive(Debug)]
struct Shared {
    all: Arc<Semaphore>,
    of_one_account: usize,
    /// What whoever has waited too long is told.
    refusal: &'static str,
    patience: Duration,
    /// Only accounts that have a call under way.
    accounts: Mutex<HashMap<String, Account>>,
}

#[derive(Debug)]
struct Account {
    places: Arc<Semaphore>,
    /// Calls that have a place or wait for one.
    calls: usize,
}

/// A place. Dropping it gives it to the next one.
#[derive(Debug)]
pub(crate) struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_account: OwnedSemaphorePermit,
    _call: Call,
}

/// A call of an account, for as long as it waits or has a place.
#[derive(Debug)]
struct Call {
    account_id: String,
    shared: Arc<Shared>,
}

impl Outbound {
    pub(crate) fn new(clock: Clock) -> Self {
        Self::with_patience(clock, PATIENCE)
    }

    /// Places for searches of the history.
    pub(crate) fn searches(clock: Clock) -> Self {
        let refusal = "Too many searches at once";
        Self::with(clock, PATIENCE, SEARCHES_OF_ALL, SEARCHES_OF_ONE_ACCOUNT, refusal)
    }

    fn with_patience(clock: Clock, patience: Duration) -> Self {
        let refusal = "Too many test calls and checks of URLs at once";
        Self::with(clock, patience, OF_ALL, OF_ONE_ACCOUNT, refusal)
    }

    fn with(
        clock: Clock,
        patience: Duration,
        of_all: usize,
        of_one_account: usize,
        refusal: &'static str,
    ) -> Self {
        let all = Arc::new(Semaphore::new(of_all));
        let accounts = Mutex::default();
        let shared = Shared { all, of_one_account, refusal, patience, accounts };
        Self { shared: Arc::new(shared), clock }
    }

    /// Waits for a place, to be held for as long as the receiver is asked.
    ///
    /// # Errors
    /// 429 when none was free for too long.
    pub(crate) async fn place(&self, account_id: &str) -> Result<Place, ApiError> {
        let (call, of_account) = Call::begin(&self.shared, account_id);
        let all = Arc::clone(&self.shared.all);
        // The account's own first: who waits for its own holds nobody else up.
        let places = async {
            let own = of_account.acquire_owned().await?;
            Ok::<_, AcquireError>((own, all.acquire_owned().await?))
        };
        let places = tokio::select! {
            places = places => places.ok(),
            () = self.clock.sleep(self.shared.patience) => None,
        };
        let Some((of_account, of_all)) = places else {
            metrics::counter!("postrider_settings_api_outbound_refused_total").increment(1);
            let message = self.shared.refusal;
            return Err(ApiError::TooManyRequests { retry_seconds: RETRY_SECONDS, message });
        };
        Ok(Place { _of_all: of_all, _of_account: of_account, _call: call })
    }
}

impl Call {
    fn begin(shared: &Arc<Shared>, account_id: &str) -> (Self, Arc<Semaphore>) {
        let mut accounts = shared.accounts();
        let account = accounts.entry(account_id.to_owned()).or_insert_with(|| {
            let places = Arc::new(Semaphore::new(shared.of_one_account));
            Account { places, calls: 0 }
        });
        account.calls += 1;
        let call = Self { account_id: account_id.to_owned(), shared: Arc::clone(shared) };
        (call, Arc::clone(&account.places))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut accounts = self.shared.accounts();
        if let Some(account) = accounts.get_mut(&self.account_id) {
            account.calls -= 1;
            if account.calls == 0 {
                accounts.remove(&self.account_id);
            }
        }
    }
}

impl Shared {
    /// A panic elsewhere leaves nothing half-done here.
    fn accounts(&self) -> MutexGuard<'_, HashMap<String, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_account_does_not_take_all_places() {
        let outbound = Outbound::with_patience(Clock::system(), Duration::from_millis(50));
        let mut held = Vec::new();
        for _ in 0..OF_ONE_ACCOUNT {
            held.push(outbound.place("a").await.expect("a place"));
        }
        let refused = outbound.place("a").await.expect_err("no place left");
        assert!(matches!(refused, ApiError::TooManyRequests { .. }), "{refused:?}");
        outbound.place("b").await.expect("another account's place");
        held.pop();
        outbound.place("a").await.expect("a place that was given back");
        held.clear();
        assert!(outbound.shared.accounts().is_empty(), "nothing is kept of who is gone");
    }

    #[tokio::test]
    async fn who_waits_gets_the_next_place() {
        let outbound = Outbound::with_patience(Clock::system(), Duration::from_secs(60));
        let mut held = Vec::new();
        for n in 0..OF_ALL {
            held.push(outbound.place(&format!("a{n}")).await.expect("a place"));
        }
        let (waited, ()) = tokio::join!(outbound.place("late"), async { drop(held.pop()) });
        waited.expect("the place of who left");
    }
}
