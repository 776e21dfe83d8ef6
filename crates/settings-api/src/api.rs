//! What every call works with.

use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use chassis::Clock;
use egress::Policies;
use egress::mail::Mailer;
use signing::{SealError, Sealed, SecretKey};
use store::Store;

use crate::outbound::Outbound;
use crate::strangers::Strangers;
use crate::{Limits, SettingsApiConfig, WebhookOptions};

/// Settings: the store that holds them, the broker that carries them. Cheap to clone.
#[derive(Clone)]
pub struct SettingsApi {
    pub(crate) store: Store,
    /// Connections that customers' calls do not use.
    reserve: Store,
    pub(crate) bus: Bus,
    pub(crate) egress: egress::Client,
    /// `None` where operators have set no relay.
    pub(crate) mailer: Option<Mailer>,
    /// Where the links of mails lead to.
    pub(crate) console_url: Option<String>,
    pub(crate) outbound: Outbound,
    /// Places for searches of the history.
    pub(crate) reading: Outbound,
    /// Places for counts and journeys, which are short and do not wait behind searches.
    pub(crate) counting: Outbound,
    /// Places for exports, from their first byte to their last.
    pub(crate) exports: Outbound,
    /// Places for calls of any kind.
    pub(crate) calls: Outbound,
    pub(crate) strangers: Arc<Strangers>,
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(crate) webhooks: WebhookOptions,
    /// How deliveries are tried where accounts do not want it otherwise.
    pub(crate) policies: Policies,
    /// How long a signing key that is replaced also signs, where the call does not say.
    pub(crate) signing_key_overlap: Duration,
    pub(crate) reconcile_after: Duration,
    secret_key: Arc<SecretKey>,
}

impl SettingsApi {
    /// Puts the parts together. The database may be away, and the mail relay.
    ///
    /// # Errors
    /// When mail cannot be sent as it is configured.
    pub fn new(
        config: &SettingsApiConfig,
        bus: Bus,
        egress: egress::Client,
        clock: Clock,
    ) -> Result<Self, egress::EgressError> {
        let mailer =
            config.mail.clone().map(|mail| Mailer::new(mail, clock.clone())).transpose()?;
        let (store, reserve) = Store::open_with_reserve(&config.store);
        let connections = usize::try_from(store.most_connections()).unwrap_or(1);
        Ok(Self {
            store,
            reserve,
            bus,
            egress,
            mailer,
            console_url: config.console_url.clone(),
            outbound: Outbound::new(clock.clone()),
            reading: Outbound::searches(clock.clone()),
            counting: Outbound::counts(clock.clone()),
            exports: Outbound::exports(clock.clone()),
            calls: Outbound::calls(clock.clone(), connections),
            strangers: Arc::new(Strangers::new(clock.clone())),
            clock,
            limits: config.limits,
            webhooks: config.webhooks,
            policies: config.policies.clone(),
            signing_key_overlap: config.signing_key_overlap,
            reconcile_after: config.reconcile_after,
            secret_key: Arc::new(config.secret_key.clone()),
        })
    }

    /// Brings the schema up to date, and takes the database for this region.
    ///
    /// # Errors
    /// Those of the database, and that it is another region's; the schema is
    /// left alone then.
    pub async fn migrate(&self) -> Result<(), store::StoreError> {
        let region = self.bus.config().names.region();
        self.store.check_region(region).await?;
        self.store.migrate().await?;
        self.store.claim_for_region(region).await
    }

    /// The same with the connections that customers' calls do not use: for operators, for
    /// who asks whether this process is well, and for knowing a caller.
    pub(crate) fn on_reserve(&self) -> Self {
        Self { store: self.reserve.clone(), ..self.clone() }
    }

    pub(crate) fn reserve(&self) -> &Store {
        &self.reserve
    }

    /// Unseals the keys that sign what is sent.
    pub(crate) fn secret_key(&self) -> &SecretKey {
        &self.secret_key
    }

    /// Seals a signing key for storing.
    pub(crate) fn seal(&self, key: &str, secret: Sealed<'_>) -> Vec<u8> {
        self.secret_key.seal(key.as_bytes(), chassis::entropy::bytes(), &secret.context())
    }

    /// Seals a stored secret under the key that seals now; `None` when it is
    /// already.
    pub(crate) fn reseal(
        &self,
        sealed: &[u8],
        secret: Sealed<'_>,
    ) -> Result<Option<Vec<u8>>, SealError> {
        if self.secret_key.is_current(sealed) {
            return Ok(None);
        }
        let context = secret.context();
        let opened = self.secret_key.unseal(sealed, &context)?;
        Ok(Some(self.secret_key.seal(&opened, chassis::entropy::bytes(), &context)))
    }

    /// Opens a stored signing key, to show it to its owner.
    pub(crate) fn unseal(&self, sealed: &[u8], secret: Sealed<'_>) -> Result<String, SealError> {
        let key = self.secret_key.unseal(sealed, &secret.context())?;
        String::from_utf8(key).map_err(|_| SealError::Malformed)
    }
}
