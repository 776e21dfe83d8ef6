//! Statistics: how much was delivered, how it went and how long it took, of an
//! account and of its targets; and what waits at this moment.
//!
//! The calls are ours. They read what was counted while history was written, and
//! never history itself: what they cost does not grow with the number of events.

mod answer;
pub(crate) mod query;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use prost::Message as _;
use protocol::v1::Delivery;
use protocol::v1::target::Kind as TargetKind;
use store::history::{TargetFilter, TargetStatistics};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::answer::{BacklogView, Series, TargetView, Targets};
use crate::auth::Caller;
use crate::error::{ApiError, Problem};
use crate::form::Query;
use crate::viewer::{Viewer, level_name};
use crate::{SettingsApi, respond};

type Result<T = Response> = std::result::Result<T, ApiError>;

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new().routes(routes!(series)).routes(routes!(targets)).routes(routes!(backlog))
}

/// Counts tries and deliveries over a time, of the account or of one target, slot by
/// slot. A slot in which nothing has happened is there as well.
///
/// A try counts in the slot in which it began, a delivery in the one in which it
/// ended. The last slot may not be over yet.
#[utoipa::path(
    get,
    path = "/postrider/v1/statistics",
    operation_id = "get_statistics",
    tag = "events",
    params(StatisticsQuery),
    responses(
        (status = 200, description = "The slots, in the order of time, and their sum", body = Series),
        (status = 400, description = "Something in the query is wrong", body = Problem),
    )
)]
async fn series(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Query(query): Query,
) -> Result {
    let asked = query::series(&query, &caller.account_id, api.clock.now())?;
    let (from, to) = (asked.from, asked.to);
    let _place = api.counting.place(&caller.primary_id).await?;
    let rows = api.store.statistics(&caller.account_id, asked.target_id, from, to).await?;
    Ok(respond::ok(&Series::of(&asked, &rows)))
}

/// Lists targets, the worst first: URLs that message events go to and alert settings,
/// with what was counted of each in the hours of a range, when a try was taken last,
/// when and why one failed last, and what waits.
#[utoipa::path(
    get,
    path = "/postrider/v1/statistics/targets",
    operation_id = "list_target_statistics",
    tag = "events",
    params(TargetsQuery),
    responses(
        (status = 200, description = "Targets with which something has happened", body = Targets),
        (status = 400, description = "Something in the query is wrong", body = Problem),
    )
)]
async fn targets(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Query(query): Query,
) -> Result {
    let now = api.clock.now();
    let filter = query::targets(&query, &caller.account_id, now)?;
    let _place = api.counting.place(&caller.primary_id).await?;
    let found = api.store.target_statistics(&filter, now).await?;
    let (settings, _) = api.store.alert_settings(&caller.account_id).await?;
    let settings: Vec<(String, String)> = settings
        .into_iter()
        .map(|setting| setting.setting_id.to_string())
        .map(|id| (model::alert_target_id(&id), id))
        .collect();
    let viewer = Viewer::of(&caller);
    let mut targets = Vec::with_capacity(found.len());
    for target in &found {
        let name = name(&api, viewer, &filter, target, &settings).await?;
        targets.push(TargetView::of(target, name));
    }
    Ok(respond::ok(&Targets::of(&filter, targets)))
}

/// Counts what waits for a next try, and what was not delivered and not sent again.
#[utoipa::path(
    get,
    path = "/postrider/v1/statistics/backlog",
    operation_id = "get_backlog",
    tag = "events",
    responses((status = 200, description = "What there is at this moment", body = BacklogView))
)]
async fn backlog(State(api): State<SettingsApi>, Extension(caller): Extension<Caller>) -> Result {
    let _place = api.counting.place(&caller.primary_id).await?;
    let backlog = api.store.backlog(&caller.account_id, api.clock.now()).await?;
    Ok(respond::ok(&BacklogView::of(&backlog)))
}

/// What a target is called.
#[derive(Debug, Default)]
struct Name {
    /// Without what may be secret in it; `None` where nothing tells.
    url: Option<String>,
    /// Of an alert whose setting is known.
    alert_setting_id: Option<String>,
}

/// An id is a hash. What it is of tell the alert settings that there are, the URL of
/// the last try, and where there was none, a body that is kept.
async fn name(
    api: &SettingsApi,
    viewer: Viewer,
    filter: &TargetFilter,
    target: &TargetStatistics,
    settings: &[(String, String)],
) -> Result<Name> {
    let id = target.target_id.simple().to_string();
    let setting = settings.iter().find(|(target, _)| *target == id).map(|(_, id)| id.clone());
    // Alert settings are the account's own, whatever an earlier version has said.
    let level = setting.as_ref().map_or(target.last_level.as_deref(), |_| Some("alert"));
    let url = target.last_url.as_deref().map(|url| viewer.url(level, url));
    let known = Name { url, alert_setting_id: setting };
    if known.url.is_some() {
        return Ok(known);
    }
    let kept = api.store.one_undelivered(&filter.account_id, target.target_id).await?;
    let kept = kept.and_then(|body| Delivery::decode(body.as_slice()).ok()).unwrap_or_default();
    let level = level_name(kept.level());
    Ok(match kept.target.and_then(|target| target.kind) {
        Some(TargetKind::Message(target)) => {
            let url = viewer.url(level, &egress::loggable(&target.url));
            Name { url: Some(url), ..Name::default() }
        }
        Some(TargetKind::Alert(target)) => {
            Name { url: None, alert_setting_id: Some(target.setting_id) }
        }
        None => known,
    })
}

/// What is counted. `target_id`, `url` and `alert_setting_id` name one target, and
/// exclude each other.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
struct StatisticsQuery {
    /// Not before the slot of this moment: an RFC 2822 or RFC 3339 date, or seconds
    /// since the epoch. A day before `end`, unless given.
    begin: Option<String>,
    /// Not after it; now, unless given.
    end: Option<String>,
    /// `5m`, of the last three days and at most two of them; `1h`, of at most 31 days;
    /// `1d`, of at most 366. The finest that there is, unless given.
    #[param(example = "1h")]
    resolution: Option<String>,
    /// A target, by the id that the list of targets has.
    target_id: Option<String>,
    /// A target, by its URL as webhooks have it.
    #[param(example = "https://hooks.example.net/acc")]
    url: Option<String>,
    /// A target, by the id of its alert setting.
    alert_setting_id: Option<String>,
}

/// Which targets are listed.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
struct TargetsQuery {
    /// Not before the hour of this moment: an RFC 2822 or RFC 3339 date, or seconds
    /// since the epoch. A day before `end`, unless given.
    begin: Option<String>,
    /// Not after it, and at most 31 days later; now, unless given.
    end: Option<String>,
    /// `failures`, most first, or `success_rate` of tries, smallest first.
    #[param(default = "failures", example = "success_rate")]
    order: Option<String>,
    /// Targets, 1 to 100.
    #[param(default = 10, example = "10")]
    limit: Option<String>,
    /// One target alone, by the id that the list has.
    target_id: Option<String>,
    /// One target alone, by its URL as webhooks have it.
    url: Option<String>,
    /// One target alone, by the id of its alert setting.
    alert_setting_id: Option<String>,
}
