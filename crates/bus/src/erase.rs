//! Forgetting an account.

use crate::{Bus, BusError};

impl Bus {
    /// Purges every accepted event and every outcome of this account, whether
    /// consumers are done with them or not. What is written later stays.
    ///
    /// Deliveries stay as well: their subjects do not name the account. Each of
    /// them ends at its next attempt, for which its account's document decides.
    ///
    /// # Errors
    /// When the broker did not confirm. Doing it again does no harm.
    pub async fn purge_account(&self, account_id: &str) -> Result<(), BusError> {
        let names = &self.0.config.names;
        for (stream, subjects) in [
            (names.events_stream(), names.events_of_account(account_id)),
            (names.unrouted_stream(), names.unrouted_of_account(account_id)),
            (names.outcomes_stream(), names.outcomes_of_account(account_id)),
        ] {
            let stream = self.0.jetstream.get_stream_no_info(stream).await;
            let stream = stream.map_err(BusError::unavailable)?;
            stream.purge().filter(subjects).await.map_err(BusError::unavailable)?;
        }
        Ok(())
    }
}
