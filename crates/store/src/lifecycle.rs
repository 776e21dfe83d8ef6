//! How accounts and domains are disabled, closed and erased.
//!
//! Rows are locked in one order everywhere: the account, its subaccounts by
//! id, then domains.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::accounts::account_changed;
use crate::domains::{domain_changed, remove};
use crate::subaccounts::close;
use crate::{AccountStatus, DocumentKey, SealedKeys, Store, StoreError, Thing};

impl Store {
    /// Opens, disables or closes an account. Closing revokes all its API keys
    /// and closes its subaccounts likewise; saying the same again changes
    /// nothing but the reason. Returns the documents that have changed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], and [`StoreError::AccountClosed`] when a closed
    /// account is to be anything else.
    pub async fn change_account_status(
        &self,
        account_id: &str,
        status: AccountStatus,
        reason: Option<&str>,
        at: DateTime<Utc>,
    ) -> Result<Vec<DocumentKey>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let account = lock(&mut tx, account_id).await?;
        let keys = match status {
            AccountStatus::Closed => {
                close_with_subaccounts(&mut tx, account_id, reason, at).await?
            }
            AccountStatus::Open | AccountStatus::Disabled => {
                if account.status == AccountStatus::Closed {
                    return Err(StoreError::AccountClosed);
                }
                sqlx::query!(
                    "UPDATE accounts SET status = $2, disabled_reason = $3 WHERE account_id = $1",
                    account_id,
                    status.as_str(),
                    reason
                )
                .execute(&mut *tx)
                .await?;
                vec![account_changed(&mut tx, account_id, at).await?]
            }
        };
        tx.commit().await?;
        Ok(keys)
    }

    /// Disables a domain, or enables it. Returns its document.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without that domain.
    pub async fn set_domain_disabled(
        &self,
        domain_id: &str,
        disabled: bool,
        reason: Option<&str>,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        let changed = sqlx::query!(
            "UPDATE domains SET disabled_at = CASE WHEN $2 THEN coalesce(disabled_at, $4) END, \
             disabled_reason = CASE WHEN $2 THEN $3 END \
             WHERE domain_id = $1 AND deleted_at IS NULL",
            domain_id,
            disabled,
            reason,
            at
        )
        .execute(&mut *tx)
        .await?;
        if changed.rows_affected() == 0 {
            return Err(StoreError::NotFound(Thing::Domain));
        }
        let key = domain_changed(&mut tx, domain_id, at).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Deletes a domain with its webhooks, on behalf of an operator, whoever has
    /// it and whatever its state.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without that domain.
    pub async fn delete_domain(
        &self,
        domain_id: &str,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        sqlx::query!(
            "SELECT domain_id FROM domains WHERE domain_id = $1 AND deleted_at IS NULL \
             FOR NO KEY UPDATE",
            domain_id
        )
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(StoreError::NotFound(Thing::Domain))?;
        let key = remove(&mut tx, domain_id, at).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Erases the settings of a closed account and of its subaccounts, and
    /// notes that their history is to be erased: all of it or nothing. `seal`
    /// makes new signing keys for an account. Doing it again changes nothing.
    /// Returns all documents of these accounts and of their domains.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], and [`StoreError::AccountNotClosed`].
    pub async fn erase_account(
        &self,
        account_id: &str,
        seal: impl Fn(&str) -> SealedKeys,
        at: DateTime<Utc>,
    ) -> Result<Vec<DocumentKey>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let account = lock(&mut tx, account_id).await?;
        if account.status != AccountStatus::Closed {
            return Err(StoreError::AccountNotClosed { name: account.name });
        }
        // A closed account gets no new subaccounts, and its own are closed.
        let mut ids = subaccounts(&mut tx, account_id).await?;
        ids.push(account_id.to_owned());
        let new = not_erased(&mut tx, &ids).await?;
        erase_what_they_have(&mut tx, &new).await?;
        for id in &new {
            erase_row(&mut tx, id, &seal(id), at).await?;
            account_changed(&mut tx, id, at).await?;
        }
        erase_domains(&mut tx, &new, at).await?;
        sqlx::query!(
            "INSERT INTO erasures (account_id, next_pass_at) SELECT unnest($1::text[]), $2",
            &new,
            at
        )
        .execute(&mut *tx)
        .await?;
        let keys = documents_of(&mut tx, &ids).await?;
        tx.commit().await?;
        Ok(keys)
    }
}

struct Locked {
    name: String,
    status: AccountStatus,
}

/// Locks an account whatever its status.
async fn lock(tx: &mut PgConnection, account_id: &str) -> Result<Locked, StoreError> {
    let row = sqlx::query!(
        "SELECT name, status FROM accounts WHERE account_id = $1 FOR NO KEY UPDATE",
        account_id
    )
    .fetch_optional(tx)
    .await?
    .ok_or(StoreError::NotFound(Thing::Account))?;
    Ok(Locked { name: row.name, status: AccountStatus::from_column(&row.status) })
}

/// Locks the subaccounts of an account, and returns their ids.
async fn subaccounts(tx: &mut PgConnection, account_id: &str) -> Result<Vec<String>, StoreError> {
    let ids = sqlx::query_scalar!(
        "SELECT account_id FROM accounts WHERE parent_id = $1 ORDER BY account_id \
         FOR NO KEY UPDATE",
        account_id
    )
    .fetch_all(tx)
    .await?;
    Ok(ids)
}

/// Closes an account, which is locked, and its subaccounts.
async fn close_with_subaccounts(
    tx: &mut PgConnection,
    account_id: &str,
    reason: Option<&str>,
    at: DateTime<Utc>,
) -> Result<Vec<DocumentKey>, StoreError> {
    sqlx::query!(
        "UPDATE accounts SET disabled_reason = $2 WHERE account_id = $1",
        account_id,
        reason
    )
    .execute(&mut *tx)
    .await?;
    let mut keys = vec![close(&mut *tx, account_id, at).await?];
    for id in subaccounts(tx, account_id).await? {
        keys.push(close(&mut *tx, &id, at).await?);
    }
    Ok(keys)
}

async fn not_erased(tx: &mut PgConnection, ids: &[String]) -> Result<Vec<String>, StoreError> {
    let ids = sqlx::query_scalar!(
        "SELECT account_id FROM accounts WHERE account_id = ANY($1) AND erased_at IS NULL",
        ids
    )
    .fetch_all(tx)
    .await?;
    Ok(ids)
}

/// Webhooks and alert settings go; of API keys only the hash stays, so that
/// none of them can come back as another account's.
async fn erase_what_they_have(tx: &mut PgConnection, ids: &[String]) -> Result<(), StoreError> {
    sqlx::query!("DELETE FROM account_webhooks WHERE account_id = ANY($1)", ids)
        .execute(&mut *tx)
        .await?;
    sqlx::query!("DELETE FROM alert_settings WHERE account_id = ANY($1)", ids)
        .execute(&mut *tx)
        .await?;
    sqlx::query!(
        "UPDATE api_keys SET description = '', domain_name = NULL, requestor = NULL, \
         user_name = NULL WHERE account_id = ANY($1)",
        ids
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!("DELETE FROM notices WHERE account_id = ANY($1)", ids).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM resends WHERE account_id = ANY($1)", ids).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM url_options WHERE account_id = ANY($1)", ids)
        .execute(&mut *tx)
        .await?;
    sqlx::query!("DELETE FROM tenant_windows WHERE primary_id = ANY($1)", ids)
        .execute(&mut *tx)
        .await?;
    sqlx::query!("DELETE FROM rate_windows WHERE account_id = ANY($1)", ids)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

/// The account's own row. Its id and its moments stay, and nothing that says whose it was.
async fn erase_row(
    tx: &mut PgConnection,
    account_id: &str,
    keys: &SealedKeys,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE accounts SET erased_at = $2, name = 'erased-' || account_id, label = '', \
         contact_email = NULL, disabled_reason = NULL, features = '{}', redact_pii = false, \
         sealed_http_signing_key = $3, sealed_alerts_signing_key = $4, \
         sealed_previous_http_signing_key = NULL, previous_http_signing_key_until = NULL, \
         sealed_previous_alerts_signing_key = NULL, previous_alerts_signing_key_until = NULL, \
         message_policy = NULL, alert_policy = NULL \
         WHERE account_id = $1",
        account_id,
        at,
        keys.http_signing_key,
        keys.alerts_signing_key
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Deletes the domains of these accounts, and forgets the names of those that
/// were deleted before. The row stays under its id, a hash of the name, because
/// its version has to go on rising when the domain is made again.
async fn erase_domains(
    tx: &mut PgConnection,
    account_ids: &[String],
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let ids = sqlx::query_scalar!(
        "UPDATE domains SET name = domain_id, deleted_at = coalesce(deleted_at, $2), \
         redact_pii = false, disabled_at = NULL, disabled_reason = NULL \
         WHERE account_id = ANY($1) RETURNING domain_id",
        account_ids,
        at
    )
    .fetch_all(&mut *tx)
    .await?;
    sqlx::query!("DELETE FROM domain_webhooks WHERE domain_id = ANY($1)", &ids)
        .execute(&mut *tx)
        .await?;
    for id in &ids {
        domain_changed(&mut *tx, id, at).await?;
    }
    Ok(())
}

async fn documents_of(
    tx: &mut PgConnection,
    account_ids: &[String],
) -> Result<Vec<DocumentKey>, StoreError> {
    let domains = sqlx::query_scalar!(
        "SELECT domain_id FROM domains WHERE account_id = ANY($1)",
        account_ids
    )
    .fetch_all(tx)
    .await?;
    let accounts = account_ids.iter().cloned().map(DocumentKey::Account);
    Ok(accounts.chain(domains.into_iter().map(DocumentKey::Domain)).collect())
}
