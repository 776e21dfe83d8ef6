//! Domains as their customers list, make, switch and delete them.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::accounts::lock_account;
use crate::domains::{domain_changed, insert, lock_domain, remove};
use crate::quotas::check_quota;
use crate::{DocumentKey, Quota, Quotas, Store, StoreError, Thing};

/// A domain as its customer sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccountDomain {
    /// 32 hex characters, a hash of the name.
    pub domain_id: String,
    /// Lower case, in ASCII.
    pub name: String,
    /// Whose it is, when that is a subaccount.
    pub subaccount_id: Option<String>,
    /// Whether deliveries of its events go without personal data.
    pub redact_pii: bool,
    /// Settings for sending and receiving mail that it was given: an object of JSON.
    pub mail_settings: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Since when an operator has had it disabled.
    pub disabled_at: Option<DateTime<Utc>>,
    /// Why, if the operator has said.
    pub disabled_reason: Option<String>,
}

/// A change of a domain by its customer.
#[derive(Clone, Debug)]
pub struct DomainChange {
    /// Whether deliveries of its events go without personal data; unsaid, this stays as it is.
    pub redact_pii: Option<bool>,
    /// Mail settings, as an object of JSON: those that are not in it stay as they are.
    pub mail_settings: String,
}

/// Which domains of an account are listed.
#[derive(Clone, Debug)]
pub struct DomainPage {
    /// At most this many.
    pub limit: i64,
    /// After this many others.
    pub skip: i64,
    /// Only those that are disabled, or only those that are not.
    pub is_disabled: Option<bool>,
    /// Only those whose name has this in it.
    pub search: Option<String>,
    /// Those of the account's subaccounts as well.
    pub include_subaccounts: bool,
    /// Which come first.
    pub order: DomainOrder,
}

/// The order of a list of domains.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum DomainOrder {
    /// Those made last first.
    #[default]
    Newest,
    /// Those made first first.
    Oldest,
    /// By name.
    Name,
    /// By name, from the end.
    NameDescending,
}

impl Store {
    /// A page of an account's domains, and how many there are on all pages.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn account_domains(
        &self,
        account_id: &str,
        page: &DomainPage,
    ) -> Result<(Vec<AccountDomain>, i64), StoreError> {
        // One statement, so that page and count are of one moment.
        let rows = sqlx::query!(
            "WITH matching AS (SELECT d.domain_id, d.name, d.redact_pii, d.created_at, \
             d.disabled_at, d.disabled_reason, d.mail_settings::text AS mail_settings, \
             CASE WHEN a.is_subaccount THEN a.account_id END AS subaccount_id, \
             row_number() OVER (ORDER BY CASE $5 WHEN 'name' THEN d.name END, \
             CASE $5 WHEN 'name:desc' THEN d.name END DESC, \
             CASE $5 WHEN 'created_at' THEN d.created_at END, d.created_at DESC, d.name) AS n \
             FROM domains d JOIN accounts a USING (account_id) \
             WHERE (a.account_id = $1 OR ($2 AND a.parent_id = $1)) AND d.deleted_at IS NULL \
             AND ($3::boolean IS NULL OR (d.disabled_at IS NOT NULL) = $3) \
             AND ($4::text IS NULL OR strpos(d.name, $4) > 0)) \
             SELECT total.count AS \"count!\", m.domain_id AS \"domain_id?\", m.name AS \"name?\", \
             m.redact_pii AS \"redact_pii?\", m.created_at AS \"created_at?\", \
             m.disabled_at AS \"disabled_at?\", m.disabled_reason AS \"disabled_reason?\", \
             m.subaccount_id AS \"subaccount_id?\", \
             m.mail_settings AS \"mail_settings?\" \
             FROM (SELECT count(*) FROM matching) total \
             LEFT JOIN matching m ON m.n > $6 AND m.n <= $6 + $7 ORDER BY m.n",
            account_id,
            page.include_subaccounts,
            page.is_disabled,
            page.search,
            page.order.as_str(),
            page.skip,
            page.limit
        )
        .fetch_all(&self.pool)
        .await?;
        let total = rows.first().map_or(0, |row| row.count);
        let domains = rows.into_iter().filter_map(|row| {
            Some(AccountDomain {
                domain_id: row.domain_id?,
                name: row.name?,
                subaccount_id: row.subaccount_id,
                redact_pii: row.redact_pii?,
                mail_settings: row.mail_settings?,
                created_at: row.created_at?,
                disabled_at: row.disabled_at,
                disabled_reason: row.disabled_reason,
            })
        });
        Ok((domains.collect(), total))
    }

    /// One domain of an account.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when this account has no such domain.
    pub async fn account_domain(
        &self,
        account_id: &str,
        domain_id: &str,
    ) -> Result<AccountDomain, StoreError> {
        let mut connection = self.pool.acquire().await?;
        read(&mut connection, account_id, domain_id).await
    }

    /// Makes a domain, or makes a deleted one again, on behalf of the customer.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when this or another account has the domain, when another
    /// tenant has one above it, or had it until lately; [`StoreError::QuotaReached`], or
    /// [`StoreError::AccountClosed`].
    pub async fn create_account_domain(
        &self,
        account_id: &str,
        name: &str,
        told: &DomainChange,
        quotas: &Quotas,
        at: DateTime<Utc>,
    ) -> Result<(AccountDomain, DocumentKey), StoreError> {
        let mut tx = self.pool.begin().await?;
        lock_account(&mut tx, account_id).await?;
        check_others(&mut tx, account_id, name, at).await?;
        let redact_pii = told.redact_pii.unwrap_or(false);
        let key = insert(&mut tx, account_id, name, redact_pii, at).await?;
        check_quota(&mut tx, account_id, Quota::Domains, quotas).await?;
        let domain_id = model::domain_id(name);
        keep_mail_settings(&mut tx, &domain_id, &told.mail_settings).await?;
        let domain = read(&mut tx, account_id, &domain_id).await?;
        tx.commit().await?;
        Ok((domain, key))
    }

    /// Changes a domain. Its document, where that is another one then.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when this account has no such domain.
    pub async fn change_account_domain(
        &self,
        account_id: &str,
        domain_id: &str,
        change: &DomainChange,
        at: DateTime<Utc>,
    ) -> Result<(AccountDomain, Option<DocumentKey>), StoreError> {
        let mut tx = self.pool.begin().await?;
        lock_domain(&mut tx, account_id, domain_id).await?;
        keep_mail_settings(&mut tx, domain_id, &change.mail_settings).await?;
        let key = match change.redact_pii {
            None => None,
            Some(redact_pii) => {
                sqlx::query!(
                    "UPDATE domains SET redact_pii = $2 WHERE domain_id = $1",
                    domain_id,
                    redact_pii
                )
                .execute(&mut *tx)
                .await?;
                Some(domain_changed(&mut tx, domain_id, at).await?)
            }
        };
        let domain = read(&mut tx, account_id, domain_id).await?;
        tx.commit().await?;
        Ok((domain, key))
    }

    /// Deletes a domain with its webhooks and the keys that were made for it, on
    /// behalf of the customer. Its name is free again for anyone.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when this account has no such domain,
    /// [`StoreError::DomainDisabled`] when an operator has disabled it: making it
    /// again would undo that.
    pub async fn delete_account_domain(
        &self,
        account_id: &str,
        domain_id: &str,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        // The account first, as everywhere, so that no two changes wait for each other.
        lock_account(&mut tx, account_id).await?;
        lock_domain(&mut tx, account_id, domain_id).await?;
        if read(&mut tx, account_id, domain_id).await?.disabled_at.is_some() {
            return Err(StoreError::DomainDisabled);
        }
        let key = remove(&mut tx, domain_id, at).await?;
        tx.commit().await?;
        Ok(key)
    }
}

impl DomainOrder {
    /// Its name in the statement that lists.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "",
            Self::Oldest => "created_at",
            Self::Name => "name",
            Self::NameDescending => "name:desc",
        }
    }
}

async fn keep_mail_settings(
    tx: &mut PgConnection,
    domain_id: &str,
    settings: &str,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE domains SET mail_settings = mail_settings || $2::text::jsonb WHERE domain_id = $1",
        domain_id,
        settings
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn read(
    tx: &mut PgConnection,
    account_id: &str,
    domain_id: &str,
) -> Result<AccountDomain, StoreError> {
    let domain = sqlx::query_as!(
        AccountDomain,
        "SELECT d.domain_id, d.name, \
         CASE WHEN a.is_subaccount THEN a.account_id END AS subaccount_id, \
         d.redact_pii, d.created_at, d.disabled_at, d.disabled_reason, \
         d.mail_settings::text AS \"mail_settings!\" \
         FROM domains d JOIN accounts a USING (account_id) \
         WHERE d.domain_id = $1 AND d.account_id = $2 AND d.deleted_at IS NULL",
        domain_id,
        account_id
    )
    .fetch_optional(tx)
    .await?;
    domain.ok_or(StoreError::NotFound(Thing::Domain))
}

/// How long a domain that its tenant has deleted is kept from others: events of its name may
/// still be on their way, and whoever takes it by mistake can have it back.
const KEPT_FROM_OTHERS: TimeDelta = TimeDelta::days(7);

/// Refuses a name that belongs to another tenant: below one of its domains, or deleted by it
/// lately. Operators are free to give it away.
async fn check_others(
    tx: &mut PgConnection,
    account_id: &str,
    name: &str,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let above: Vec<String> = above(name).map(model::domain_id).collect();
    let is_anothers = sqlx::query_scalar!(
        "WITH caller AS (SELECT coalesce(parent_id, account_id) AS id FROM accounts \
         WHERE account_id = $1) \
         SELECT EXISTS (SELECT FROM domains d JOIN accounts a USING (account_id), caller \
         WHERE coalesce(a.parent_id, a.account_id) <> caller.id AND \
         (d.domain_id = ANY($2) AND d.deleted_at IS NULL \
         OR d.domain_id = $3 AND d.deleted_at > $4 AND a.erased_at IS NULL)) AS \"is_anothers!\"",
        account_id,
        &above,
        model::domain_id(name),
        at - KEPT_FROM_OTHERS
    );
    match is_anothers.fetch_one(tx).await? && !chassis::mutant("names_are_free") {
        true => Err(StoreError::Exists(Thing::Domain)),
        false => Ok(()),
    }
}

/// The names above a name that can be one tenant's: not a top-level domain, nor what may be
/// run like one, such as `co.uk`.
fn above(name: &str) -> impl Iterator<Item = &str> {
    let parents = name.match_indices('.').map(|(at, _)| &name[at + 1..]);
    parents.filter(|parent| match parent.rsplit_once('.') {
        None => false,
        Some((second, top)) => second.contains('.') || second.len() > 3 || top.len() > 2,
    })
}

#[cfg(test)]
mod tests {
    use super::above;

    #[test]
    fn names_above_are_those_that_a_tenant_can_have() {
        let of = |name| above(name).collect::<Vec<_>>();
        assert_eq!(of("a.b.example.com"), ["b.example.com", "example.com"]);
        assert_eq!(of("mail.shop.co.uk"), ["shop.co.uk"]);
        assert_eq!(of("example.com"), [""; 0]);
        assert_eq!(of("com"), [""; 0]);
    }
}
