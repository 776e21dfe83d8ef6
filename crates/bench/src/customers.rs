//! Accounts, domains and webhooks, made through the doors that everybody uses.

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::{StreamExt as _, TryStreamExt as _};
use protocol::v1::admin_client::AdminClient;
use protocol::v1::{CreateAccountRequest, CreateDomainRequest};

use crate::platform::{Platform, exchange};

/// How many are made at the same time.
const AT_ONCE: usize = 8;

/// Name of a domain of an account of the benchmark.
pub(crate) fn domain(account: &str, number: u64) -> String {
    format!("{number}.{account}.example")
}

impl Platform {
    /// Makes an account with a domain for each of these URLs, which hears of
    /// this type of event.
    pub(crate) async fn add_customer(
        &self,
        account: &str,
        event_type: &str,
        urls: &[String],
    ) -> Result<()> {
        Doors { admin: &self.admin, http: &self.http }.add_customer(account, event_type, urls).await
    }
}

/// Where customers are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doors<'a> {
    /// URL of the gRPC service `Admin`.
    pub(crate) admin: &'a str,
    /// `host:port` of the customers' APIs.
    pub(crate) http: &'a str,
}

impl Doors<'_> {
    /// Makes an account with a domain for each of these URLs, which hears of
    /// this type of event.
    pub(crate) async fn add_customer(
        self,
        account: &str,
        event_type: &str,
        urls: &[String],
    ) -> Result<()> {
        let mut admin = AdminClient::connect(self.admin.to_owned()).await?;
        let api_key = format!("key-{account}");
        let request = CreateAccountRequest {
            name: account.to_owned(),
            api_key: api_key.clone(),
            ..CreateAccountRequest::default()
        };
        admin.create_account(request).await?;
        let made = urls.iter().enumerate().map(|(number, url)| {
            let (mut admin, name) = (admin.clone(), domain(account, number as u64));
            let api_key = &api_key;
            async move {
                let request = CreateDomainRequest {
                    name: name.clone(),
                    account_name: account.to_owned(),
                    if_absent: false,
                };
                admin.create_domain(request).await?;
                self.add_webhook(api_key, &name, event_type, url).await
            }
        });
        futures_util::stream::iter(made).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn add_webhook(
        self,
        api_key: &str,
        domain: &str,
        event_type: &str,
        url: &str,
    ) -> Result<()> {
        let escaped = url.replace(':', "%3A").replace('/', "%2F");
        let form = format!("id={event_type}&url={escaped}");
        let request = format!(
            "POST /v3/domains/{domain}/webhooks HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\
             Authorization: Basic {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{form}",
            BASE64_STANDARD.encode(format!("api:{api_key}")),
            form.len()
        );
        let answer = exchange(self.http, &request).await?;
        ensure!(answer.contains(" 200 "), "the webhook was not created: {answer}");
        Ok(())
    }
}
