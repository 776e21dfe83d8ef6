//! The domains of the account.

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
use crate::{Console, path};

const CALLS: &str = "/v4/domains";
/// Domains on one page.
const PAGE: usize = 50;
/// So many can be chosen from a list; of more, the name is typed.
const CHOICE: usize = 200;

pub(crate) fn routes() -> Router<Console> {
    Router::new().route(path::DOMAINS, get(show).post(change))
}

#[derive(Deserialize)]
struct List {
    total_count: usize,
    items: Vec<Domain>,
}

#[derive(Deserialize)]
struct Domain {
    name: String,
    state: String,
    created_at: String,
    webhooks_redact_pii: bool,
    disabled: Option<Disabled>,
}

#[derive(Deserialize)]
struct Disabled {
    reason: String,
}

/// The domains that a form offers.
pub(crate) struct Choice {
    pub(crate) names: Vec<String>,
    total: usize,
}

impl Choice {
    /// Whether there is none at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Whether these are not all.
    pub(crate) fn is_typed(&self) -> bool {
        self.total > self.names.len()
    }
}

/// The domains that there are, by name.
pub(crate) async fn choice(visitor: &Visitor) -> Result<Choice, ApiError> {
    let list: List = visitor.get(&format!("{CALLS}?sort=name&limit={CHOICE}")).await?;
    let names = list.items.into_iter().map(|domain| domain.name).collect();
    Ok(Choice { names, total: list.total_count })
}

#[derive(Template)]
#[template(path = "domains.html")]
struct Page<'a> {
    frame: Frame,
    list: List,
    search: &'a str,
    skip: usize,
    /// Of a domain that could not be made.
    name: &'a str,
    problem: &'a str,
    done: &'static str,
}

impl Page<'_> {
    fn at(&self, skip: usize) -> String {
        path::with_query(path::DOMAINS, &[("search", self.search), ("skip", &skip.to_string())])
    }

    fn previous(&self) -> Option<String> {
        self.skip.checked_sub(PAGE).map(|skip| self.at(skip))
    }

    fn next(&self) -> Option<String> {
        let next = self.skip + PAGE;
        (next < self.list.total_count).then(|| self.at(next))
    }

    fn webhooks(&self, domain: &Domain) -> String {
        path::with_query(path::WEBHOOKS, &[("domain", &domain.name)])
    }
}

/// What a page shows besides the list.
#[derive(Default)]
struct Told<'a> {
    name: &'a str,
    problem: &'a str,
    done: &'static str,
}

async fn show(visitor: Visitor, query: Fields) -> Result<Response, Trouble> {
    let skip = query.one("skip").parse().unwrap_or(0);
    let done = [
        ("made", "The domain is there, and is active at once."),
        ("saved", "Saved. The next delivery is made like this."),
        ("deleted", "The domain is deleted, with its webhooks."),
    ];
    let done = done.into_iter().find(|(name, _)| query.has(name));
    let done = done.map(|(_, text)| text).unwrap_or_default();
    let told = Told { done, ..Told::default() };
    page(&visitor, StatusCode::OK, query.one("search"), skip, told).await
}

async fn page(
    visitor: &Visitor,
    status: StatusCode,
    search: &str,
    skip: usize,
    Told { name, problem, done }: Told<'_>,
) -> Result<Response, Trouble> {
    let (limit, from) = (PAGE.to_string(), skip.to_string());
    let fields = [("sort", "name"), ("limit", &limit), ("skip", &from), ("search", search)];
    let list = visitor.get(&path::with_query(CALLS, &fields)).await?;
    let frame = visitor.frame(Section::Domains);
    Ok(pages::page(status, &Page { frame, list, search, skip, name, problem, done }))
}

/// Makes or deletes one, or switches its redaction, whichever button was pressed.
async fn change(Sent { visitor, fields }: Sent) -> Result<Response, Trouble> {
    let name = fields.one("name");
    let one = format!("{CALLS}/{}", path::segment(name));
    let (changed, done) = if fields.has("create") {
        let redact = if fields.has("redact") { "true" } else { "false" };
        let fields = Payload::form([("name", name), ("webhooks_redact_pii", redact)]);
        (visitor.call::<IgnoredAny>(Method::POST, CALLS, fields).await, "made")
    } else if fields.has("delete") {
        (delete(&visitor, &one, &fields).await, "deleted")
    } else if let Some(redact) = redaction(&fields) {
        let fields = Payload::form([("webhooks_redact_pii", redact)]);
        (visitor.call::<IgnoredAny>(Method::PUT, &one, fields).await, "saved")
    } else {
        (Err(ApiError::no_button()), "")
    };
    match changed {
        Ok(_) => Ok(visitor.go(&format!("{}?{done}", path::DOMAINS))),
        Err(ApiError::Refused { status, message }) => {
            let name = if fields.has("create") { name } else { "" };
            let told = Told { name, problem: &message, ..Told::default() };
            page(&visitor, status, "", 0, told).await
        }
        Err(error) => Err(error.into()),
    }
}

/// What a pressed button says of personal data, as the APIs have it. Never what no
/// button says: data that should be redacted does not leave because of that.
pub(crate) fn redaction(fields: &Fields) -> Option<&'static str> {
    match (fields.has("redact"), fields.has("reveal")) {
        (true, false) => Some("true"),
        (false, true) => Some("false"),
        _ => None,
    }
}

async fn delete(visitor: &Visitor, one: &str, fields: &Fields) -> Result<IgnoredAny, ApiError> {
    fields.check_sure("the domain's webhooks go with it")?;
    visitor.call(Method::DELETE, one, Payload::Nothing).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn personal_data_leaves_only_when_a_button_says_so() {
        let of = |form: &str| redaction(&Fields::parse(form.as_bytes()));
        assert_eq!((of("redact="), of("reveal=")), (Some("true"), Some("false")));
        assert_eq!((of("name=a"), of("redact=&reveal=")), (None, None));
    }
}
