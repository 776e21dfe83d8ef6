//! The first page: how the account is doing.

use askama::Template;
use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;

use crate::frame::{Frame, Section};
use crate::trouble::Trouble;
use crate::visitor::Visitor;
use crate::{Console, path};

pub(crate) fn routes() -> Router<Console> {
    Router::new().route(path::HOME, get(show))
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    quotas: Quotas,
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

async fn show(visitor: Visitor) -> Result<Response, Trouble> {
    let Account { quotas } = visitor.get("/postrider/v1/account").await?;
    let frame = visitor.frame(Section::Overview);
    Ok(pages::page(StatusCode::OK, &Overview { frame, quotas }))
}
