//! What every call works with.

use std::sync::Arc;

use bus::Bus;
use chassis::Clock;
use signing::{SealError, Sealed, SecretKey};
use store::Store;

use crate::{Limits, SettingsApiConfig};

/// Settings: the store that holds them, the broker that carries them. Cheap to clone.
#[derive(Clone)]
pub struct SettingsApi {
    pub(crate) store: Store,
    pub(crate) bus: Bus,
    pub(crate) egress: egress::Client,
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    secret_key: Arc<SecretKey>,
}

impl SettingsApi {
    /// Puts the parts together. The database may be away.
    pub fn new(config: &SettingsApiConfig, bus: Bus, egress: egress::Client, clock: Clock) -> Self {
        let store = Store::open(&config.store);
        let secret_key = Arc::new(config.secret_key.clone());
        Self { store, bus, egress, clock, limits: config.limits, secret_key }
    }

    /// Brings the schema up to date.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn migrate(&self) -> Result<(), store::StoreError> {
        self.store.migrate().await
    }

    /// Seals a signing key for storing.
    pub(crate) fn seal(&self, key: &str, secret: Sealed<'_>) -> Vec<u8> {
        self.secret_key.seal(key.as_bytes(), chassis::entropy::bytes(), &secret.context())
    }

    /// Opens a stored signing key, to show it to its owner.
    pub(crate) fn unseal(&self, sealed: &[u8], secret: Sealed<'_>) -> Result<String, SealError> {
        let key = self.secret_key.unseal(sealed, &secret.context())?;
        String::from_utf8(key).map_err(|_| SealError::Malformed)
    }
}
