//! How much work a tenant, which is a primary account with all its subaccounts, can cause
//! at one time: calls of any kind, requests to the outside, searches of the history, exports.
//!
//! A test call, or the check of a URL, makes this service ask a receiver, which
//! may take seconds. Without a bound, one customer could have us flood somebody,
//! or hold what all customers need. So each tenant has a few places, and the
//! process has some more. Who comes too early waits; who has waited too long is
//! sent away.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chassis::Clock;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;

/// Places of one tenant, in each process.
const OF_ONE_TENANT: usize = 4;
/// Places of all tenants together, in each process.
const OF_ALL: usize = 64;
/// Searches of one tenant, in each process.
const SEARCHES_OF_ONE_TENANT: usize = 3;
/// Searches of all tenants together: they leave connections to the calls that
/// are about settings.
const SEARCHES_OF_ALL: usize = 6;
/// Counts and journeys of one tenant at once, and of all: those are bounded by the connections.
const COUNTS_OF_ONE_TENANT: usize = 2;
const COUNTS_OF_ALL: usize = 64;
/// Exports of one tenant, in each process.
const EXPORTS_OF_ONE_TENANT: usize = 2;
/// Exports of all tenants together: each holds a page in memory.
const EXPORTS_OF_ALL: usize = 32;
/// Calls of all tenants together. The door has a limit of its own.
const CALLS_OF_ALL: usize = 10_000;
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
    of_one_tenant: usize,
    /// What whoever has waited too long is told.
    refusal: &'static str,
    patience: Duration,
    /// Only tenants that have a call under way.
    tenants: Mutex<HashMap<String, Tenant>>,
}

#[derive(Debug)]
struct Tenant {
    places: Arc<Semaphore>,
    /// Calls that have a place or wait for one.
    calls: usize,
}

/// A place. Dropping it gives it to the next one.
#[derive(Debug)]
pub(crate) struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_tenant: OwnedSemaphorePermit,
    _call: Call,
}

/// A call of a tenant, for as long as it waits or has a place.
#[derive(Debug)]
struct Call {
    primary_id: String,
    shared: Arc<Shared>,
}

impl Outbound {
    pub(crate) fn new(clock: Clock) -> Self {
        Self::with_patience(clock, PATIENCE)
    }

    /// Places for searches of the history.
    pub(crate) fn searches(clock: Clock) -> Self {
        let refusal = "Too many searches at once";
        Self::with(clock, PATIENCE, SEARCHES_OF_ALL, SEARCHES_OF_ONE_TENANT, refusal)
    }

    /// Places for counts and journeys.
    pub(crate) fn counts(clock: Clock) -> Self {
        let refusal = "Too many counts and journeys at once";
        Self::with(clock, PATIENCE, COUNTS_OF_ALL, COUNTS_OF_ONE_TENANT, refusal)
    }

    /// Places for exports.
    pub(crate) fn exports(clock: Clock) -> Self {
        let refusal = "Too many exports at once";
        Self::with(clock, PATIENCE, EXPORTS_OF_ALL, EXPORTS_OF_ONE_TENANT, refusal)
    }

    /// Places for calls, where these are the connections to the database: no tenant has
    /// more than half of them, or one more than it has test calls, and none has all.
    pub(crate) fn calls(clock: Clock, connections: usize) -> Self {
        let of_one = (connections / 2).max(OF_ONE_TENANT + 1).min(connections.max(2) - 1);
        Self::with(clock, PATIENCE, CALLS_OF_ALL, of_one, "Too many calls at once")
    }

    fn with_patience(clock: Clock, patience: Duration) -> Self {
        let refusal = "Too many test calls and checks of URLs at once";
        Self::with(clock, patience, OF_ALL, OF_ONE_TENANT, refusal)
    }

    fn with(
        clock: Clock,
        patience: Duration,
        of_all: usize,
        of_one_tenant: usize,
        refusal: &'static str,
    ) -> Self {
        let all = Arc::new(Semaphore::new(of_all));
        let tenants = Mutex::default();
        let shared = Shared { all, of_one_tenant, refusal, patience, tenants };
        Self { shared: Arc::new(shared), clock }
    }

    /// Waits for a place, to be held for as long as the receiver is asked.
    ///
    /// # Errors
    /// 429 when none was free for too long.
    pub(crate) async fn place(&self, primary_id: &str) -> Result<Place, ApiError> {
        let (call, of_tenant) = Call::begin(&self.shared, primary_id);
        let all = Arc::clone(&self.shared.all);
        // The tenant's own first: who waits for its own holds nobody else up.
        let places = async {
            let own = of_tenant.acquire_owned().await?;
            Ok::<_, AcquireError>((own, all.acquire_owned().await?))
        };
        let places = tokio::select! {
            places = places => places.ok(),
            () = self.clock.sleep(self.shared.patience) => None,
        };
        let Some((of_tenant, of_all)) = places else {
            metrics::counter!("postrider_settings_api_outbound_refused_total").increment(1);
            let message = self.shared.refusal;
            return Err(ApiError::TooManyRequests { retry_seconds: RETRY_SECONDS, message });
        };
        Ok(Place { _of_all: of_all, _of_tenant: of_tenant, _call: call })
    }
}

impl Call {
    fn begin(shared: &Arc<Shared>, primary_id: &str) -> (Self, Arc<Semaphore>) {
        let mut tenants = shared.tenants();
        let tenant = tenants.entry(primary_id.to_owned()).or_insert_with(|| {
            let places = Arc::new(Semaphore::new(shared.of_one_tenant));
            Tenant { places, calls: 0 }
        });
        tenant.calls += 1;
        let call = Self { primary_id: primary_id.to_owned(), shared: Arc::clone(shared) };
        (call, Arc::clone(&tenant.places))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut tenants = self.shared.tenants();
        if let Some(tenant) = tenants.get_mut(&self.primary_id) {
            tenant.calls -= 1;
            if tenant.calls == 0 {
                tenants.remove(&self.primary_id);
            }
        }
    }
}

impl Shared {
    /// A panic elsewhere leaves nothing half-done here.
    fn tenants(&self) -> MutexGuard<'_, HashMap<String, Tenant>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_tenant_does_not_take_all_places() {
        let outbound = Outbound::with_patience(Clock::system(), Duration::from_millis(50));
        let mut held = Vec::new();
        for _ in 0..OF_ONE_TENANT {
            held.push(outbound.place("a").await.expect("a place"));
        }
        let refused = outbound.place("a").await.expect_err("no place left");
        assert!(matches!(refused, ApiError::TooManyRequests { .. }), "{refused:?}");
        outbound.place("b").await.expect("another tenant's place");
        held.pop();
        outbound.place("a").await.expect("a place that was given back");
        held.clear();
        assert!(outbound.shared.tenants().is_empty(), "nothing is kept of who is gone");
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
