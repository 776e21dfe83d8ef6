//! What a bulk resend does to everybody else.
//!
//! Deliveries of a paused URL are held, then sent again by a job at its rate. The
//! process that does it is killed in the middle and started again. Meanwhile
//! events go to another account's receiver. Their latency is compared with that
//! beside new events for the same URL, as many a second: a thousand deliveries a
//! second cost what they cost, and a job is to cost others no more.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::load::Group;
use crate::platform::{Platform, Setup, exchange, get, start_other_end};
use crate::receiver::Seen;
use crate::report::{self, Machine, rounded};
use crate::segment::Segment;

/// Whose deliveries are sent again.
const AGAIN: &str = "again";
/// The others.
const OTHERS: &str = "others";
/// Who does it.
const WORKER: &str = "settings-api";
/// Batches of a job in a second: what a process that dies may send twice.
const BATCHES_PER_SECOND: u64 = 10;
/// How long anything here may take beyond the time that its rate needs.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Deliveries that are sent again.
    #[arg(long, default_value_t = 20_000)]
    count: u64,
    /// How many in a second.
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// Events of others in a second.
    #[arg(long, default_value_t = 200)]
    others_rate: u64,
    /// Writes the figures here as well.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The release binary.
    #[arg(long, default_value = "target/release/postrider")]
    binary: PathBuf,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    load: String,
    /// From the call that made the job to its end, the death included.
    job_seconds: f64,
    /// Requests beyond one for each delivery.
    repeated: u64,
    /// Latency of the others in milliseconds: median, 99th percentile, largest.
    others_alone_ms: [f64; 3],
    /// Beside as many new events a second.
    others_beside_events_ms: [f64; 3],
    /// In the two halves of the job.
    others_beside_job_ms: [[f64; 3]; 2],
    others_missing: u64,
}

/// Runs the benchmark and prints its report.
pub(crate) async fn run(options: Options) -> Result<()> {
    let Options { count, rate, others_rate, .. } = options;
    let sync = report::sync(false);
    let machine = Machine::this(sync);
    let setup = Setup { binary: options.binary.clone(), sync, settings: Vec::new() };
    let mut platform = Platform::start(setup).await?;
    let (_receiver, again_addr) = start_other_end(&["receiver"]).await?;
    let url = format!("http://{again_addr}/hook");
    let others_url = format!("http://{}/hook", platform.receiver_addr);
    platform.add_customer(OTHERS, "clicked", &[others_url]).await?;
    platform.add_customer(AGAIN, "clicked", std::slice::from_ref(&url)).await?;

    pause(&platform, &url, true).await?;
    let again = Group { account: AGAIN.to_owned(), domains: 1, weight: 1 };
    platform.publish(std::slice::from_ref(&again), count, None).await?;
    let deadline = Instant::now() + PATIENCE;
    platform.wait_for_undelivered(&[AGAIN.to_owned()], count, deadline).await?;
    pause(&platform, &url, false).await?;

    let others = [Group { account: OTHERS.to_owned(), domains: 1, weight: 1 }];
    let half_takes = (count / rate / 2).max(2);
    // The first one after the start warms up.
    platform.segment(&others, others_rate, 3).await?;
    let alone = platform.segment(&others, others_rate, half_takes.min(20)).await?;
    let [ours] = &others;
    let both = [
        Group { weight: u32::try_from(others_rate)?, ..ours.clone() },
        Group { weight: u32::try_from(rate)?, ..again },
    ];
    let events = platform.segment(&both, others_rate + rate, half_takes.min(20)).await?;
    let new = events.sent.by_group.get(1).copied().unwrap_or_default();
    ensure!(arrived(&again_addr, new).await?.deliveries == new, "an event did not arrive");
    get(&again_addr, "/forget").await?;
    let began = Instant::now();
    let body = json!({"url": url, "per_second": rate});
    let job = call(&platform, "POST", "/postrider/v1/resends", &body).await?;
    let path = format!("/postrider/v1/resends/{}", job["id"].as_str().context("an id")?);
    let first = platform.segment(&others, others_rate, half_takes - 1).await?;
    platform.stop_role(WORKER).await?;
    platform.start_role(WORKER).await?;
    let second = platform.segment(&others, others_rate, half_takes - 1).await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let job = call(&platform, "GET", &path, &Value::Null).await?;
        if job["state"] == "done" {
            ensure!(job["sent"].as_u64() >= Some(count), "{} of {count} were sent", job["sent"]);
            break;
        }
        ensure!(Instant::now() < deadline, "the job does not come to its end: {job}");
        sleep_until(Instant::now() + Duration::from_millis(100)).await;
    }
    let job_seconds = began.elapsed().as_secs_f64();
    let seen = arrived(&again_addr, count).await?;

    let report = Report {
        machine,
        load: format!(
            "{count} held deliveries of one URL, sent again at {rate} a second; {others_rate} \
             events a second of another account"
        ),
        job_seconds: rounded(job_seconds),
        repeated: seen.requests - seen.deliveries,
        others_alone_ms: alone.seen.latency_ms,
        others_beside_events_ms: events.seen.latency_ms,
        others_beside_job_ms: [first.seen.latency_ms, second.seen.latency_ms],
        others_missing: [&alone, &events, &first, &second].map(Segment::missing).iter().sum(),
    };
    report::publish(&report, options.json.as_deref())?;
    verdict(&report, &seen, &options)
}

fn verdict(report: &Report, seen: &Seen, options: &Options) -> Result<()> {
    let Options { count, rate, .. } = *options;
    ensure!(seen.deliveries == count, "{} of {count} arrived", seen.deliveries);
    let batch = rate / BATCHES_PER_SECOND;
    ensure!(report.repeated <= batch, "{} came twice: {batch} may", report.repeated);
    let least = count as f64 / rate as f64 - 1.0;
    ensure!(report.job_seconds >= least, "{} s are faster than the rate", report.job_seconds);
    ensure!(report.others_missing == 0, "{} events of others are missing", report.others_missing);
    let [_, before, _] = report.others_beside_events_ms;
    let allowed = (1.5 * before).max(before + 5.0);
    for [_, p99, _] in report.others_beside_job_ms {
        ensure!(
            p99 <= allowed,
            "the others' p99 was {before} ms beside new events, and {p99} ms beside the job"
        );
    }
    Ok(())
}

/// Waits until so many different deliveries have arrived, and a while for more.
async fn arrived(receiver: &str, count: u64) -> Result<Seen> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = get(receiver, "/").await?;
        let body = answer.split("\r\n\r\n").nth(1).context("the receiver answers")?;
        let seen: Seen = serde_json::from_str(body)?;
        if seen.deliveries >= count || Instant::now() > deadline {
            return Ok(seen);
        }
        sleep_until(Instant::now() + Duration::from_millis(200)).await;
    }
}

async fn pause(platform: &Platform, url: &str, paused: bool) -> Result<()> {
    let body = json!({"url": url, "paused": paused});
    call(platform, "PUT", "/postrider/v1/urls/paused", &body).await.map(drop)
}

async fn call(platform: &Platform, method: &str, path: &str, body: &Value) -> Result<Value> {
    let credentials = BASE64_STANDARD.encode(format!("api:key-{AGAIN}"));
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\
         Authorization: Basic {credentials}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(&platform.http, &request).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("a head and a body")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}");
    Ok(serde_json::from_str(body)?)
}
