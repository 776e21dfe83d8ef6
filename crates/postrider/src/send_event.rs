//! `postrider send-event`: hands over events from a file.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use protocol::v1::ingest_client::IngestClient;
use protocol::v1::publish_result::Status;
use protocol::v1::{PublishResult, PublishStreamRequest};

use crate::address::INGEST;
use crate::cli::SendEvent;
use crate::output;

/// Sends all events of the file over one stream and prints a line for each.
pub(crate) async fn run(command: SendEvent) -> anyhow::Result<ExitCode> {
    // First, so that a wrong file is told without any service.
    let events = ingest::json::parse(&read(&command.file)?)
        .with_context(|| format!("{}", command.file.display()))?;
    let addr = command.addr.as_deref();
    let connection = INGEST.connect(addr, &command.credentials).await?;
    let mut client = IngestClient::new(connection);
    let total = events.len();
    let requests = events.into_iter().map(|event| PublishStreamRequest { event: Some(event) });
    let answers = client.publish_stream(tokio_stream::iter(requests)).await;
    let mut answers = answers.map_err(|status| broken(addr, &status))?.into_inner();
    let mut answered = 0;
    let mut stored = 0;
    while let Some(answer) = answers.message().await.map_err(|status| broken(addr, &status))? {
        let result = answer.result.unwrap_or_default();
        answered += 1;
        stored += usize::from(is_stored(&result));
        output::print(&line(&result))?;
    }
    anyhow::ensure!(answered == total, "{answered} of {total} events were answered");
    Ok(if stored == total { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut text).context("cannot read standard input")?;
        return Ok(text);
    }
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

fn broken(addr: Option<&str>, status: &tonic::Status) -> anyhow::Error {
    let answered = || anyhow!("ingest answered {:?}: {}", status.code(), status.message());
    INGEST.is_elsewhere(addr, status).unwrap_or_else(answered)
}

fn is_stored(result: &PublishResult) -> bool {
    matches!(result.status(), Status::Stored | Status::Duplicate)
}

/// Such as `stored 0199…` or `rejected job-7 UNKNOWN_ACCOUNT account: there is no …`.
fn line(result: &PublishResult) -> String {
    let word = match result.status() {
        Status::Stored => "stored",
        Status::Duplicate => "duplicate",
        Status::Rejected => "rejected",
        Status::Unavailable => "unavailable",
        Status::Unspecified => "unknown",
    };
    let id = if result.id.is_empty() { "-" } else { &result.id };
    let mut line = format!("{word} {id}");
    if let Some(error) = &result.error {
        let _ = write!(line, " {}", error.code().as_str_name());
        if !error.field.is_empty() {
            let _ = write!(line, " {}:", error.field);
        }
        let _ = write!(line, " {}", error.message);
    }
    line.push('\n');
    line
}
