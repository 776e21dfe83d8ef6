//! Looks after the bucket of settings: one replica at a time.
//!
//! What PostgreSQL has and the bucket lacks is published without anybody's asking.
//! A bucket that is gone, empty, made anew or put back to an older copy gets all
//! documents, and says of itself that it has them only when it does: until then `ingest`
//! takes nothing, rather than calling an account unknown that merely is not there yet.
//! Otherwise a slow walk compares versions, a thousand documents a minute, and publishes
//! again what differs: a single document that was deleted, mangled or put back.
//!
//! Documents of deleted domains and erased accounts leave the bucket once nothing of them can
//! be on its way (`store/src/forget.rs`).

use std::time::Duration;

use bus::{BucketState, BusError, InBucket};
use chassis::Tasks;
use chrono::{DateTime, Utc};
use store::{DocumentKey, ForgetPlace, KnownBucket, StoreError};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::SettingsApi;
use crate::publish::Republishing;

/// How often to look; a page of documents is compared each time.
const LOOK_EVERY: Duration = Duration::from_secs(6);
/// How long to wait before a page is tried again that the broker did not take.
const PAUSE: Duration = Duration::from_secs(1);
/// How often that is done before all of it begins anew.
const TRIES: u32 = 10;
/// Documents that a page has at most.
const PAGE: usize = 100;

#[derive(Debug, thiserror::Error)]
enum GuardError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("the broker takes no documents")]
    NotTaken,
    #[error("the bucket was changed by others meanwhile")]
    Overtaken,
}

/// How far the walk has come: accounts after this id, or domains.
enum Walk {
    Accounts(String),
    Domains(String),
}

/// What one replica knows from one look to the next.
struct Guard {
    me: Uuid,
    walk: Walk,
    /// Where the walk over deleted domains is.
    forgets: Option<ForgetPlace>,
    /// The bucket was not there at the last look.
    is_gone: bool,
    /// The connection after which it was looked for what the broker has lost.
    reconciled: Option<DateTime<Utc>>,
    /// Whoever does that.
    reconciling: Option<JoinHandle<()>>,
}

impl SettingsApi {
    /// Runs until a stop is asked for.
    pub(crate) async fn guard_bucket(&self, tasks: &Tasks) {
        let me = uuid::Builder::from_random_bytes(chassis::entropy::bytes()).into_uuid();
        let mut guard = Guard {
            me,
            walk: Walk::Accounts(String::new()),
            forgets: None,
            is_gone: false,
            reconciled: None,
            reconciling: None,
        };
        while !tasks.is_stopping() {
            if let Err(error) = self.look(&mut guard, tasks).await {
                tracing::warn!(%error, "the settings on the broker cannot be looked after");
            }
            tokio::select! {
                () = self.clock.sleep(LOOK_EVERY) => {}
                () = tasks.stopping() => {}
            }
        }
        // Without this, another replica waits until the lease is over.
        if let Err(error) = self.store.stop_leading(me).await {
            tracing::debug!(%error, "the next one to look after the settings waits a little");
        }
    }

    async fn look(&self, guard: &mut Guard, tasks: &Tasks) -> Result<(), GuardError> {
        let Some(known) = self.store.lead(guard.me).await? else { return Ok(()) };
        if self.check_broker().is_err() {
            return Ok(());
        }
        let Some(bucket) = self.bus.settings_state().await? else {
            // Twice in a row, so that a broker which is being put back together, by itself or
            // by somebody who restores it, is left to that for a moment.
            if std::mem::replace(&mut guard.is_gone, true) {
                tell_lost("gone");
                self.bus.make_missing().await?;
            }
            return Ok(());
        };
        guard.is_gone = false;
        match trouble(&known, &bucket) {
            None => {
                self.store.note_bucket(bucket.created_ms, bucket.last_sequence).await?;
                self.look_for_lost(guard, tasks);
                self.walk_on(guard).await?;
                self.forget_on(guard).await
            }
            Some(why) => {
                if known.complete.is_some() {
                    tell_lost(why);
                } else {
                    tracing::info!(why, "all settings are published");
                }
                self.publish_all(guard.me, &known, &bucket, tasks).await
            }
        }
    }

    /// Publishes everything, and says of the bucket that it is complete. Dying on the way
    /// leaves it incomplete, and the next look, of whichever replica, begins anew.
    async fn publish_all(
        &self,
        me: Uuid,
        known: &KnownBucket,
        bucket: &BucketState,
        tasks: &Tasks,
    ) -> Result<(), GuardError> {
        // What an older version has published without saying so goes on being used.
        let is_older_versions =
            known.complete.is_none() && bucket.complete.is_none() && !bucket.is_empty;
        let since = if is_older_versions { 0 } else { self.bus.begin_settings().await? };
        let mut republishing = Republishing::of(self.clone());
        while republishing.step().await? {
            for _ in 0..TRIES {
                if republishing.refused.is_empty() {
                    break;
                }
                self.clock.sleep(PAUSE).await;
                republishing.again().await;
            }
            if !republishing.refused.is_empty() {
                return Err(GuardError::NotTaken);
            }
            if tasks.is_stopping() || self.store.lead(me).await?.is_none() {
                return Ok(());
            }
        }
        let after = self.bus.settings_state().await?;
        let Some(after) = after.filter(|after| after.created_ms == bucket.created_ms) else {
            return Err(GuardError::Overtaken);
        };
        if !self.bus.complete_settings(&known.database_id.to_string(), since).await? {
            return Err(GuardError::Overtaken);
        }
        let documents = republishing.done.published;
        tracing::info!(documents, "all settings are on the broker");
        Ok(self.store.note_bucket(after.created_ms, after.last_sequence).await?)
    }

    /// Some time after each connection to the broker, has it looked for deliveries that the
    /// broker has lost before: beside everything else, and once at a time.
    fn look_for_lost(&self, guard: &mut Guard, tasks: &Tasks) {
        let (after, connected) = (self.reconcile_after, self.bus.connected_since());
        let stood = (self.clock.now() - connected).to_std().unwrap_or_default();
        let is_running = guard.reconciling.as_ref().is_some_and(|it| !it.is_finished());
        if after.is_zero() || stood < after || is_running || guard.reconciled == Some(connected) {
            return;
        }
        guard.reconciled = Some(connected);
        let (api, stopping) = (self.clone(), tasks.stop_token());
        guard.reconciling = Some(tasks.spawn(async move {
            tokio::select! {
                () = api.reconcile_after(connected) => {}
                // What is left is done after the next start.
                () = stopping.cancelled() => {}
            }
        }));
    }

    /// Compares the next page.
    async fn walk_on(&self, guard: &mut Guard) -> Result<(), GuardError> {
        let mut compared = 0;
        while compared < PAGE {
            let page = match &guard.walk {
                Walk::Accounts(after) => self.store.account_versions_after(after).await?,
                Walk::Domains(after) => self.store.domain_versions_after(after).await?,
            };
            for (key, version) in &page {
                self.compare(key, *version).await?;
            }
            compared += page.len();
            let is_over = page.len() < PAGE;
            guard.walk = match (&guard.walk, page.into_iter().next_back()) {
                (Walk::Accounts(_), _) if is_over => Walk::Domains(String::new()),
                (Walk::Domains(_), _) if is_over => Walk::Accounts(String::new()),
                (_, Some((DocumentKey::Account(id), _))) => Walk::Accounts(id),
                (_, Some((DocumentKey::Domain(id), _))) => Walk::Domains(id),
                (_, None) => Walk::Accounts(String::new()),
            };
            if is_over && matches!(guard.walk, Walk::Accounts(_)) {
                break;
            }
        }
        Ok(())
    }

    /// Has the documents of the next page leave the bucket of which nothing can be on its way
    /// any more.
    async fn forget_on(&self, guard: &mut Guard) -> Result<(), GuardError> {
        if chassis::mutant("deleted_stays") {
            return Ok(());
        }
        let now = self.clock.now();
        let domains = self.store.domains_to_forget(guard.forgets.as_ref(), now).await?;
        guard.forgets = domains.last().map(|(place, _)| place.clone());
        let accounts = self.store.accounts_to_forget(now).await?;
        for key in accounts.into_iter().chain(domains.into_iter().map(|(_, key)| key)) {
            self.forget(&key, now).await?;
        }
        Ok(())
    }

    async fn forget(&self, key: &DocumentKey, now: DateTime<Utc>) -> Result<(), GuardError> {
        let Some(document) = self.store.forgetting(key, now).await? else { return Ok(()) };
        // A version that does not know of forgetting may have published it since.
        if document.is_heard(now) && self.bus.remove_deleted(&key.to_string()).await? {
            chassis::crash_point("settings.deleted_removed");
            return Ok(document.gone().await?);
        }
        self.bus.delete_document(&key.to_string()).await?;
        chassis::crash_point("settings.document_deleted");
        document.forgotten(now).await?;
        metrics::counter!("postrider_settings_forgotten_total").increment(1);
        tracing::info!(document.key = %key, "a document of before leaves the broker");
        Ok(())
    }

    async fn compare(&self, key: &DocumentKey, version: u64) -> Result<(), GuardError> {
        let found = match self.bus.settings_version(&key.to_string()).await? {
            InBucket::Version(there) if there == version => return Ok(()),
            InBucket::Version(there) if there < version => "older",
            InBucket::Version(_) => "newer",
            InBucket::Missing => "missing",
            InBucket::Unreadable => "unreadable",
        };
        // Not what is on its way just now, or was changed since it was read.
        if !self.store.queue_again(key, version, self.clock.now()).await? {
            return Ok(());
        }
        metrics::counter!("postrider_settings_repaired_total", "found" => found).increment(1);
        tracing::warn!(document.key = %key, found, "the broker had a document that is not the database's");
        // What cannot be published now, the relay owes.
        let _ = self.publish(key).await;
        Ok(())
    }
}

/// Why a bucket does not have all documents, or may not.
fn trouble(known: &KnownBucket, bucket: &BucketState) -> Option<&'static str> {
    let complete = bucket.complete.as_deref();
    match known.complete {
        _ if bucket.is_empty => Some("empty"),
        None => Some("never complete"),
        Some((created_ms, _)) if created_ms != bucket.created_ms => Some("made anew"),
        Some((_, sequence)) if sequence > bucket.last_sequence => Some("older"),
        Some(_) if complete != Some(&known.database_id.to_string()) => Some("not complete"),
        Some(_) => None,
    }
}

fn tell_lost(found: &'static str) {
    metrics::counter!("postrider_settings_bucket_lost_total", "found" => found).increment(1);
    tracing::error!(found, "the broker has lost settings: all of them are published anew");
}
