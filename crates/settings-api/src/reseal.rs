//! The change of `POSTRIDER_SECRET_KEY`: every secret that an older key has
//! sealed is sealed anew, in the database and on the broker. Then the older key
//! can be taken away.
//!
//! An account at a time, each in a transaction of its own. Dying on the way
//! leaves some accounts under the old key, which unseals them as before; asked
//! for again, the rest is done.

use signing::{SealError, Sealed};
use store::{DocumentKey, SealedHeader, SealedSecrets, StoreError};

use crate::SettingsApi;
use crate::publish::NotPublished;

/// What was sealed anew.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Resealed {
    /// Accounts that had a secret under an older key.
    pub accounts: u64,
    /// Secrets that were under an older key.
    pub secrets: u64,
}

/// Why not every secret is under the present key, here and on the broker. What
/// was sealed anew before stays so, and the call can be repeated.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker has not confirmed a document.
    #[error("the document of account {account_id} is not on the broker yet: try again")]
    NotPublished {
        /// Whose document it is.
        account_id: String,
    },
    /// Secrets of these accounts were sealed under a key that was not given, or
    /// were altered. All others are sealed anew.
    #[error("secrets of {accounts} account(s) cannot be opened; the first is {first}: {error}")]
    Unreadable {
        /// How many accounts.
        accounts: u64,
        /// Id of the first of them.
        first: String,
        /// What is wrong with that one.
        error: SealError,
    },
}

/// What became of one account.
enum Account {
    Resealed { secrets: u64 },
    Current,
    Unreadable(SealError),
}

impl SettingsApi {
    /// Seals every secret anew that is not sealed under the first of the keys.
    ///
    /// # Errors
    /// See [`ResealError`]. Only success means that the older keys are not needed.
    pub async fn reseal_secrets(&self) -> Result<Resealed, ResealError> {
        let mut resealed = Resealed::default();
        let mut unreadable: Option<(u64, String, SealError)> = None;
        let mut last = String::new();
        loop {
            let ids = self.store.account_ids_after(&last).await?;
            let Some(newest) = ids.last() else { break };
            last.clone_from(newest);
            for account_id in ids {
                match self.reseal_account(&account_id).await? {
                    Account::Resealed { secrets } => {
                        resealed.accounts += 1;
                        resealed.secrets += secrets;
                    }
                    Account::Current => {}
                    Account::Unreadable(error) => {
                        tracing::error!(%error, account.id = account_id, "a secret cannot be unsealed");
                        unreadable.get_or_insert((0, account_id.clone(), error)).0 += 1;
                    }
                }
            }
        }
        match unreadable {
            None => Ok(resealed),
            Some((accounts, first, error)) => {
                Err(ResealError::Unreadable { accounts, first, error })
            }
        }
    }

    async fn reseal_account(&self, account_id: &str) -> Result<Account, ResealError> {
        let now = self.clock.now();
        let resealing = self.store.resealing(account_id, now).await?;
        let (secrets, count) = match self.reseal_all_of(account_id, resealing.secrets()) {
            Ok(resealed) => resealed,
            Err(error) => return Ok(Account::Unreadable(error)),
        };
        let (account, key) = if count > 0 || resealing.has_expired() {
            let key = resealing.replace(&secrets, now).await?;
            let changed = Account::Resealed { secrets: count };
            (if count > 0 { changed } else { Account::Current }, key)
        } else {
            // Whoever sealed it may have died before it was published.
            drop(resealing);
            (Account::Current, DocumentKey::Account(account_id.to_owned()))
        };
        self.publish(&key).await.map_err(|_: NotPublished| ResealError::NotPublished {
            account_id: account_id.to_owned(),
        })?;
        Ok(account)
    }

    /// The secrets as they are to be stored, and how many of them are sealed anew.
    fn reseal_all_of(
        &self,
        account_id: &str,
        secrets: &SealedSecrets,
    ) -> Result<(SealedSecrets, u64), SealError> {
        let mut count = 0;
        let mut reseal = |sealed: &Vec<u8>, secret| {
            let anew = self.reseal(sealed, secret)?;
            count += u64::from(anew.is_some());
            Ok(anew.unwrap_or_else(|| sealed.clone()))
        };
        let http = Sealed::HttpSigningKey(account_id);
        let alerts = Sealed::AlertsSigningKey(account_id);
        let previous_http = secrets.previous_http_signing_key.as_ref();
        let previous_alerts = secrets.previous_alerts_signing_key.as_ref();
        let headers = secrets.headers.iter().map(|header| {
            let sealed = reseal(&header.sealed, Sealed::Header(account_id))?;
            Ok(SealedHeader { sealed, ..header.clone() })
        });
        let headers = headers.collect::<Result<_, SealError>>()?;
        let resealed = SealedSecrets {
            headers,
            http_signing_key: reseal(&secrets.http_signing_key, http)?,
            previous_http_signing_key: previous_http
                .map(|sealed| reseal(sealed, http))
                .transpose()?,
            alerts_signing_key: reseal(&secrets.alerts_signing_key, alerts)?,
            previous_alerts_signing_key: previous_alerts
                .map(|sealed| reseal(sealed, alerts))
                .transpose()?,
        };
        Ok((resealed, count))
    }
}
