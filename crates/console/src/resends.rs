//! What was not delivered, and jobs that send it again.

use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use model::End;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::{ApiError, Payload};
use crate::fields::{Fields, Sent};
use crate::frame::{Frame, Section};
use crate::query::moment;
use crate::trouble::Trouble;
use crate::visitor::Visitor;
use crate::{Console, path};

const CALLS: &str = "/postrider/v1/resends";

pub(crate) fn routes() -> Router<Console> {
    Router::new()
        .route(path::RESENDS, get(show).post(create))
        .route("/console/resends/jobs", get(jobs))
        .route("/console/resends/{id}", post(change))
}

#[derive(Template)]
#[template(path = "resends.html")]
struct Page {
    frame: Frame,
    lists: Lists,
    problem: String,
}

/// What changes while one looks.
#[derive(Template)]
#[template(path = "jobs.html")]
struct Jobs {
    frame: Frame,
    lists: Lists,
}

struct Lists {
    groups: Vec<Group>,
    jobs: Vec<Job>,
}

#[derive(Deserialize)]
struct Undelivered {
    undelivered: Vec<Group>,
}

/// Deliveries to one target that ended in one way.
#[derive(Deserialize)]
struct Group {
    url: Option<String>,
    alert_setting_id: Option<String>,
    outcome: String,
    count: u64,
    oldest: DateTime<Utc>,
}

impl Group {
    fn place(&self) -> &str {
        let setting = self.alert_setting_id.as_deref();
        self.url.as_deref().or(setting).unwrap_or("not known")
    }

    /// The field of a form that names it, and its value; none for what was set aside
    /// unread.
    fn target(&self) -> Option<(&'static str, &str)> {
        let url = self.url.as_deref().map(|url| ("url", url));
        url.or_else(|| self.alert_setting_id.as_deref().map(|id| ("alert_setting_id", id)))
    }
}

#[derive(Deserialize)]
struct Resends {
    resends: Vec<Shown>,
}

#[derive(Deserialize)]
struct Shown {
    id: String,
    target: String,
    outcomes: Vec<String>,
    per_second: u32,
    state: String,
    sent: u64,
    /// Told by APIs that know of it.
    #[serde(default)]
    passed_over: u64,
    created_at: DateTime<Utc>,
}

/// A job, and how far it is.
struct Job {
    shown: Shown,
    /// What it has still to send, as far as that can be told.
    left: u64,
}

impl Job {
    fn of(shown: Shown, groups: &[Group]) -> Self {
        let is_its = |group: &&Group| {
            (shown.target.is_empty() || shown.target == group.place())
                && shown.outcomes.contains(&group.outcome)
        };
        let left = match shown.state.as_str() {
            "running" | "paused" => groups.iter().filter(is_its).map(|group| group.count).sum(),
            _ => 0,
        };
        Self { shown, left }
    }

    fn whole(&self) -> u64 {
        (self.shown.sent + self.left).max(1)
    }

    fn is_under_way(&self) -> bool {
        matches!(self.shown.state.as_str(), "running" | "paused")
    }
}

impl Lists {
    async fn of(visitor: &Visitor) -> Result<Self, ApiError> {
        let (groups, jobs) = tokio::try_join!(
            visitor.get::<Undelivered>("/postrider/v1/undelivered"),
            visitor.get::<Resends>(CALLS)
        )?;
        let groups = groups.undelivered;
        let jobs = jobs.resends.into_iter().map(|shown| Job::of(shown, &groups)).collect();
        Ok(Self { groups, jobs })
    }

    fn is_under_way(&self) -> bool {
        self.jobs.iter().any(|job| job.shown.state == "running")
    }
}

async fn show(visitor: Visitor) -> Result<Response, Trouble> {
    page(&visitor, StatusCode::OK, String::new()).await
}

async fn page(visitor: &Visitor, status: StatusCode, problem: String) -> Result<Response, Trouble> {
    let lists = Lists::of(visitor).await?;
    let frame = visitor.frame(Section::Failures);
    Ok(pages::page(status, &Page { frame, lists, problem }))
}

async fn jobs(visitor: Visitor) -> Result<Response, Trouble> {
    let lists = Lists::of(&visitor).await?;
    let frame = visitor.frame(Section::Failures);
    Ok(pages::page(StatusCode::OK, &Jobs { frame, lists }))
}

async fn create(Sent { visitor, fields }: Sent) -> Result<Response, Trouble> {
    let made = visitor.call::<Value>(Method::POST, CALLS, Payload::Json(wanted(&fields))).await;
    after(&visitor, made).await
}

/// The job that a form asks for.
fn wanted(fields: &Fields) -> Value {
    let mut job = json!({"outcomes": fields.all("outcome").collect::<Vec<_>>()});
    for name in ["url", "alert_setting_id"] {
        if !fields.one(name).is_empty() {
            job[name] = json!(fields.one(name));
        }
    }
    if !fields.one("since").is_empty() {
        job["since"] = json!(moment(fields.one("since")));
    }
    match (fields.one("per_second"), fields.one("per_second").parse::<i32>()) {
        ("", _) => {}
        (_, Ok(rate)) => job["per_second"] = json!(rate),
        // What it is, the APIs tell.
        (text, Err(_)) => job["per_second"] = json!(text),
    }
    job
}

/// Pauses a job, lets it run on, or cancels it, whichever button was pressed.
async fn change(
    Path(id): Path<String>,
    Sent { visitor, fields }: Sent,
) -> Result<Response, Trouble> {
    let body = Payload::Json(json!({"state": fields.one("state")}));
    let path = format!("{CALLS}/{}", path::segment(&id));
    let changed = visitor.call::<Value>(Method::PUT, &path, body).await;
    after(&visitor, changed).await
}

async fn after(visitor: &Visitor, done: Result<Value, ApiError>) -> Result<Response, Trouble> {
    match done {
        Ok(_) => Ok(visitor.go(path::RESENDS)),
        Err(ApiError::Refused { status, message }) => page(visitor, status, message).await,
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_becomes_a_job() {
        let of = |form: &str| wanted(&Fields::parse(form.as_bytes()));
        assert_eq!(of(""), json!({"outcomes": []}));
        assert_eq!(
            of(
                "outcome=held&outcome=exhausted&url=https://a.example/&since=2026-11-21T08:00&per_second=7"
            ),
            json!({
                "outcomes": ["held", "exhausted"], "url": "https://a.example/",
                "since": "2026-11-21T08:00:00Z", "per_second": 7
            })
        );
        assert_eq!(of("per_second=many&alert_setting_id=x")["per_second"], "many");
    }

    #[test]
    fn a_job_knows_what_is_left_to_it() {
        let group = |url: &str, outcome: &str, count| Group {
            url: Some(url.to_owned()),
            alert_setting_id: None,
            outcome: outcome.to_owned(),
            count,
            oldest: DateTime::UNIX_EPOCH,
        };
        let groups = [group("a", "held", 3), group("a", "rejected", 5), group("b", "held", 7)];
        let left = |target: &str, state: &str| {
            let shown = Shown {
                id: String::new(),
                target: target.to_owned(),
                outcomes: vec!["held".to_owned()],
                per_second: 50,
                state: state.to_owned(),
                sent: 1,
                passed_over: 0,
                created_at: DateTime::UNIX_EPOCH,
            };
            Job::of(shown, &groups).left
        };
        let found =
            [left("", "running"), left("a", "paused"), left("b", "done"), left("c", "running")];
        assert_eq!(found, [10, 3, 0, 0]);
    }
}
