//! Domains.

use protocol::v1;
use store::{DocumentKey, Domain, NewDomain, StoreError, Thing};
use tonic::Status;

use super::check;
use super::status::Refused;
use crate::SettingsApi;

impl SettingsApi {
    pub(super) async fn create_domain(
        &self,
        request: &v1::CreateDomainRequest,
    ) -> Result<v1::Domain, Refused> {
        let name = check::domain(&request.name)?;
        let account = check::account(&request.account_name, "account_name")?;
        self.check_broker()?;
        let account_name = self.store.account_named(account).await?.name;
        let new = NewDomain { name, account_name };
        match self.store.create_domain(&new, self.clock.now()).await {
            Ok((domain, key)) => {
                self.publish(&key).await?;
                Ok(message(domain))
            }
            Err(StoreError::Exists(Thing::Domain)) => {
                self.existing_domain(&new, request.if_absent).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The domain that has this name already, if it is what was asked for.
    async fn existing_domain(
        &self,
        new: &NewDomain,
        if_absent: bool,
    ) -> Result<v1::Domain, Refused> {
        let domain = self.store.domain_named(&new.name).await?;
        let name = &new.name;
        if domain.account_name != new.account_name {
            let message =
                format!("domain {name} already exists; account {} has it", domain.account_name);
            return Err(Status::already_exists(message).into());
        }
        if !if_absent {
            return Err(Status::already_exists(format!("domain {name} already exists")).into());
        }
        // Whoever made it may have died before it was published.
        self.publish(&DocumentKey::Domain(domain.domain_id.clone())).await?;
        Ok(message(domain))
    }

    pub(super) async fn list_domains(
        &self,
        request: &v1::ListDomainsRequest,
    ) -> Result<v1::ListDomainsResponse, Refused> {
        let account = check::optional_account(&request.account_name, "account_name")?;
        let domains = self.store.domains(account).await?;
        Ok(v1::ListDomainsResponse { domains: domains.into_iter().map(message).collect() })
    }

    pub(super) async fn delete_domain(
        &self,
        request: &v1::DeleteDomainRequest,
    ) -> Result<v1::DeleteDomainResponse, Refused> {
        let domain_id = model::domain_id(&check::domain(&request.name)?);
        self.check_broker()?;
        let key = self.store.delete_domain(&domain_id, self.clock.now()).await?;
        self.publish(&key).await?;
        Ok(v1::DeleteDomainResponse {})
    }

    pub(super) async fn set_domain_disabled(
        &self,
        request: &v1::SetDomainDisabledRequest,
    ) -> Result<v1::Domain, Refused> {
        let name = check::domain(&request.name)?;
        let reason = check::reason(&request.reason)?;
        if reason.is_some() && !request.disabled {
            let message = "reason: a domain that is not disabled has none";
            return Err(Status::invalid_argument(message).into());
        }
        self.check_broker()?;
        let (domain_id, now) = (model::domain_id(&name), self.clock.now());
        let key = self.store.set_domain_disabled(&domain_id, request.disabled, reason, now).await?;
        self.publish(&key).await?;
        Ok(message(self.store.domain_named(&name).await?))
    }
}

fn message(domain: Domain) -> v1::Domain {
    v1::Domain {
        domain_id: domain.domain_id,
        name: domain.name,
        account_name: domain.account_name,
        created_at: Some(domain.created_at.into()),
        disabled_at: domain.disabled_at.map(Into::into),
        disabled_reason: domain.disabled_reason.unwrap_or_default(),
    }
}
