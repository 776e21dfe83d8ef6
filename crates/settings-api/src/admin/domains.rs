//! Domains.

use protocol::v1;
use store::{DocumentKey, Domain, NewDomain, StoreError, Thing};
use tonic::Status;

use super::check;
use super::status::Refused;
use crate::SettingsApi;

impl SettingsApi {
    pub(super) async fn admin_create_domain(
        &self,
        request: v1::CreateDomainRequest,
    ) -> Result<v1::Domain, Status> {
        Ok(self.create_domain(&request).await?)
    }

    async fn create_domain(
        &self,
        request: &v1::CreateDomainRequest,
    ) -> Result<v1::Domain, Refused> {
        let name = check::domain(&request.name)?;
        let account_name = check::account_name(&request.account_name, "account_name")?.to_owned();
        self.check_broker()?;
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

    pub(super) async fn admin_list_domains(
        &self,
        request: v1::ListDomainsRequest,
    ) -> Result<v1::ListDomainsResponse, Status> {
        let account = check::optional_account_name(&request.account_name, "account_name")?;
        let domains = self.store.domains(account).await.map_err(Refused::from)?;
        Ok(v1::ListDomainsResponse { domains: domains.into_iter().map(message).collect() })
    }
}

fn message(domain: Domain) -> v1::Domain {
    v1::Domain {
        domain_id: domain.domain_id,
        name: domain.name,
        account_name: domain.account_name,
        created_at: Some(domain.created_at.into()),
    }
}
