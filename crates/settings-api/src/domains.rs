//! Domains, as far as webhooks lean on them (reference §6.3). What Mailgun
//! tells of sending, receiving and DNS has no meaning here: what is shown of a
//! domain is kept as it was given, the rest is taken without effect.

mod answer;
mod mail_settings;
mod v3;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use store::{AccountDomain, DomainChange, DomainOrder, DomainPage, RateBudget, StoreError, Thing};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::answer::{DomainChanged, DomainDeleted, DomainList, OneDomain};
use self::mail_settings::MailSettings;
use crate::auth::Caller;
use crate::error::{ApiError, Problem};
use crate::form::{Form, Query};
use crate::limits::CustomerDomains;
use crate::path::Segments;
use crate::{SettingsApi, domain_name, respond};

/// Domains on a page, if the caller does not say.
const DEFAULT_LIMIT: i64 = 100;
const MAX_LIMIT: i64 = 1000;

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, delete))
        .routes(routes!(verify))
        .merge(v3::routes())
}

type Result<T = Response> = std::result::Result<T, ApiError>;

/// Lists the domains of the account, those made last first.
#[utoipa::path(
    get,
    path = "/v4/domains",
    operation_id = "list_domains",
    tag = "domains",
    params(ListQuery),
    responses(
        (status = 200, description = "A page of domains, and how many there are", body = DomainList<'_>),
        (status = 400, description = "Something in the query is wrong", body = Problem),
    )
)]
pub(crate) async fn list(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Query(query): Query,
) -> Result {
    let page = DomainPage {
        limit: number(&query, "limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT),
        skip: number(&query, "skip", 0..=i64::from(u32::MAX))?.unwrap_or(0),
        is_disabled: match query.first("state") {
            None => None,
            Some("active") => Some(false),
            // Go's client calls it so.
            Some("disabled" | "inactive") => Some(true),
            // There is no such domain: what is made here is active at once.
            Some("unverified") => return Ok(respond::ok(&DomainList::of(&[], 0))),
            Some(_) => {
                let message = "state must be one of active, unverified and disabled";
                return Err(ApiError::bad_request(message));
            }
        },
        search: search(&query)?,
        include_subaccounts: flag(&query, "include_subaccounts")?.unwrap_or(false),
        // The types of mailgun.js have a space behind the colon.
        order: match query.first("sort").map(|sort| sort.replace(": ", ":")).as_deref() {
            None => DomainOrder::Newest,
            Some("name" | "name:asc") => DomainOrder::Name,
            Some("name:desc") => DomainOrder::NameDescending,
            Some("created_at" | "created_at:asc") => DomainOrder::Oldest,
            Some("created_at:desc") => DomainOrder::Newest,
            Some(_) => {
                let message = "sort must be name or created_at, alone or with :asc or :desc";
                return Err(ApiError::bad_request(message));
            }
        },
    };
    let (domains, total) = api.store.account_domains(&caller.account_id, &page).await?;
    Ok(respond::ok(&DomainList::of(&domains, total)))
}

/// Makes a domain, which is active at once: nothing has to be verified.
#[utoipa::path(
    post,
    path = "/v4/domains",
    operation_id = "create_domain",
    tag = "domains",
    request_body = NewDomainForm,
    responses((status = 200, description = "Made", body = DomainChanged<'_>))
)]
pub(crate) async fn create(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    form: Form,
) -> Result {
    check_customers_may(&api)?;
    let name =
        form.first("name").ok_or_else(|| ApiError::bad_request("Missing parameter 'name'"))?;
    // No mail goes to a name without a dot, and hashes of names look like one.
    let name = domain_name::canonical(name).filter(|name| name.contains('.')).ok_or_else(|| {
        ApiError::bad_request("name must be the name of a domain, such as mail.example.com")
    })?;
    let told = told(&form)?;
    api.check_broker()?;
    api.spend(&caller.primary_id, RateBudget::Domains, 1).await?;
    let (quotas, now) = (&api.limits.quotas, api.clock.now());
    let made = api
        .store
        .create_account_domain(&caller.account_id, &name, &told, quotas, now)
        .await
        .map_err(|error| match error {
            // Whose it is, is not for this caller to know.
            StoreError::Exists(Thing::Domain) => {
                ApiError::bad_request("This domain name is already taken")
            }
            error => error.into(),
        });
    let (domain, key) = made?;
    api.publish(&key).await?;
    Ok(respond::ok(&DomainChanged::of("Domain DNS records have been created", &domain)))
}

/// Shows one domain.
#[utoipa::path(
    get,
    path = "/v4/domains/{domain}",
    operation_id = "get_domain",
    tag = "domains",
    params(DomainPath),
    responses((status = 200, description = "The domain", body = OneDomain<'_>))
)]
pub(crate) async fn get(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(name): Segments<String>,
) -> Result {
    Ok(respond::ok(&OneDomain::of(&find(&api, &caller, &name).await?)))
}

/// Switches the redaction of personal data in the domain's deliveries, and keeps mail settings.
#[utoipa::path(
    put,
    path = "/v4/domains/{domain}",
    operation_id = "update_domain",
    tag = "domains",
    params(DomainPath),
    request_body = DomainForm,
    responses((status = 200, description = "As it is now", body = DomainChanged<'_>))
)]
pub(crate) async fn update(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(name): Segments<String>,
    form: Form,
) -> Result {
    let domain_id = domain_id(&name)?;
    let change = told(&form)?;
    if change.redact_pii.is_some() {
        api.check_broker()?;
    }
    let now = api.clock.now();
    let changed = api.store.change_account_domain(&caller.account_id, &domain_id, &change, now);
    let (domain, key) = changed.await?;
    if let Some(key) = key {
        api.publish(&key).await?;
    }
    Ok(respond::ok(&DomainChanged::of("Domain has been updated", &domain)))
}

/// Deletes a domain with its webhooks and the API keys that were made for it.
/// What waits for delivery to its webhooks is not sent any more.
#[utoipa::path(
    delete,
    path = "/v4/domains/{domain}",
    operation_id = "delete_domain",
    tag = "domains",
    params(DomainPath),
    responses((status = 200, description = "Deleted", body = DomainDeleted))
)]
pub(crate) async fn delete(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(name): Segments<String>,
) -> Result {
    check_customers_may(&api)?;
    let domain_id = domain_id(&name)?;
    api.check_broker()?;
    let now = api.clock.now();
    let key = api.store.delete_account_domain(&caller.account_id, &domain_id, now).await?;
    api.publish(&key).await?;
    Ok(respond::ok(&DomainDeleted::ANSWER))
}

/// Answers as Mailgun does once it has looked at a domain's DNS, which is not
/// looked at here.
#[utoipa::path(
    put,
    path = "/v4/domains/{domain}/verify",
    operation_id = "verify_domain",
    tag = "domains",
    params(DomainPath),
    responses((status = 200, description = "The domain", body = DomainChanged<'_>))
)]
pub(crate) async fn verify(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(name): Segments<String>,
) -> Result {
    let domain = find(&api, &caller, &name).await?;
    Ok(respond::ok(&DomainChanged::of("Domain DNS records have been updated", &domain)))
}

/// The change of a domain that a form asks for.
fn told(form: &Form) -> Result<DomainChange> {
    Ok(DomainChange {
        redact_pii: flag(form, "webhooks_redact_pii")?,
        mail_settings: MailSettings::of(form)?.to_json(),
    })
}

async fn find(api: &SettingsApi, caller: &Caller, name: &str) -> Result<AccountDomain> {
    Ok(api.store.account_domain(&caller.account_id, &domain_id(name)?).await?)
}

fn domain_id(name: &str) -> Result<String> {
    let name =
        domain_name::canonical(name).ok_or_else(|| ApiError::not_found("Domain not found"))?;
    Ok(model::domain_id(&name))
}

/// Refuses customers where only operators make and delete domains.
fn check_customers_may(api: &SettingsApi) -> Result<()> {
    match api.limits.customer_domains {
        CustomerDomains::Allow => Ok(()),
        CustomerDomains::OperatorOnly => {
            Err(ApiError::forbidden("Domains are made and deleted by the provider; ask there"))
        }
    }
}

fn number(
    form: &Form,
    name: &'static str,
    range: std::ops::RangeInclusive<i64>,
) -> Result<Option<i64>> {
    let Some(text) = form.first(name) else { return Ok(None) };
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(Some(number)),
        _ => {
            let (from, to) = (range.start(), range.end());
            Err(ApiError::bad_request(format!("{name} must be a number from {from} to {to}")))
        }
    }
}

/// Names are stored in lower case and in ASCII.
fn search(form: &Form) -> Result<Option<String>> {
    match form.first("search").map(str::to_ascii_lowercase) {
        // The database takes no such text.
        Some(text) if text.contains('\0') => {
            Err(ApiError::bad_request("search must be a part of a domain's name"))
        }
        text => Ok(text),
    }
}

/// A switch, in any of the spellings that clients use.
fn flag(form: &Form, name: &'static str) -> Result<Option<bool>> {
    let Some(text) = form.first(name) else { return Ok(None) };
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(Some(true)),
        "false" | "no" | "0" => Ok(Some(false)),
        _ => {
            let message =
                format!("{name} must be true or false; yes and no, 1 and 0 mean the same");
            Err(ApiError::bad_request(message))
        }
    }
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
struct ListQuery {
    /// How many on this page.
    #[param(required = false, minimum = 1, maximum = 1000, default = 100)]
    limit: i64,
    /// How many to pass over.
    #[param(required = false, minimum = 0, maximum = 4_294_967_295_i64, default = 0)]
    skip: i64,
    /// Only domains in this state: active, unverified or disabled.
    #[param(required = false)]
    state: String,
    /// `name` or `created_at`, alone or with `:asc` or `:desc`; without it, those made last come
    /// first.
    #[param(required = false)]
    sort: String,
    /// Only domains whose name has this in it.
    #[param(required = false)]
    search: String,
    /// Those of all subaccounts as well.
    #[param(required = false)]
    include_subaccounts: bool,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the path")]
struct DomainPath {
    /// Name of the domain.
    #[param(example = "mail.demo.example")]
    domain: String,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form")]
struct NewDomainForm {
    /// Name of the domain.
    #[schema(example = "mail.demo.example")]
    name: String,
    /// Whether deliveries of its events go without personal data.
    #[schema(required = false)]
    webhooks_redact_pii: bool,
    #[schema(inline)]
    #[serde(flatten)]
    mail_settings: MailSettings,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form")]
struct DomainForm {
    /// Whether deliveries of its events go without personal data.
    #[schema(required = false)]
    webhooks_redact_pii: bool,
    #[schema(inline)]
    #[serde(flatten)]
    mail_settings: MailSettings,
}
