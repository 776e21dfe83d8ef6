//! The first page: how the account is doing.

mod figures;
mod view;

use askama::Template;
use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;

use self::figures::{Backlog, Statistics, Targets};
use self::view::{Charts, Range};
use crate::fields::Fields;
use crate::frame::{Frame, Section};
use crate::trouble::Trouble;
use crate::visitor::Visitor;
use crate::{Console, path};

pub(crate) fn routes() -> Router<Console> {
    Router::new().route(path::HOME, get(show)).route(path::LIVE, get(live))
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    figures: Figures,
    quotas: Quotas,
}

/// What changes while one looks.
#[derive(Template)]
#[template(path = "figures.html")]
struct Live {
    figures: Figures,
}

struct Figures {
    range: Range,
    statistics: Statistics,
    charts: Charts,
    targets: Targets,
    backlog: Backlog,
}

impl Figures {
    async fn of(visitor: &Visitor, query: &Fields) -> Result<Self, Trouble> {
        let range = Range::named(query.one("range"));
        let now = visitor.console.clock.now();
        let begin = (now - range.length()).timestamp();
        let resolution = range.resolution();
        let statistics = format!("/postrider/v1/statistics?begin={begin}&resolution={resolution}");
        // Targets are compared over a month at most.
        let begin = (now - range.length().min(Range::Month.length())).timestamp();
        let targets = format!("/postrider/v1/statistics/targets?begin={begin}");
        let (statistics, targets, backlog) = tokio::try_join!(
            visitor.get::<Statistics>(&statistics),
            visitor.get::<Targets>(&targets),
            visitor.get::<Backlog>("/postrider/v1/statistics/backlog"),
        )?;
        let charts = Charts::of(range, &statistics);
        Ok(Self { range, statistics, charts, targets, backlog })
    }
}

#[derive(Deserialize)]
struct Account {
    quotas: Quotas,
}

#[derive(Deserialize)]
struct Quotas {
    webhooks: Used,
    alert_settings: Used,
    domains: Used,
    api_keys: Used,
    subaccounts: Used,
}

impl Quotas {
    fn named(&self) -> [(&'static str, &Used); 5] {
        [
            ("Webhooks", &self.webhooks),
            ("Alert settings", &self.alert_settings),
            ("Domains", &self.domains),
            ("API keys", &self.api_keys),
            ("Subaccounts", &self.subaccounts),
        ]
    }
}

#[derive(Deserialize)]
struct Used {
    used: u64,
    limit: u64,
}

async fn show(visitor: Visitor, query: Fields) -> Result<Response, Trouble> {
    let (figures, account) = tokio::join!(
        Figures::of(&visitor, &query),
        visitor.get::<Account>("/postrider/v1/account")
    );
    let (figures, Account { quotas }) = (figures?, account?);
    let frame = visitor.frame(Section::Overview);
    Ok(pages::page(StatusCode::OK, &Overview { frame, figures, quotas }))
}

async fn live(visitor: Visitor, query: Fields) -> Result<Response, Trouble> {
    let figures = Figures::of(&visitor, &query).await?;
    Ok(pages::page(StatusCode::OK, &Live { figures }))
}
