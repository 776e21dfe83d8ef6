//! Domains, and whose they are.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::accounts::lock_account_named;
use crate::error::is_duplicate;
use crate::outbox::enqueue;
use crate::{DocumentKey, Store, StoreError, Thing};

/// A domain that was not deleted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Domain {
    /// 32 hex characters, a hash of the name.
    pub domain_id: String,
    /// Lower case, in ASCII.
    pub name: String,
    /// Whose it is.
    pub account_name: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Since when its own webhooks hear of nothing.
    pub disabled_at: Option<DateTime<Utc>>,
    /// Why, if the operator has said.
    pub disabled_reason: Option<String>,
}

/// A domain to be made by an operator.
#[derive(Clone, Debug)]
pub struct NewDomain {
    /// Lower case, in ASCII.
    pub name: String,
    /// Whose it is to be.
    pub account_name: String,
}

impl Store {
    /// Makes a domain, or makes a deleted one again, on behalf of an operator:
    /// beyond the account's quota as well.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without that account, [`StoreError::Exists`] when
    /// this or another account has the domain.
    pub async fn create_domain(
        &self,
        new: &NewDomain,
        at: DateTime<Utc>,
    ) -> Result<(Domain, DocumentKey), StoreError> {
        let mut tx = self.pool.begin().await?;
        let account_id = lock_account_named(&mut tx, &new.account_name).await?;
        let key = insert(&mut tx, &account_id, &new.name, false, at).await?;
        let domain = sqlx::query_as!(
            Domain,
            "SELECT d.domain_id, d.name, a.name AS account_name, d.created_at, \
             d.disabled_at, d.disabled_reason \
             FROM domains d JOIN accounts a USING (account_id) WHERE d.name = $1",
            new.name
        )
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok((domain, key))
    }

    /// A domain by its name, whoever has it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or those of the database.
    pub async fn domain_named(&self, name: &str) -> Result<Domain, StoreError> {
        let domain = sqlx::query_as!(
            Domain,
            "SELECT d.domain_id, d.name, a.name AS account_name, d.created_at, \
             d.disabled_at, d.disabled_reason \
             FROM domains d JOIN accounts a USING (account_id) \
             WHERE d.domain_id = $1 AND d.deleted_at IS NULL",
            model::domain_id(name)
        )
        .fetch_optional(&self.pool)
        .await?;
        domain.ok_or(StoreError::NotFound(Thing::Domain))
    }

    /// The domains of one account, or of all, by name.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without that account.
    pub async fn domains(&self, account_name: Option<&str>) -> Result<Vec<Domain>, StoreError> {
        if let Some(name) = account_name {
            self.account_named(name).await?;
        }
        let domains = sqlx::query_as!(
            Domain,
            "SELECT d.domain_id, d.name, a.name AS account_name, d.created_at, \
             d.disabled_at, d.disabled_reason \
             FROM domains d JOIN accounts a USING (account_id) \
             WHERE d.deleted_at IS NULL AND ($1::text IS NULL OR a.name = $1 OR a.account_id = $1) \
             ORDER BY d.name",
            account_name
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(domains)
    }
}

/// Makes a domain for an account whose row the caller keeps from changing.
pub(crate) async fn insert(
    tx: &mut PgConnection,
    account_id: &str,
    name: &str,
    redact_pii: bool,
    at: DateTime<Utc>,
) -> Result<DocumentKey, StoreError> {
    let domain_id = model::domain_id(name);
    let version = sqlx::query_scalar!(
        "INSERT INTO domains AS d (domain_id, name, account_id, redact_pii, created_at) \
         VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (domain_id) DO UPDATE SET name = excluded.name, \
         account_id = excluded.account_id, created_at = excluded.created_at, \
         redact_pii = excluded.redact_pii, mail_settings = DEFAULT, deleted_at = NULL, \
         disabled_at = NULL, disabled_reason = NULL, forgotten_at = NULL, version = d.version + 1 \
         WHERE d.deleted_at IS NOT NULL RETURNING version",
        domain_id,
        name,
        account_id,
        redact_pii,
        at
    )
    .fetch_optional(&mut *tx)
    .await;
    let version = match version {
        Ok(version) => version.ok_or(StoreError::Exists(Thing::Domain))?,
        // Names are unique as well, and that is no conflict on the id: of two that make the
        // same domain in the same moment one may be refused by either.
        Err(error) if is_duplicate(&error) => return Err(StoreError::Exists(Thing::Domain)),
        Err(error) => return Err(error.into()),
    };
    // What the domain had before it was deleted was another domain's.
    sqlx::query!("DELETE FROM domain_webhooks WHERE domain_id = $1", domain_id)
        .execute(&mut *tx)
        .await?;
    let key = DocumentKey::Domain(domain_id);
    enqueue(tx, &key, version, at).await?;
    Ok(key)
}

/// Deletes a domain that is there, and whose row the caller has locked.
pub(crate) async fn remove(
    tx: &mut PgConnection,
    domain_id: &str,
    at: DateTime<Utc>,
) -> Result<DocumentKey, StoreError> {
    sqlx::query!("DELETE FROM domain_webhooks WHERE domain_id = $1", domain_id)
        .execute(&mut *tx)
        .await?;
    sqlx::query!("UPDATE domains SET deleted_at = $2 WHERE domain_id = $1", domain_id, at)
        .execute(&mut *tx)
        .await?;
    // A later owner of the name is not to find keys that somebody else holds.
    sqlx::query!(
        "UPDATE api_keys k SET revoked_at = $2 FROM domains d \
         WHERE d.domain_id = $1 AND k.account_id = d.account_id AND k.domain_name = d.name \
         AND k.kind = 'domain' AND k.revoked_at IS NULL",
        domain_id,
        at
    )
    .execute(&mut *tx)
    .await?;
    domain_changed(tx, domain_id, at).await
}

/// Locks the row of a domain of this account until the transaction ends:
/// changes of one domain's settings happen one after the other.
pub(crate) async fn lock_domain(
    tx: &mut PgConnection,
    account_id: &str,
    domain_id: &str,
) -> Result<(), StoreError> {
    sqlx::query!(
        "SELECT domain_id FROM domains \
         WHERE domain_id = $1 AND account_id = $2 AND deleted_at IS NULL FOR NO KEY UPDATE",
        domain_id,
        account_id
    )
    .fetch_optional(tx)
    .await?
    .map(|_| ())
    .ok_or(StoreError::NotFound(Thing::Domain))
}

/// Raises the version of a domain's document and queues it.
pub(crate) async fn domain_changed(
    tx: &mut PgConnection,
    domain_id: &str,
    at: DateTime<Utc>,
) -> Result<DocumentKey, StoreError> {
    let version = sqlx::query_scalar!(
        "UPDATE domains SET version = version + 1, forgotten_at = NULL WHERE domain_id = $1 \
         RETURNING version",
        domain_id
    )
    .fetch_one(&mut *tx)
    .await?;
    let key = DocumentKey::Domain(domain_id.to_owned());
    enqueue(tx, &key, version, at).await?;
    Ok(key)
}
