//! Everything that a query meets, as one stream: a line for each, in JSON or CSV.
//!
//! Nothing is gathered: a page, bounded in rows and in bytes, is read when the one before it is on
//! its way, so that a slow client holds one page, its tenant's place, and no connection to the database. A stream
//! that cannot be ended breaks off, so that no client takes a part for the whole.

mod csv;

use std::collections::VecDeque;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream::try_unfold;
use http::{HeaderValue, header};
use store::history::{AttemptPlace, EventPlace, EventScope, EventSearch, Order};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::SettingsApi;
use crate::auth::Caller;
use crate::error::{ApiError, Problem};
use crate::events::{self, Domain, EventsQuery, Walk};
use crate::failures::{self, Failure, FailuresQuery, Search};
use crate::form::{Form, Query};
use crate::outbound::Place;
use crate::path::Segments;
use crate::viewer::Viewer;

/// Rows that are read at once.
const PAGE: i64 = 100;

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new().routes(routes!(export_events)).routes(routes!(export_failures))
}

/// Streams all events of a domain that meet a query, as lists have them, in the
/// order of the range.
#[utoipa::path(
    get,
    path = "/postrider/v1/domains/{domain}/events/export",
    operation_id = "export_events",
    tag = "events",
    params(DomainPath, EventsQuery, FormatQuery),
    responses(
        (
            status = 200,
            description = "A line for each event",
            content((String = "application/x-ndjson"), (String = "text/csv"))
        ),
        (status = 400, description = "Something in the query is wrong", body = Problem),
    )
)]
pub(crate) async fn export_events(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(domain): Segments<String>,
    Query(query): Query,
) -> Result<Response, ApiError> {
    let domain = Domain::find(&api, &caller, &domain).await?;
    let format = Format::read(&query)?;
    let walk = events::read_query(&query, api.clock.now())?;
    let scope = EventScope::Domain { account_id: caller.account_id.clone(), domain_id: domain.id };
    let search = walk.search(scope)?;
    let head = format.head(csv::EVENT_COLUMNS);
    let place = api.exports.place(&caller.primary_id).await?;
    let tenant = caller.primary_id;
    let state = Events { api, tenant, search, order: order(&walk), behind: None };
    stream(format, head, state, place).await
}

/// Streams all failed tries that meet a query, the last one first.
#[utoipa::path(
    get,
    path = "/postrider/v1/failures/export",
    operation_id = "export_failures",
    tag = "events",
    params(FailuresQuery, FormatQuery),
    responses(
        (
            status = 200,
            description = "A line for each try",
            content((String = "application/x-ndjson"), (String = "text/csv"))
        ),
        (status = 400, description = "Something in the query is wrong", body = Problem),
        (status = 404, description = "No domain can have this name", body = Problem),
    )
)]
pub(crate) async fn export_failures(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Query(query): Query,
) -> Result<Response, ApiError> {
    let format = Format::read(&query)?;
    let mut search = failures::read_query(&query)?;
    search.limit = PAGE;
    let head = format.head(csv::FAILURE_COLUMNS);
    let place = api.exports.place(&caller.primary_id).await?;
    stream(format, head, Failures { api, caller, search, behind: None }, place).await
}

fn order(walk: &Walk) -> Order {
    if walk.ascending { Order::Ascending } else { Order::Descending }
}

/// How lines are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Format {
    Ndjson,
    Csv,
}

impl Format {
    fn read(query: &Form) -> Result<Self, ApiError> {
        match query.first("format") {
            None | Some("ndjson") => Ok(Self::Ndjson),
            Some("csv") => Ok(Self::Csv),
            Some(_) => Err(ApiError::bad_request("format must be ndjson or csv")),
        }
    }

    const fn media_type(self) -> HeaderValue {
        match self {
            Self::Ndjson => HeaderValue::from_static("application/x-ndjson"),
            Self::Csv => HeaderValue::from_static("text/csv; charset=utf-8"),
        }
    }

    /// The first line, where there is one.
    fn head(self, columns: &[&str]) -> Bytes {
        let mut head = Vec::new();
        if self == Self::Csv {
            csv::line(&mut head, columns.iter().map(|column| (*column).to_owned()));
        }
        head.into()
    }
}

/// Gives one page of lines after the other.
trait Pages: Send + 'static {
    /// The next lines; `None` behind the last ones.
    fn next(
        &mut self,
        format: Format,
    ) -> impl Future<Output = Result<Option<Bytes>, ApiError>> + Send;
}

async fn stream(
    format: Format,
    head: Bytes,
    mut pages: impl Pages,
    place: Place,
) -> Result<Response, ApiError> {
    // What goes wrong before anything is sent can still be told.
    let first = pages.next(format).await?.unwrap_or_default();
    let waiting = [head, first].into_iter().filter(|lines| !lines.is_empty());
    let state = (waiting.collect::<VecDeque<_>>(), pages, place);
    let lines = try_unfold(state, move |(mut waiting, mut pages, place)| async move {
        if let Some(lines) = waiting.pop_front() {
            return Ok(Some((lines, (waiting, pages, place))));
        }
        match pages.next(format).await {
            Ok(lines) => Ok(lines.map(|lines| (lines, (waiting, pages, place)))),
            Err(error) => {
                tracing::warn!(?error, "an export breaks off");
                Err(std::io::Error::other("the export breaks off"))
            }
        }
    });
    Ok(([(header::CONTENT_TYPE, format.media_type())], Body::from_stream(lines)).into_response())
}

struct Events {
    api: SettingsApi,
    tenant: String,
    search: EventSearch,
    order: Order,
    behind: Option<EventPlace>,
}

impl Pages for Events {
    async fn next(&mut self, format: Format) -> Result<Option<Bytes>, ApiError> {
        let place = self.api.reading.place(&self.tenant).await?;
        let store = &self.api.store;
        let found = store.events_by_time(&self.search, self.order, self.behind, None, PAGE).await?;
        drop(place);
        let Some(last) = found.last() else { return Ok(None) };
        self.behind = Some(last.place);
        let mut lines = Vec::new();
        for json in found.iter().filter_map(events::item::json) {
            match format {
                Format::Ndjson => {
                    lines.extend_from_slice(&json);
                    lines.push(b'\n');
                }
                Format::Csv => csv::event(&mut lines, &json),
            }
        }
        Ok(Some(lines.into()))
    }
}

struct Failures {
    api: SettingsApi,
    caller: Caller,
    search: Search,
    behind: Option<AttemptPlace>,
}

impl Pages for Failures {
    async fn next(&mut self, format: Format) -> Result<Option<Bytes>, ApiError> {
        let place = self.api.reading.place(&self.caller.primary_id).await?;
        let found = self.search.find(&self.api, &self.caller, self.behind).await?;
        drop(place);
        let Some(last) = found.last() else { return Ok(None) };
        self.behind = Some(last.place());
        let mut lines = Vec::new();
        let viewer = Viewer::of(&self.caller);
        for failure in found.iter().map(|failure| Failure::of(viewer, failure)) {
            match format {
                Format::Ndjson => {
                    crate::respond::append_json(&mut lines, &failure);
                    lines.push(b'\n');
                }
                Format::Csv => csv::failure(&mut lines, &failure),
            }
        }
        Ok(Some(lines.into()))
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
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
struct FormatQuery {
    /// `ndjson` or `csv`.
    #[param(default = "ndjson", example = "csv")]
    format: Option<String>,
}
