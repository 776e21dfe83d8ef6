//! Erasing what is personal of an account, on request.
//!
//! Its settings go in the one transaction that marks it as erased. From that
//! commit on archive stores nothing of it, its document tells the delivery path
//! to send nothing of it, and every replica of this service finds it marked:
//! whatever is left, history and what the broker holds, is erased by whoever is
//! alive. Each step may be repeated, and none is noted as done before it is.

use std::time::Duration;

use chassis::Tasks;
use signing::Sealed;
use store::history::HistoryTable;
use store::{DocumentKey, SealedKeys, StoreError};

use crate::{SettingsApi, keys};

/// How often to look for what is left to be erased.
const INTERVAL: Duration = Duration::from_secs(1);

impl SettingsApi {
    /// Erases the settings of a closed account and of its subaccounts, and has
    /// the rest erased. Returns the documents to publish.
    ///
    /// Dying before the commit leaves everything as it was; dying after it
    /// leaves the documents to the relay and the rest to [`Self::erase`].
    pub(crate) async fn begin_erasure(
        &self,
        account_id: &str,
    ) -> Result<Vec<DocumentKey>, StoreError> {
        // Nobody ever learns these keys. That there are some keeps the account whole.
        let seal = |account_id: &str| SealedKeys {
            http_signing_key: self
                .seal(&keys::http_signing_key(), Sealed::HttpSigningKey(account_id)),
            alerts_signing_key: self
                .seal(&keys::alerts_signing_key(), Sealed::AlertsSigningKey(account_id)),
        };
        self.store.erase_account(account_id, seal, self.clock.now()).await
    }

    /// Erases what is left of erased accounts, until a stop is asked for.
    pub(crate) async fn erase(&self, tasks: &Tasks) {
        while !tasks.is_stopping() {
            // Neither waits for the other: the broker may be away, or the history large.
            if let Err(error) = self.erase_from_broker(tasks).await {
                tracing::warn!(%error, "the broker still holds something of erased accounts");
            }
            if let Err(error) = self.erase_from_history(tasks).await {
                tracing::warn!(%error, "history still holds something of erased accounts");
            }
            tokio::select! {
                () = self.clock.sleep(INTERVAL) => {}
                () = tasks.stopping() => {}
            }
        }
    }

    /// Dying between a purge and its note repeats the purge.
    async fn erase_from_broker(&self, tasks: &Tasks) -> anyhow::Result<()> {
        // That the connection is lost has been told already.
        if !self.bus.is_connected() {
            return Ok(());
        }
        for purge in self.store.erasures_to_purge().await? {
            if tasks.is_stopping() {
                return Ok(());
            }
            self.bus.purge_account(&purge.account_id).await?;
            chassis::crash_point("erasure.purged");
            self.store.erasure_purged(&purge).await?;
            tracing::info!(account.id = purge.account_id, "the broker is purged of an account");
        }
        Ok(())
    }

    /// One pass over the history, for all accounts that are due. Dying on the
    /// way begins the pass anew.
    async fn erase_from_history(&self, tasks: &Tasks) -> anyhow::Result<()> {
        let passes = self.store.erasure_passes(self.clock.now()).await?;
        if passes.is_empty() {
            return Ok(());
        }
        let accounts: Vec<String> = passes.iter().map(|pass| pass.account_id.clone()).collect();
        let mut rows = 0;
        for table in HistoryTable::ALL {
            let mut next = Some(0);
            while let Some(block) = next {
                if tasks.is_stopping() {
                    return Ok(());
                }
                let part = self.store.erase_history_part(table, &accounts, block).await?;
                chassis::crash_point("erasure.part_erased");
                rows += part.rows;
                next = part.next;
            }
        }
        for pass in &passes {
            self.store.erasure_pass_done(pass, self.clock.now()).await?;
        }
        tracing::info!(accounts = accounts.len(), rows, "history was gone through for erasure");
        Ok(())
    }
}
