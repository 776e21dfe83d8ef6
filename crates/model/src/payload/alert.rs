//! The object `event_data` of alerts (reference §9.4).

use std::fmt;

use protocol::v1::event::Kind;
use protocol::v1::{
    BlocklistedDomain, BlocklistedIp, BulkValidationJob, DownloadUrls, Event, ValidationResult,
    ValidationRisk, ValidationSummary,
};
use serde::{Serialize, Serializer};

use super::PayloadError;
use super::time::Rfc3339;
use crate::EventType;

/// Blocklist changes tell kind and time; validation events, as documented, do not.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum EventData<'a> {
    Blocklist(Blocklist<'a>),
    Validation(Validation<'a>),
}

#[derive(Serialize)]
pub(super) struct Blocklist<'a> {
    id: &'a str,
    timestamp: Rfc3339,
    log_level: &'static str,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a str>,
    blocklist: &'a str,
    message: Message<'a>,
}

#[derive(Serialize)]
pub(super) struct Validation<'a> {
    id: &'a str,
    bulk_validation_job: Job<'a>,
    message: Message<'a>,
}

#[derive(Serialize)]
struct Job<'a> {
    created_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    download_urls: Option<Urls<'a>>,
    list_id: &'a str,
    quantity: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    processed: Option<i64>,
    status: &'a str,
    summary: Summary,
}

#[derive(Serialize)]
struct Summary {
    result: ResultCounts,
    risk: RiskCounts,
}

#[derive(Serialize)]
struct ResultCounts {
    deliverable: i64,
    undeliverable: i64,
    catch_all: i64,
    unknown: i64,
}

#[derive(Serialize)]
struct RiskCounts {
    high: i64,
    low: i64,
    medium: i64,
    unknown: i64,
}

#[derive(Serialize)]
struct Urls<'a> {
    csv: &'a str,
    json: &'a str,
}

/// The sentence for people: the caller's, or one made from the fields.
pub(super) enum Message<'a> {
    Given(&'a str),
    Listed(&'static str, &'a str, &'a str),
    Delisted(&'static str, &'a str, &'a str),
    JobDone(&'a str),
    PreviewDone(&'a str),
}

impl<'a> EventData<'a> {
    pub(super) fn of(event: &'a Event, kind: &'a Kind) -> Result<Self, PayloadError> {
        let event_type = EventType::of(kind);
        let made = Message::made(event, kind).ok_or(PayloadError::OtherFamily(event_type))?;
        match kind {
            Kind::IpListed(ip) | Kind::IpDelisted(ip) => Blocklist::ip(event, event_type, ip, made),
            Kind::DomainListed(domain) | Kind::DomainDelisted(domain) => {
                Blocklist::domain(event, event_type, domain, made)
            }
            Kind::ValidationJob(job) => Ok(Self::Validation(Validation::of(
                event,
                job.bulk_validation_job.as_ref(),
                Message::or(&job.message, made),
            ))),
            Kind::ValidationPreview(preview) => Ok(Self::Validation(Validation::of(
                event,
                preview.bulk_validation_job.as_ref(),
                Message::or(&preview.message, made),
            ))),
            _ => Err(PayloadError::OtherFamily(event_type)),
        }
    }
}

impl<'a> Blocklist<'a> {
    fn ip(
        event: &'a Event,
        event_type: EventType,
        change: &'a BlocklistedIp,
        made: Message<'a>,
    ) -> Result<EventData<'a>, PayloadError> {
        Ok(EventData::Blocklist(Self {
            id: &event.id,
            timestamp: Rfc3339::of(event.timestamp.as_ref())?,
            log_level: "warn",
            event: event_type.payload_name(),
            ip: Some(&change.ip),
            domain: None,
            blocklist: &change.blocklist,
            message: Message::or(&change.message, made),
        }))
    }

    fn domain(
        event: &'a Event,
        event_type: EventType,
        change: &'a BlocklistedDomain,
        made: Message<'a>,
    ) -> Result<EventData<'a>, PayloadError> {
        Ok(EventData::Blocklist(Self {
            id: &event.id,
            timestamp: Rfc3339::of(event.timestamp.as_ref())?,
            log_level: "warn",
            event: event_type.payload_name(),
            ip: None,
            domain: Some(&change.domain),
            blocklist: &change.blocklist,
            message: Message::or(&change.message, made),
        }))
    }
}

impl<'a> Validation<'a> {
    fn of(event: &'a Event, job: Option<&'a BulkValidationJob>, message: Message<'a>) -> Self {
        let job = Job::of(job.unwrap_or(&NO_JOB));
        Self { id: &event.id, bulk_validation_job: job, message }
    }
}

impl<'a> Job<'a> {
    fn of(job: &'a BulkValidationJob) -> Self {
        Self {
            created_at: job.created_at,
            download_urls: job.download_urls.as_ref().map(Urls::of),
            list_id: &job.list_id,
            quantity: job.quantity,
            processed: job.processed,
            status: &job.status,
            summary: Summary::of(job.summary.unwrap_or_default()),
        }
    }
}

impl Summary {
    fn of(summary: ValidationSummary) -> Self {
        let ValidationResult { deliverable, undeliverable, catch_all, unknown } =
            summary.result.unwrap_or_default();
        let risk: ValidationRisk = summary.risk.unwrap_or_default();
        Self {
            result: ResultCounts { deliverable, undeliverable, catch_all, unknown },
            risk: RiskCounts {
                high: risk.high,
                low: risk.low,
                medium: risk.medium,
                unknown: risk.unknown,
            },
        }
    }
}

impl<'a> Urls<'a> {
    fn of(urls: &'a DownloadUrls) -> Self {
        Self { csv: &urls.csv, json: &urls.json }
    }
}

impl<'a> Message<'a> {
    /// From the event and its fields; `None` for what is no alert.
    pub(super) fn made(event: &'a Event, kind: &'a Kind) -> Option<Self> {
        Some(match kind {
            Kind::IpListed(change) => Self::Listed("IP", &change.ip, &change.blocklist),
            Kind::IpDelisted(change) => Self::Delisted("IP", &change.ip, &change.blocklist),
            Kind::DomainListed(change) => Self::Listed("Domain", &change.domain, &change.blocklist),
            Kind::DomainDelisted(change) => {
                Self::Delisted("Domain", &change.domain, &change.blocklist)
            }
            Kind::ValidationJob(_) => Self::JobDone(&event.id),
            Kind::ValidationPreview(_) => Self::PreviewDone(&event.id),
            _ => return None,
        })
    }

    /// What the caller gave, if it gave something.
    pub(super) fn or(given: &'a str, made: Self) -> Self {
        if given.is_empty() { made } else { Self::Given(given) }
    }
}

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(text) => f.write_str(text),
            Self::Listed(what, name, list) => write!(f, "{what} {name} was blocklisted by {list}"),
            Self::Delisted(what, name, list) => write!(f, "{what} {name} was removed by {list}"),
            Self::JobDone(id) => write!(f, "Validation job {id} is complete"),
            Self::PreviewDone(id) => write!(f, "Preview job {id} is complete"),
        }
    }
}

impl Serialize for Message<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

static NO_JOB: BulkValidationJob = BulkValidationJob {
    created_at: 0,
    list_id: String::new(),
    quantity: 0,
    status: String::new(),
    summary: None,
    download_urls: None,
    processed: None,
};
