//! From the outbox into the settings bucket.

use std::time::Duration;

use bus::BusError;
use chassis::{Readiness, Tasks};
use chrono::TimeDelta;
use store::{Document, DocumentKey, StoreError};

use crate::{READINESS, SettingsApi};

/// How often the relay looks into the outbox.
const RELAY_INTERVAL: Duration = Duration::from_secs(1);
/// How long the relay leaves a document to the call that has changed it.
const RELAY_PATIENCE: TimeDelta = TimeDelta::seconds(1);

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
        match self.put(key).await {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, document.key = %key, "a document is left to the relay");
                Err(NotPublished::Later)
            }
        }
    }

    async fn put(&self, key: &DocumentKey) -> Result<(), PublishError> {
        let Some(publication) = self.store.publication(key).await? else { return Ok(()) };
        match publication.document() {
            Document::Account(document) => self.bus.put_account(document).await?,
            Document::Domain(document) => self.bus.put_domain(document).await?,
        }
        // Dying here puts the same document once more, which changes nothing.
        chassis::crash_point("settings.published");
        Ok(publication.done().await?)
    }

    /// Publishes what calls have left behind, until a stop is asked for. Says
    /// whether the database answers, which is what readiness hangs on: without
    /// the broker, settings can still be read.
    pub(crate) async fn relay(&self, readiness: &Readiness, tasks: &Tasks) {
        while !tasks.is_stopping() {
            let waiting = self.store.unpublished(self.clock.now() - RELAY_PATIENCE).await;
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
        metrics::gauge!("postrider_settings_unpublished_documents")
            .set(u32::try_from(keys.len()).unwrap_or(u32::MAX));
        for key in keys {
            if tasks.is_stopping() || self.check_broker().is_err() {
                return;
            }
            // A document that cannot be published holds up no other one.
            if let Err(error) = self.put(key).await {
                tracing::warn!(%error, document.key = %key, "a document is still not published");
            }
        }
    }
}
