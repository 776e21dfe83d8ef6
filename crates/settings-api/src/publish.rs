//! From the outbox into the settings bucket.

use std::time::Duration;

use bus::{BusError, Put};
use chassis::{Readiness, Tasks};
use chrono::TimeDelta;
use futures_util::{Stream, StreamExt as _, stream};
use protocol::v1;
use store::{Document, DocumentKey, StoreError};

use crate::{READINESS, SettingsApi};

/// How often the relay looks into the outbox.
const RELAY_INTERVAL: Duration = Duration::from_secs(1);
/// How long the relay leaves a document to the call that has changed it.
const RELAY_PATIENCE: TimeDelta = TimeDelta::seconds(1);
/// Documents that a republication has under way. Each takes a connection to the
/// database, of which customers need the most.
const REPUBLISH_AT_ONCE: usize = 4;

/// Why a change is not in force, or not yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum NotPublished {
    #[error("The message broker is not available; nothing was changed. Try again")]
    Nothing,
    #[error(
        "The change is stored, but the message broker has not confirmed it yet; \
         it comes into force without being asked for again"
    )]
    Later,
}

#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// How far a republication is.
pub(crate) struct Republishing {
    api: SettingsApi,
    next: Option<Next>,
    pub(crate) done: v1::RepublishProgress,
    /// What the broker did not take of the last page, though it might.
    pub(crate) refused: Vec<DocumentKey>,
}

enum Next {
    Count,
    /// Accounts whose ids come after this one, then all domains.
    Accounts(String),
    Domains(String),
}

impl Republishing {
    pub(crate) fn of(api: SettingsApi) -> Self {
        Self { api, next: Some(Next::Count), done: <_>::default(), refused: Vec::new() }
    }

    /// Publishes the next page. Says whether there was one.
    pub(crate) async fn step(&mut self) -> Result<bool, StoreError> {
        let Some(next) = self.next.take() else { return Ok(false) };
        let store = &self.api.store;
        let now = self.api.clock.now();
        let (page, is_of_accounts) = match next {
            Next::Count => {
                self.done.documents = store.count_documents().await?;
                self.next = Some(Next::Accounts(String::new()));
                return Ok(true);
            }
            Next::Accounts(after) => (store.queue_accounts_after(&after, now).await?, true),
            Next::Domains(after) => (store.queue_domains_after(&after, now).await?, false),
        };
        self.next = match page.last() {
            Some(DocumentKey::Account(id)) => Some(Next::Accounts(id.clone())),
            Some(DocumentKey::Domain(id)) => Some(Next::Domains(id.clone())),
            None if is_of_accounts => Some(Next::Domains(String::new())),
            None => None,
        };
        self.done.left_to_relay += page.len() as u64;
        self.refused = page;
        self.again().await;
        Ok(true)
    }

    /// Publishes what was refused.
    pub(crate) async fn again(&mut self) {
        let published = stream::iter(std::mem::take(&mut self.refused)).map(|key| {
            let api = self.api.clone();
            async move { (api.put(&key).await, key) }
        });
        let published: Vec<_> = published.buffer_unordered(REPUBLISH_AT_ONCE).collect().await;
        for (published, key) in published {
            match published {
                Ok(()) => {
                    self.done.published += 1;
                    self.done.left_to_relay -= 1;
                }
                // It holds up no other one, and asking again does not make it smaller.
                Err(error @ PublishError::Bus(BusError::TooLarge)) => {
                    tracing::error!(%error, document.key = %key, "a document is larger than the broker takes");
                }
                Err(error) => {
                    tracing::warn!(%error, document.key = %key, "a document is left to the relay");
                    self.refused.push(key);
                }
            }
        }
    }
}

impl SettingsApi {
    /// To be asked before any change: what could not be published is better not stored.
    pub(crate) fn check_broker(&self) -> Result<(), NotPublished> {
        if self.bus.is_connected() { Ok(()) } else { Err(NotPublished::Nothing) }
    }

    /// Puts a changed document into the bucket. Only then may the change be
    /// answered with success.
    ///
    /// Dying before it, or failing, leaves the document to the relay: of this
    /// process, of another replica, or of the next start.
    pub(crate) async fn publish(&self, key: &DocumentKey) -> Result<(), NotPublished> {
        chassis::crash_point("settings.committed");
        match self.put_alone(key).await {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, document.key = %key, "a document is left to the relay");
                Err(NotPublished::Later)
            }
        }
    }

    /// Puts a document that is not put along with all others. A bucket that has lost
    /// them is not to look complete because of it.
    async fn put_alone(&self, key: &DocumentKey) -> Result<(), PublishError> {
        self.bus.begin_empty_settings().await?;
        self.put(key).await
    }

    async fn put(&self, key: &DocumentKey) -> Result<(), PublishError> {
        if chassis::mutant("publish_skipped") {
            return Ok(());
        }
        let Some(mut publication) = self.store.publication(key).await? else { return Ok(()) };
        loop {
            let put = match publication.document() {
                Document::Account(document) => self.bus.put_account(document).await,
                Document::Domain(document) => self.bus.put_domain(document).await,
            };
            if put.is_err() && chassis::mutant("relay_forgets_row") {
                break;
            }
            let Put::Newer(version) = put? else { break };
            // Nobody else publishes this document now, and versions only rise: so the
            // database was put back to an older point than the broker. What it says is
            // what holds, and a change is not to wait until its versions have caught up.
            // Dying before the commit has the next one find the same.
            tracing::warn!(document.key = %key, version, "the broker has a newer document than the database");
            publication.raise_above(version).await?;
        }
        // Dying here puts the same document once more, which changes nothing.
        chassis::crash_point("settings.published");
        Ok(publication.done().await?)
    }

    /// Publishes all settings documents anew, a page at a time, and says after each
    /// how far it is: for a broker that has lost some, and for a database that was
    /// put back to an older point.
    ///
    /// May be asked for again, and while settings are changed. Dying on the way
    /// leaves the page that was begun to the relay, and the rest as it was.
    pub(crate) fn republish(
        &self,
    ) -> impl Stream<Item = Result<v1::RepublishProgress, StoreError>> + use<> {
        stream::try_unfold(Republishing::of(self.clone()), |mut republishing| async move {
            let is_there = republishing.step().await?;
            Ok(is_there.then_some((republishing.done, republishing)))
        })
    }

    /// Publishes what calls have left behind, until a stop is asked for. Says
    /// whether the database answers, which is what readiness hangs on: without
    /// the broker, settings can still be read.
    pub(crate) async fn relay(&self, readiness: &Readiness, tasks: &Tasks) {
        while !tasks.is_stopping() {
            let now = self.clock.now();
            let waiting = self.store.unpublished(now - RELAY_PATIENCE, now).await;
            readiness.set(READINESS, waiting.is_ok());
            match waiting {
                Ok(keys) => self.relay_all(&keys, tasks).await,
                Err(error) => tracing::warn!(%error, "the outbox cannot be read"),
            }
            tokio::select! {
                () = self.clock.sleep(RELAY_INTERVAL) => {}
                () = tasks.stopping() => {}
            }
        }
    }

    async fn relay_all(&self, keys: &[DocumentKey], tasks: &Tasks) {
        // Those too whose next try is not due.
        if let Ok(waiting) = self.store.outbox().await {
            metrics::gauge!("postrider_settings_unpublished_documents")
                .set(waiting.documents as f64);
        }
        for key in keys {
            if tasks.is_stopping() || self.check_broker().is_err() {
                return;
            }
            // A document that cannot be published holds up no other one: it is put off. Dying
            // before that has it tried again at once.
            let Err(error) = self.put_alone(key).await else { continue };
            tracing::warn!(%error, document.key = %key, "a document is still not published");
            if let Err(error) = self.store.put_off(key, self.clock.now()).await {
                tracing::warn!(%error, document.key = %key, "its next try cannot be put off");
            }
        }
    }
}
