//! Signing keys, API keys, personal data, and how a receiver checks a signature.

mod keys;
mod signing;
mod snippets;

use askama::Template;
use axum::Router;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::api::{ApiError, Payload};
use crate::fields::{Fields, Sent};
use crate::frame::{Frame, Section};
use crate::trouble::Trouble;
use crate::visitor::Visitor;
use crate::{Console, domains, path};

use self::keys::{Key, Keys, Made};
use self::signing::SigningKey;
use self::snippets::Snippet;

const ACCOUNT: &str = "/postrider/v1/account";

pub(crate) fn routes() -> Router<Console> {
    Router::new().route(path::SECURITY, get(show).post(change))
}

/// What is known of the account.
#[derive(Deserialize)]
struct Account {
    parent_id: Option<String>,
    features: Features,
    signing_key_overlap_until: Option<String>,
    alerts_signing_key_overlap_until: Option<String>,
}

#[derive(Deserialize)]
struct Features {
    /// A subaccount with a key of its own does not see it.
    webhooks_redact_pii: Option<Switch>,
}

#[derive(Deserialize)]
struct Switch {
    enabled: bool,
}

#[derive(Deserialize)]
struct Domains {
    items: Vec<Domain>,
    total_count: usize,
}

#[derive(Deserialize)]
struct Domain {
    name: String,
    webhooks_redact_pii: bool,
}

#[derive(Template)]
#[template(path = "security.html")]
struct Page<'a> {
    frame: Frame,
    account: Account,
    /// Whether the parent redacts, as far as this visitor may know.
    parent_redacts: Option<bool>,
    domains: Domains,
    keys: Keys,
    signing_keys: [(&'static SigningKey, Option<String>, Option<String>); 2],
    made: Option<Made>,
    problem: &'a str,
    done: &'static str,
}

impl Page<'_> {
    /// Whether domains are redacted whatever they say themselves.
    fn is_redacted_above(&self) -> bool {
        self.redacts() == Some(true) || self.parent_redacts == Some(true)
    }

    /// Whether the account redacts, as far as this visitor may know.
    fn redacts(&self) -> Option<bool> {
        self.account.features.webhooks_redact_pii.as_ref().map(|switch| switch.enabled)
    }
}

/// What a page shows besides what is always there.
#[derive(Default)]
struct Told {
    /// A signing key, by name.
    shown: Option<(&'static str, String)>,
    made: Option<Made>,
    problem: String,
    done: &'static str,
}

async fn show(visitor: Visitor, query: Fields) -> Result<Response, Trouble> {
    let done = [
        ("saved", "Saved. The next delivery is made like this."),
        ("revoked", "The key opens nothing any more."),
        (
            "replaced",
            "There is a new key, which every try from now on is signed with. Show it below.",
        ),
    ];
    let done = done.into_iter().find(|(name, _)| query.has(name));
    let done = done.map(|(_, text)| text).unwrap_or_default();
    page(&visitor, StatusCode::OK, Told { done, ..Told::default() }).await
}

async fn page(visitor: &Visitor, status: StatusCode, told: Told) -> Result<Response, Trouble> {
    let Told { shown, made, problem, done } = told;
    let account: Account = visitor.get(ACCOUNT).await?;
    let domains = visitor.get("/v4/domains?sort=name&limit=20").await?;
    let keys = visitor.get(keys::CALLS).await?;
    // A subaccount's own key does not see its parent.
    let parent_redacts = match (&account.parent_id, visitor.session.acting_for()) {
        (Some(_), Some(_)) => {
            let parent: Account = visitor.outside().get(ACCOUNT).await?;
            parent.features.webhooks_redact_pii.map(|switch| switch.enabled)
        }
        _ => None,
    };
    let text = |key: &SigningKey| {
        shown.as_ref().filter(|(name, _)| *name == key.name).map(|(_, text)| text.clone())
    };
    let [http, alerts] = &signing::ALL;
    let signing_keys = [
        (http, text(http), account.signing_key_overlap_until.clone()),
        (alerts, text(alerts), account.alerts_signing_key_overlap_until.clone()),
    ];
    let frame = visitor.frame(Section::Security);
    let problem = problem.as_str();
    let page =
        Page { frame, account, parent_redacts, domains, keys, signing_keys, made, problem, done };
    Ok(pages::page(status, &page))
}

/// Does what the pressed button says. What is shown once is in the answer itself.
async fn change(Sent { visitor, fields }: Sent) -> Result<Response, Trouble> {
    let changed = if fields.has("show") {
        signing::show(&visitor, &fields)
            .await
            .map(|shown| Told { shown: Some(shown), ..Told::default() })
    } else if fields.has("regenerate") {
        match signing::replace(&visitor, &fields).await {
            // Led on, so that looking at the page again does not replace the key again.
            Ok(()) => return Ok(visitor.go(&format!("{}?replaced", path::SECURITY))),
            Err(error) => Err(error),
        }
    } else if fields.has("create_key") {
        let made = keys::create(&visitor, &fields).await;
        made.map(|made| Told { made: Some(made), ..Told::default() })
    } else if fields.has("revoke") {
        match keys::revoke(&visitor, &fields).await {
            Ok(()) => return Ok(visitor.go(&format!("{}?revoked", path::SECURITY))),
            Err(error) => Err(error),
        }
    } else if let Some(redact) = domains::redaction(&fields) {
        match set_redaction(&visitor, redact).await {
            Ok(_) => return Ok(visitor.go(&format!("{}?saved", path::SECURITY))),
            Err(error) => Err(error),
        }
    } else {
        Err(ApiError::no_button())
    };
    match changed {
        Ok(told) => page(&visitor, StatusCode::OK, told).await,
        Err(ApiError::Refused { status, message }) => {
            page(&visitor, status, Told { problem: message, ..Told::default() }).await
        }
        Err(error) => Err(error.into()),
    }
}

async fn set_redaction(visitor: &Visitor, redact: &str) -> Result<IgnoredAny, ApiError> {
    let value = format!("{{\"enabled\":{redact}}}");
    let form = Payload::form([("webhooks_redact_pii", value.as_str())]);
    visitor.call(Method::PUT, "/v5/accounts/features", form).await
}
