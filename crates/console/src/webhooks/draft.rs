//! A webhook as somebody types it, and the calls that make it one.

use axum::http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{EVENT_TYPES, Webhook, page_of};
use crate::api::{ApiError, Payload};
use crate::domains::Choice;
use crate::fields::Fields;
use crate::path;
use crate::visitor::Visitor;

/// What a form has, right or wrong.
pub(super) struct Draft {
    /// Whether it is for one domain rather than for all of the account's.
    pub(super) is_domains: bool,
    pub(super) domain: String,
    pub(super) url: String,
    pub(super) description: String,
    pub(super) event_types: Vec<String>,
}

#[derive(Deserialize)]
struct Created {
    webhook_id: String,
}

impl Draft {
    /// With nothing but the domain that somebody looks at.
    pub(super) fn new(domain: &str, choice: &Choice) -> Self {
        let first = choice.names.first().map(String::as_str).unwrap_or_default();
        Self {
            is_domains: !choice.is_empty(),
            domain: if domain.is_empty() { first } else { domain }.to_owned(),
            url: String::new(),
            description: String::new(),
            event_types: Vec::new(),
        }
    }

    pub(super) fn read(fields: &Fields) -> Self {
        Self {
            is_domains: fields.one("level") == "domain",
            domain: fields.one("domain").to_owned(),
            url: fields.one("url").to_owned(),
            description: fields.one("description").to_owned(),
            event_types: fields.all("event_types").map(str::to_owned).collect(),
        }
    }

    /// What there is, to be changed.
    pub(super) fn of(webhook: &Webhook) -> Self {
        Self {
            is_domains: webhook.domain.is_some(),
            domain: webhook.domain.clone().unwrap_or_default(),
            url: webhook.url.clone(),
            description: webhook.description.clone(),
            event_types: webhook.event_types.clone(),
        }
    }

    pub(super) fn has(&self, event_type: &str) -> bool {
        self.event_types.iter().any(|given| given == event_type)
    }

    /// Event types besides those that are offered: ids from before 2018.
    pub(super) fn older(&self) -> impl Iterator<Item = &String> {
        self.event_types.iter().filter(|given| EVENT_TYPES.iter().all(|(name, _)| name != given))
    }

    /// Makes it. Returns where its page is.
    pub(super) async fn create(&self, visitor: &Visitor) -> Result<String, ApiError> {
        self.check()?;
        if self.is_domains {
            let path = self.of_domain();
            visitor.call::<IgnoredAny>(Method::POST, &path, self.url_and_types()).await?;
            return Ok(page_of(&self.domain, "", &self.url) + "&made");
        }
        let made: Created = visitor.call(Method::POST, "/v1/webhooks", self.whole()).await?;
        Ok(page_of("", &made.webhook_id, &self.url) + "&made")
    }

    /// Makes the webhook that is there be like this. Returns where its page is.
    pub(super) async fn save(&self, visitor: &Visitor, id: &str) -> Result<String, ApiError> {
        self.check()?;
        let (path, payload) = if self.is_domains {
            (self.of_domain(), self.url_and_types())
        } else {
            (format!("/v1/webhooks/{}", path::segment(id)), self.whole())
        };
        visitor.call::<Option<IgnoredAny>>(Method::PUT, &path, payload).await?;
        Ok(page_of(&self.domain, id, &self.url) + "&saved")
    }

    /// What the APIs would say in the words of programs.
    fn check(&self) -> Result<(), ApiError> {
        let missing = if self.url.is_empty() {
            "Enter the URL to which events are sent."
        } else if self.event_types.is_empty() {
            "Choose at least one event."
        } else if self.is_domains && self.domain.is_empty() {
            "Choose the domain whose events are sent."
        } else {
            return Ok(());
        };
        Err(ApiError::Refused { status: StatusCode::BAD_REQUEST, message: missing.to_owned() })
    }

    fn of_domain(&self) -> String {
        format!("/v4/domains/{}/webhooks", path::segment(&self.domain))
    }

    fn url_and_types(&self) -> Payload {
        let types = self.event_types.iter().map(|given| ("event_types", given.as_str()));
        Payload::form([("url", self.url.as_str())].into_iter().chain(types))
    }

    fn whole(&self) -> Payload {
        let types = self.event_types.iter().map(|given| ("event_types", given.as_str()));
        let texts = [("url", self.url.as_str()), ("description", self.description.as_str())];
        Payload::form(texts.into_iter().chain(types))
    }
}
