//! Blocklist changes and validation jobs.

use protocol::v1::event::Kind;
use protocol::v1::{
    BlocklistedDomain, BlocklistedIp, BulkValidationJob, ValidationResult, ValidationRisk,
};

use super::path::Path;
use super::rules;

/// Checks an alert. Message events have a check of their own and pass here.
pub(super) fn check(path: &Path<'_>, kind: &Kind) {
    match kind {
        Kind::IpListed(event) | Kind::IpDelisted(event) => blocklisted_ip(path, event),
        Kind::DomainListed(event) | Kind::DomainDelisted(event) => blocklisted_domain(path, event),
        Kind::ValidationJob(event) => {
            rules::own_text(path.field("message"), &event.message);
            job(path, event.bulk_validation_job.as_ref());
        }
        Kind::ValidationPreview(event) => {
            rules::own_text(path.field("message"), &event.message);
            job(path, event.bulk_validation_job.as_ref());
            if let Some(job) = &event.bulk_validation_job {
                unfinished(&path.field("bulk_validation_job"), job);
            }
        }
        _ => {}
    }
}

fn blocklisted_ip(path: &Path<'_>, event: &BlocklistedIp) {
    rules::required(path.field("ip"), &event.ip, "the address, such as 192.0.2.44");
    rules::ip(path.field("ip"), &event.ip);
    blocklist(path, &event.blocklist);
    rules::own_text(path.field("message"), &event.message)
}

fn blocklisted_domain(path: &Path<'_>, event: &BlocklistedDomain) {
    rules::domain_name(path.field("domain"), &event.domain);
    blocklist(path, &event.blocklist);
    rules::own_text(path.field("message"), &event.message)
}

fn blocklist(path: &Path<'_>, blocklist: &str) {
    let path = path.field("blocklist");
    rules::required(path, blocklist, "the name of the blocklist");
    rules::name(path, blocklist)
}

fn job(path: &Path<'_>, job: Option<&BulkValidationJob>) {
    let path = path.field("bulk_validation_job");
    let Some(job) = job else {
        return path.fail("is required: the job, with list_id, status, created_at and quantity");
    };
    rules::epoch(path.field("created_at"), job.created_at);
    rules::required(path.field("list_id"), &job.list_id, "the id of the list");
    rules::name(path.field("list_id"), &job.list_id);
    rules::number(path.field("quantity"), job.quantity);
    rules::required(path.field("status"), &job.status, "the job's status, such as uploaded");
    rules::name(path.field("status"), &job.status);
    rules::number(path.field("processed"), job.processed.unwrap_or(0));
    if let Some(summary) = &job.summary {
        let path = path.field("summary");
        result(&path.field("result"), summary.result.as_ref());
        risk(&path.field("risk"), summary.risk.as_ref());
    }
    if let Some(urls) = &job.download_urls {
        let path = path.field("download_urls");
        rules::link(path.field("csv"), &urls.csv);
        rules::link(path.field("json"), &urls.json);
    }
}

fn result(path: &Path<'_>, result: Option<&ValidationResult>) {
    let Some(result) = result else { return };
    rules::number(path.field("deliverable"), result.deliverable);
    rules::number(path.field("undeliverable"), result.undeliverable);
    rules::number(path.field("catch_all"), result.catch_all);
    rules::number(path.field("unknown"), result.unknown)
}

fn risk(path: &Path<'_>, risk: Option<&ValidationRisk>) {
    let Some(risk) = risk else { return };
    rules::number(path.field("high"), risk.high);
    rules::number(path.field("low"), risk.low);
    rules::number(path.field("medium"), risk.medium);
    rules::number(path.field("unknown"), risk.unknown)
}

/// A preview's payload has no place for what a finished job brings along, and
/// nothing that a caller sent is dropped in silence.
fn unfinished(path: &Path<'_>, job: &BulkValidationJob) {
    const MESSAGE: &str = "belongs to finished jobs; send a validation_job, or leave it out";
    if job.download_urls.is_some() {
        path.field("download_urls").fail(MESSAGE);
    }
    if job.processed.is_some() {
        path.field("processed").fail(MESSAGE);
    }
}
