//! After a disaster: what was decided, has no end, and is on the broker no more, is made anew.
//!
//! What a delivery was is known from history: its event, its decision, its tries. It goes on
//! with the number of its next try, and is marked as one that may have arrived: nobody knows
//! what had come of it, so that its end disables nothing.
//!
//! May be asked for again and again, and dying on the way leaves the rest for the next time:
//! a delivery that the broker has is left alone, and the first write of one is refused where
//! it stands or waits.

use bus::{BusError, Stored};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{Stream, stream};
use protocol::v1;
use protocol::v1::target::Kind as TargetKind;
use protocol::v1::{AlertTarget, Delivery, Target};
use store::StoreError;
use store::history::{AcceptedRow, DecisionRow, Journey, OpenDecision, OpenPlace};

use crate::SettingsApi;
use crate::journeys::hex;
use crate::resends::made_anew;

/// Decisions that are looked at between two words of how far it is.
const PAGE: u16 = 1000;
/// Unless the call says otherwise.
const OLDER_THAN: TimeDelta = TimeDelta::hours(1);
const SINCE: TimeDelta = TimeDelta::days(2);

/// Why nothing can be said of what is missing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the broker is not available; what was made anew until then is made. Try again")]
    Bus(#[from] BusError),
    #[error(
        "history is {lag_s:.0} seconds behind, and what was decided {older_than_s} seconds ago may \
         have ended meanwhile: wait, or ask for what is older"
    )]
    HistoryBehind { lag_s: f64, older_than_s: i64 },
    #[error(
        "archive is not known to have caught up: its consumers do not answer. Wait until `admin \
         status` tells how far history is behind"
    )]
    HistoryUnknown,
    #[error("older_than_seconds has to be less than since_seconds")]
    NoTime,
}

/// What is to be looked at.
struct Range {
    since: DateTime<Utc>,
    older_than: DateTime<Utc>,
}

impl SettingsApi {
    /// Looks at all decisions of that time, and says again and again how far it is.
    pub(crate) async fn reconcile(
        &self,
        request: &v1::ReconcileRequest,
    ) -> Result<
        impl Stream<Item = Result<v1::ReconcileProgress, ReconcileError>> + use<>,
        ReconcileError,
    > {
        let range = self.range(request).await?;
        let api = self.clone();
        let is_trial = request.dry_run;
        let place = Some(OpenPlace::since(range.since));
        let begun = (api, place, v1::ReconcileProgress::default());
        Ok(stream::try_unfold(begun, move |(api, place, mut done)| {
            let (since, older_than) = (range.since, range.older_than);
            async move {
                let Some(place) = place else { return Ok(None) };
                let page = api.store.decided_without_end(place, older_than, PAGE).await?;
                let found = page.found.into_iter().filter(|open| open.routed_at >= since);
                for open in found {
                    api.look_at(&open, is_trial, &mut done).await?;
                }
                Ok(Some((done, (api, page.next, done))))
            }
        }))
    }

    async fn range(&self, request: &v1::ReconcileRequest) -> Result<Range, ReconcileError> {
        let seconds = |given: Option<u32>| given.map(|seconds| TimeDelta::seconds(seconds.into()));
        let older_than = seconds(request.older_than_seconds).unwrap_or(OLDER_THAN);
        let since = seconds(request.since_seconds).unwrap_or(SINCE);
        if older_than >= since {
            return Err(ReconcileError::NoTime);
        }
        // An end that history does not have yet would be one that is missing.
        let lag_s = self.history_lag_seconds().await.ok_or(ReconcileError::HistoryUnknown)?;
        let older_than_s = older_than.num_seconds();
        if lag_s > older_than_s as f64 {
            return Err(ReconcileError::HistoryBehind { lag_s, older_than_s });
        }
        let now = self.clock.now();
        Ok(Range { since: now - since, older_than: now - older_than })
    }

    async fn look_at(
        &self,
        open: &OpenDecision,
        is_trial: bool,
        done: &mut v1::ReconcileProgress,
    ) -> Result<(), ReconcileError> {
        done.open += 1;
        let Some(delivery) = self.as_history_knows(open).await? else {
            tracing::warn!(delivery.id = %open.delivery_id, "what it was made of is gone");
            done.unreadable += 1;
            return Ok(());
        };
        if self.bus.has_delivery(&delivery).await? {
            done.on_broker += 1;
            return Ok(());
        }
        done.missing += 1;
        if is_trial {
            return Ok(());
        }
        let first_due = Some(self.clock.now().into());
        let delivery = Delivery { first_due, may_have_arrived: first_due, ..delivery };
        if self.bus.put_delivery_back(&delivery).await? == Stored::New {
            done.made += 1;
            metrics::counter!("postrider_deliveries_made_anew_total").increment(1);
            tracing::warn!(
                delivery.id = delivery.delivery_id,
                attempt = delivery.attempt,
                "a delivery that the broker had lost is made anew"
            );
        }
        Ok(())
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
