//! What was decided, has no end, and is on the broker no more, is made anew.
//!
//! A broker whose power was cut loses deliveries that wait, also one that flushes every
//! write: that was seen with NATS 2.15.1. So some time after each connection to it was made
//! one replica looks through the decisions of before, and operators have it done when they
//! want.
//!
//! What a delivery was is known from history: its event, its decision, its tries. It goes on
//! with the number of its next try, and is marked as one that may have arrived: nobody knows
//! what had come of it, so that its end disables nothing.
//!
//! What is missing is looked at twice, the second time when history has caught up: it may
//! have ended in between. Dying on the way leaves the rest for the next time; a delivery that
//! the broker has is left alone, and the first write of one is refused where it stands or
//! waits.

use std::collections::HashSet;
use std::time::Duration;

use bus::{BusError, Stored};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{Stream, stream};
use protocol::v1;
use protocol::v1::target::Kind as TargetKind;
use protocol::v1::{AlertTarget, Delivery, Target};
use store::StoreError;
use store::history::{AcceptedRow, DecisionRow, Journey, OpenDecision, OpenPlace, Uuid};

use crate::SettingsApi;
use crate::journeys::hex;
use crate::resends::made_anew;

/// Decisions that are looked at between two words of how far it is.
const PAGE: u16 = 1000;
/// Unless the call says otherwise.
const OLDER_THAN: TimeDelta = TimeDelta::hours(1);
const SINCE: TimeDelta = TimeDelta::days(2);
/// How far back is looked after a connection: longer than every schedule.
const LONGEST: TimeDelta = TimeDelta::hours(12);
/// Between two pages, where nobody waits.
const PACE: Duration = Duration::from_millis(100);
/// After a failure, where nobody waits; and how often in a row.
const PATIENCE: Duration = Duration::from_secs(60);
const MOST_FAILURES: u32 = 60;
/// How long to wait before what is missing is looked at again.
const AGAIN: Duration = Duration::from_secs(5);
/// By how much history may be behind at the second look.
const CAUGHT_UP_S: f64 = 5.0;

/// Why nothing can be said of what is missing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the broker is not available; what was made anew until then is made. Try again")]
    Bus(#[from] BusError),
    #[error(
        "history is {lag_s:.0} seconds behind, and what is missing may have ended meanwhile; what \
         was made anew until then is made. Try again when archive has caught up"
    )]
    HistoryBehind { lag_s: f64 },
    #[error(
        "archive is not known to have caught up: its consumers do not answer. Wait until `admin \
         status` tells how far history is behind"
    )]
    HistoryUnknown,
    #[error("{0}")]
    ForgottenShards(String),
    #[error("older_than_seconds has to be less than since_seconds")]
    NoTime,
}

/// Which decisions are looked at, and how far that is.
#[derive(Clone)]
struct Reconciling {
    place: Option<OpenPlace>,
    since: DateTime<Utc>,
    older_than: DateTime<Utc>,
    is_trial: bool,
    done: v1::ReconcileProgress,
}

impl Reconciling {
    fn new(since: DateTime<Utc>, older_than: DateTime<Utc>, is_trial: bool) -> Self {
        let place = Some(OpenPlace::since(since));
        Self { place, since, older_than, is_trial, done: v1::ReconcileProgress::default() }
    }
}

impl SettingsApi {
    /// Looks at everything that was decided before this connection. What stands in its way is
    /// waited for, within bounds: then an operator has to.
    pub(crate) async fn reconcile_after(&self, connected: DateTime<Utc>) {
        let mut reconciling = Reconciling::new(connected - LONGEST, connected, false);
        let mut failures = 0;
        while failures < MOST_FAILURES {
            match self.reconcile_page(&mut reconciling).await {
                Ok(true) => {
                    failures = 0;
                    self.clock.sleep(PACE).await;
                }
                Ok(false) => {
                    let v1::ReconcileProgress { open, made, .. } = reconciling.done;
                    tracing::info!(open, made, "it was looked for what the broker may have lost");
                    return;
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(%error, "cannot look for what the broker may have lost");
                    self.clock.sleep(PATIENCE).await;
                }
            }
        }
        tracing::error!(
            "it was not looked for what the broker may have lost: run `postrider admin reconcile`"
        );
    }

    /// Looks at all decisions of that time, and says again and again how far it is.
    pub(crate) fn reconcile(
        &self,
        request: &v1::ReconcileRequest,
    ) -> Result<
        impl Stream<Item = Result<v1::ReconcileProgress, ReconcileError>> + use<>,
        ReconcileError,
    > {
        let seconds = |given: Option<u32>| given.map(|seconds| TimeDelta::seconds(seconds.into()));
        let older_than = seconds(request.older_than_seconds).unwrap_or(OLDER_THAN);
        let since = seconds(request.since_seconds).unwrap_or(SINCE);
        if older_than >= since {
            return Err(ReconcileError::NoTime);
        }
        let now = self.clock.now();
        let begun = Reconciling::new(now - since, now - older_than, request.dry_run);
        Ok(stream::try_unfold((self.clone(), begun), |(api, mut reconciling)| async move {
            let goes_on = api.reconcile_page(&mut reconciling).await?;
            Ok(goes_on.then_some((reconciling.done, (api, reconciling))))
        }))
    }

    /// Looks at the next page. Whether there was one.
    async fn reconcile_page(&self, reconciling: &mut Reconciling) -> Result<bool, ReconcileError> {
        let Some(place) = reconciling.place else { return Ok(false) };
        // What stands in a stream that this process does not know of would be missing.
        match self.bus.refuse_forgotten_shards().await {
            Err(BusError::Unsuitable(why)) => return Err(ReconcileError::ForgottenShards(why)),
            counted => counted?,
        }
        let page = self.store.decided_without_end(place, reconciling.older_than, PAGE).await?;
        let mut done = reconciling.done;
        let mut missing = Vec::new();
        for open in page.found.into_iter().filter(|open| open.routed_at >= reconciling.since) {
            done.open += 1;
            if self.is_on_broker(&open).await? {
                done.on_broker += 1;
            } else {
                missing.push(open);
            }
        }
        if !missing.is_empty() {
            self.look_again(missing, reconciling.is_trial, &mut done).await?;
        }
        (reconciling.place, reconciling.done) = (page.next, done);
        Ok(true)
    }

    async fn is_on_broker(&self, open: &OpenDecision) -> Result<bool, BusError> {
        self.bus.has_delivery(&hex(open.target_id), &hex(open.delivery_id)).await
    }

    /// Of what was missing a moment ago, makes anew what still is.
    async fn look_again(
        &self,
        missing: Vec<OpenDecision>,
        is_trial: bool,
        done: &mut v1::ReconcileProgress,
    ) -> Result<(), ReconcileError> {
        self.clock.sleep(AGAIN).await;
        let lag_s = self.history_lag_seconds().await.ok_or(ReconcileError::HistoryUnknown)?;
        if lag_s > CAUGHT_UP_S {
            return Err(ReconcileError::HistoryBehind { lag_s });
        }
        let ids: Vec<Uuid> = missing.iter().map(|open| open.delivery_id).collect();
        let ended: HashSet<Uuid> = self.store.ended_among(&ids).await?.into_iter().collect();
        for open in missing {
            if ended.contains(&open.delivery_id) {
                done.open -= 1;
                continue;
            }
            if self.is_on_broker(&open).await? {
                done.on_broker += 1;
                continue;
            }
            let Some(delivery) = self.as_history_knows(&open).await? else {
                tracing::warn!(delivery.id = %open.delivery_id, "what it was made of is gone");
                done.unreadable += 1;
                continue;
            };
            done.missing += 1;
            if !is_trial && self.put_back(delivery).await? {
                done.made += 1;
            }
        }
        Ok(())
    }

    async fn put_back(&self, delivery: Delivery) -> Result<bool, BusError> {
        let now = Some(self.clock.now().into());
        let delivery = Delivery { first_due: now, may_have_arrived: now, ..delivery };
        let is_new = self.bus.put_delivery_back(&delivery).await? == Stored::New;
        if is_new {
            metrics::counter!("postrider_deliveries_made_anew_total").increment(1);
            tracing::warn!(
                delivery.id = delivery.delivery_id,
                attempt = delivery.attempt,
                "a delivery that the broker had lost is made anew"
            );
        }
        Ok(is_new)
    }

    /// `None` where its event or its decision is kept no longer.
    async fn as_history_knows(&self, open: &OpenDecision) -> Result<Option<Delivery>, StoreError> {
        let OpenDecision { account_id, event_key, delivery_id, .. } = open;
        let accepted = self.store.accepted_events(account_id, &[*event_key]).await?;
        let Some(event) = accepted.first() else { return Ok(None) };
        let Journey { routings, attempts, .. } =
            self.store.journey(account_id, *event_key, &[]).await?;
        let mut decisions = routings.iter().flat_map(|routing| &routing.decisions);
        let decision = decisions.find(|it| it.delivery_id == Some(*delivery_id));
        let Some(decision) = decision else { return Ok(None) };
        // Of a setting that is gone there is nothing to deliver, and an end to tell.
        let target = self.target(account_id, event, decision).await?;
        let target = target.unwrap_or_else(|| alert_that_is_gone(event, decision));
        let Some(made) = made_anew(event, *delivery_id, 0, decision, target) else {
            return Ok(None);
        };
        let tries = attempts.iter().filter(|it| it.delivery_id == *delivery_id);
        let last = tries.max_by_key(|it| it.hop);
        Ok(Some(Delivery {
            attempt: last.map_or(0, |last| last.attempt),
            // A hop of its own: history knows a try by it.
            hop: last.map_or(0, |last| last.hop + 1),
            may_exist: true,
            ..made
        }))
    }
}

fn alert_that_is_gone(event: &AcceptedRow, decision: &DecisionRow) -> Target {
    let alert = AlertTarget {
        account_id: event.account_id.clone(),
        setting_id: decision.subscription_id.clone(),
        ..AlertTarget::default()
    };
    let id = decision.target_id.map(hex).unwrap_or_default();
    Target { id, kind: Some(TargetKind::Alert(alert)) }
}
