//! The same calls under their older paths, which the Python client uses for all
//! of them and mailgun.js for deleting.

use axum::Extension;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{
    DomainChanged, DomainDeleted, DomainForm, DomainList, DomainPath, ListQuery, NewDomainForm,
    OneDomain, Problem, Result,
};
use crate::SettingsApi;
use crate::auth::Caller;
use crate::form::{Form, Query};
use crate::path::Segments;

pub(super) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, delete))
        .routes(routes!(verify))
}

/// Lists domains, as in version 4.
#[utoipa::path(
    get,
    path = "/v3/domains",
    operation_id = "list_domains_v3",
    tag = "domains",
    params(ListQuery),
    responses(
        (status = 200, description = "A page of domains, and how many there are", body = DomainList<'_>),
        (status = 400, description = "Something in the query is wrong", body = Problem),
    )
)]
async fn list(api: State<SettingsApi>, caller: Extension<Caller>, query: Query) -> Result {
    super::list(api, caller, query).await
}

/// Makes a domain, as in version 4.
#[utoipa::path(
    post,
    path = "/v3/domains",
    operation_id = "create_domain_v3",
    tag = "domains",
    request_body = NewDomainForm,
    responses((status = 200, description = "Made", body = DomainChanged<'_>))
)]
async fn create(api: State<SettingsApi>, caller: Extension<Caller>, form: Form) -> Result {
    super::create(api, caller, form).await
}

/// Shows one domain, as in version 4.
#[utoipa::path(
    get,
    path = "/v3/domains/{domain}",
    operation_id = "get_domain_v3",
    tag = "domains",
    params(DomainPath),
    responses((status = 200, description = "The domain", body = OneDomain<'_>))
)]
async fn get(api: State<SettingsApi>, caller: Extension<Caller>, name: Segments<String>) -> Result {
    super::get(api, caller, name).await
}

/// Switches the redaction of a domain's deliveries, as in version 4.
#[utoipa::path(
    put,
    path = "/v3/domains/{domain}",
    operation_id = "update_domain_v3",
    tag = "domains",
    params(DomainPath),
    request_body = DomainForm,
    responses((status = 200, description = "As it is now", body = DomainChanged<'_>))
)]
async fn update(
    api: State<SettingsApi>,
    caller: Extension<Caller>,
    name: Segments<String>,
    form: Form,
) -> Result {
    super::update(api, caller, name, form).await
}

/// Deletes a domain, as in version 4.
#[utoipa::path(
    delete,
    path = "/v3/domains/{domain}",
    operation_id = "delete_domain_v3",
    tag = "domains",
    params(DomainPath),
    responses((status = 200, description = "Deleted", body = DomainDeleted))
)]
async fn delete(
    api: State<SettingsApi>,
    caller: Extension<Caller>,
    name: Segments<String>,
) -> Result {
    super::delete(api, caller, name).await
}

/// Answers as if DNS had been looked at, as in version 4.
#[utoipa::path(
    put,
    path = "/v3/domains/{domain}/verify",
    operation_id = "verify_domain_v3",
    tag = "domains",
    params(DomainPath),
    responses((status = 200, description = "The domain", body = DomainChanged<'_>))
)]
async fn verify(
    api: State<SettingsApi>,
    caller: Extension<Caller>,
    name: Segments<String>,
) -> Result {
    super::verify(api, caller, name).await
}
