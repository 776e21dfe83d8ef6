//! The Events API (reference §8): what has happened to a domain's messages.
//!
//! What must always hold: whoever follows `next` of a range without an end gets
//! every event of it once, however late some of them come. See `walk.rs`.
//!
//! What is shown is what is stored: switches that redact deliveries do not
//! redact what customers read about themselves (reference §7.8).

pub(crate) mod item;
pub(crate) mod links;
mod query;
pub(crate) mod time;
pub(crate) mod token;
pub(crate) mod walk;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use store::history::EventScope;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::links::Origin;
pub(crate) use self::query::read as read_query;
use self::walk::Cursor;
pub(crate) use self::walk::Walk;
use crate::auth::Caller;
use crate::error::{ApiError, Problem};
use crate::form::Query;
use crate::path::Segments;
use crate::{SettingsApi, domain_name, respond};

type Result<T = Response> = std::result::Result<T, ApiError>;

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(follow))
}

/// Lists the events of a domain. Each page has links to the next ones; the list
/// is at its end when a page is empty. A range that ascends and has no end goes
/// on: `next` of its last page later has what has come since.
#[utoipa::path(
    get,
    path = "/v3/{domain}/events",
    operation_id = "list_events",
    tag = "events",
    params(DomainPath, EventsQuery, PageQuery),
    responses(
        (status = 200, description = "A page of events", body = EventsPage),
        (status = 400, description = "Something in the query is wrong", body = Problem),
    )
)]
pub(crate) async fn list(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(domain): Segments<String>,
    Query(query): Query,
    headers: HeaderMap,
) -> Result {
    let domain = Domain::find(&api, &caller, &domain).await?;
    if let Some(page) = query.first("page") {
        return go_on(&api, &caller, &domain, page, &headers).await;
    }
    let walk = query::read(&query, api.clock.now())?;
    answer(&api, &caller, &domain, &walk, Cursor::Start, &headers).await
}

/// Goes on with a list of events, where one of its links leads to.
#[utoipa::path(
    get,
    path = "/v3/{domain}/events/{page}",
    operation_id = "follow_events",
    tag = "events",
    params(PagePath),
    responses(
        (status = 200, description = "A page of events", body = EventsPage),
        (status = 400, description = "This is no link of that domain's events", body = Problem),
    )
)]
pub(crate) async fn follow(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments((domain, page)): Segments<(String, String)>,
    headers: HeaderMap,
) -> Result {
    let domain = Domain::find(&api, &caller, &domain).await?;
    // A client may take all that follows the last slash for one part of the path.
    let page = page.split_once('?').map_or(page.as_str(), |(page, _)| page);
    go_on(&api, &caller, &domain, page, &headers).await
}

async fn go_on(
    api: &SettingsApi,
    caller: &Caller,
    domain: &Domain,
    page: &str,
    headers: &HeaderMap,
) -> Result {
    let (walk, cursor) = token::open(api, &caller.account_id, &domain.list(), page)?;
    answer(api, caller, domain, &walk, cursor, headers).await
}

async fn answer(
    api: &SettingsApi,
    caller: &Caller,
    domain: &Domain,
    walk: &Walk,
    cursor: Cursor,
    headers: &HeaderMap,
) -> Result {
    let search = walk.search(EventScope::Domain {
        account_id: caller.account_id.clone(),
        domain_id: domain.id,
    })?;
    let place = api.reading.place(&caller.primary_id).await?;
    let page = walk::page(&api.store, &search, domain.id, walk, cursor).await?;
    drop(place);

    let origin = Origin::of(headers);
    let link = |cursor| {
        let token = token::seal(api, &caller.account_id, &domain.list(), &(walk, cursor))?;
        // Clients take the path of a link, or its query, or all of it.
        Ok::<_, ApiError>(format!("{origin}/v3/{}/events/{token}?page={token}", domain.asked))
    };
    let paging = Paging {
        next: link(page.next)?,
        previous: link(page.previous)?,
        first: link(Cursor::Start)?,
        last: link(Cursor::Last)?,
    };
    let mut body = Vec::from(&b"{\"items\":"[..]);
    item::write_list(&mut body, &page.events);
    body.extend_from_slice(b",\"paging\":");
    respond::append_json(&mut body, &paging);
    body.push(b'}');
    Ok(respond::ok_bytes(body))
}

/// A domain of the caller's.
pub(crate) struct Domain {
    pub(crate) id: store::history::Uuid,
    /// The name as the caller has written it: clients compare it with the one in a link.
    asked: String,
}

impl Domain {
    pub(crate) async fn find(api: &SettingsApi, caller: &Caller, asked: &str) -> Result<Self> {
        let unknown = || ApiError::not_found("Domain not found");
        let name = domain_name::canonical(asked).ok_or_else(unknown)?;
        let domain_id = model::domain_id(&name);
        api.store.account_domain(&caller.account_id, &domain_id).await?;
        let id = store::history::id(&domain_id).ok_or_else(unknown)?;
        // What would have to be encoded stands in a link as it is known.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let asked = if asked.bytes().all(is_plain) { asked.to_owned() } else { name };
        Ok(Self { id, asked })
    }

    /// What a link of this domain's events is bound to.
    fn list(&self) -> String {
        format!("events:{}", self.id)
    }
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the path")]
struct DomainPath {
    /// Name of the domain.
    #[param(example = "mail.demo.example")]
    domain: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the path")]
struct PagePath {
    /// Name of the domain.
    #[param(example = "mail.demo.example")]
    domain: String,
    /// The last part of a link.
    page: String,
}

/// What is searched for. Each filter is an expression with `AND`, `OR`, `NOT`,
/// parentheses and quotes, and may be given several times.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
pub(crate) struct EventsQuery {
    /// Where the range begins: an RFC 2822 date, or seconds since the epoch.
    #[param(example = "Thu, 09 Oct 2025 08:53:20 GMT")]
    begin: Option<String>,
    /// Where it ends. Before `begin`, the range descends.
    end: Option<String>,
    /// `yes` or `no`; needed with `begin` alone.
    #[param(example = "yes")]
    ascending: Option<String>,
    /// Events on a page, 1 to 300.
    #[param(default = 100, example = "100")]
    limit: Option<String>,
    /// Has no effect: answers are always compact.
    pretty: Option<String>,
    /// `accepted`, `delivered`, `failed`, `opened`, `clicked`, `unsubscribed`, `complained`.
    #[param(example = "failed OR complained")]
    event: Option<String>,
    /// Address of the mailing list.
    list: Option<String>,
    /// Name of an attached file.
    attachment: Option<String>,
    /// Sender, as in the header.
    from: Option<String>,
    /// Message id, with or without angle brackets.
    #[param(rename = "message-id")]
    message_id: Option<String>,
    /// Subject of the message.
    subject: Option<String>,
    /// Recipients, as in the header.
    to: Option<String>,
    /// Size of the message in bytes, as `>10000`.
    #[param(example = ">10000")]
    size: Option<String>,
    /// The recipient that the event is about.
    recipient: Option<String>,
    /// Any recipient of the message.
    recipients: Option<String>,
    /// A tag.
    tags: Option<String>,
    /// Of failures: `temporary` or `permanent`.
    #[param(example = "permanent")]
    severity: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
struct PageQuery {
    /// From a link, in place of everything else: the list goes on there.
    page: Option<String>,
}

/// A page of events.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer, which is put together of bytes")]
struct EventsPage {
    /// The same objects as `event-data` of deliveries.
    items: Vec<serde_json::Map<String, serde_json::Value>>,
    paging: Paging,
}

/// Where the list goes on.
#[derive(serde::Serialize, ToSchema)]
struct Paging {
    next: String,
    previous: String,
    first: String,
    last: String,
}
