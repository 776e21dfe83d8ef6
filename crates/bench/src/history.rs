//! How fast a long history is read, over HTTP, as customers read it: by calls, and
//! on the pages of the console.
//!
//! Events, tries and ends of two weeks and of a thousand accounts are put into
//! the database. Three accounts are looked at, by key: one that has a fifth of
//! all, one that has a fiftieth, and one that has a thousandth.

mod asks;
mod fill;
mod pages;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use dev_servers::{NatsSync, ports};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use self::asks::{Ask, How};
use self::fill::World;
use crate::platform::{Platform, Setup, exchange};
use crate::report::{self, Machine, rounded};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Events. Ten million take some 20 GB of disk.
    #[arg(long, default_value_t = 300_000)]
    rows: u64,
    /// Times that each call is made, besides the first.
    #[arg(long, default_value_t = 200)]
    calls: u64,
    /// Only calls with this in their name.
    #[arg(long)]
    only: Option<String>,
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
    rows_by_table: Vec<(&'static str, u64)>,
    size_gb: f64,
    calls: Vec<Measured>,
}

/// How long one kind of call took, in milliseconds.
#[derive(Debug, Serialize)]
struct Measured {
    what: &'static str,
    /// The first one after PostgreSQL was started, which then has nothing in memory.
    first_ms: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// The most that `p99_ms` may be.
    limit_ms: f64,
    /// Entries of the last answer.
    entries: usize,
}

/// Runs the benchmark and prints its report.
pub(crate) async fn run(options: Options) -> Result<()> {
    let machine = Machine::this(NatsSync::Lazy);
    let console = format!("127.0.0.1:{}", ports::free_port()?);
    // More calls in a minute than anybody makes.
    let settings = vec![
        ("CONSOLE_ADDR", console.clone()),
        ("CONSOLE_RATE_LIMIT", "1000000".to_owned()),
        ("SETTINGS_RATE_LIMIT", "1000000".to_owned()),
    ];
    let setup = Setup { binary: options.binary.clone(), sync: NatsSync::Lazy, settings };
    let mut platform = Platform::start(setup).await?;
    platform.start_role("console").await?;
    let world = World::fill(&platform, options.rows).await?;
    let size = platform.query("SELECT pg_database_size(current_database())")?;
    let mut report = Report {
        machine,
        rows_by_table: world.counts(&platform)?,
        size_gb: rounded(size.trim().parse::<f64>()? / 1e9),
        calls: Vec::new(),
    };
    eprintln!("{:56} {:>9} {:>9} {:>9} {:>9}", "milliseconds", "first", "p50", "p99", "limit");
    let pages = pages::all(&console).await?;
    for ask in asks::all(&world, &platform.http).into_iter().chain(pages) {
        if options.only.as_ref().is_some_and(|only| !ask.what.contains(only.as_str())) {
            continue;
        }
        let measured = measure(&mut platform, &ask, options.calls).await?;
        let Measured { what, first_ms, p50_ms, p99_ms, limit_ms, entries } = &measured;
        eprintln!(
            "{what:56} {first_ms:9.1} {p50_ms:9.1} {p99_ms:9.1} {limit_ms:9.0}  {entries} entries"
        );
        report.calls.push(measured);
    }
    report::publish(&report, options.json.as_deref())?;
    let slow: Vec<&str> =
        report.calls.iter().filter(|m| m.p99_ms > m.limit_ms).map(|m| m.what).collect();
    ensure!(slow.is_empty(), "slower than they may be: {}", slow.join(", "));
    Ok(())
}

async fn measure(platform: &mut Platform, ask: &Ask, calls: u64) -> Result<Measured> {
    platform.restart_postgres()?;
    // The connections are made anew before anything is measured.
    let deadline = Instant::now() + Duration::from_secs(30);
    while call(&platform.http, &asks::reconnect(&ask.key)).await.is_err() {
        ensure!(Instant::now() < deadline, "settings-api does not find the database again");
    }
    let mut request = (ask.request)(0);
    let mut took = Vec::new();
    let mut entries = 0;
    for number in 0..=calls {
        let began = Instant::now();
        let answer = call(&ask.address, &request).await.with_context(|| ask.what.to_owned())?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
        // What is no list at all is one entry.
        entries = ["items", "undelivered", "slots", "targets"]
            .iter()
            .find_map(|list| answer[list].as_array())
            .map_or(1, Vec::len);
        request = match ask.how {
            How::Anew => (ask.request)(number + 1),
            // From the end of a list it begins again.
            How::Following if entries == 0 => (ask.request)(number + 1),
            How::Following | How::Polling => {
                let next = &answer["paging"]["next"];
                match next.as_str() {
                    Some(next) => asks::get(&ask.key, path_of(next)),
                    None => (ask.request)(number + 1),
                }
            }
        };
    }
    let first = took.remove(0);
    took.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        let index = (took.len().saturating_sub(1) * percent).div_ceil(100);
        took.get(index).copied().unwrap_or(first)
    };
    Ok(Measured {
        what: ask.what,
        first_ms: rounded(first),
        p50_ms: rounded(at(50)),
        p99_ms: rounded(at(99)),
        limit_ms: ask.limit_ms,
        entries,
    })
}

fn path_of(link: &str) -> &str {
    link.match_indices('/').nth(2).map_or(link, |(at, _)| &link[at..])
}

/// What was answered; a page is a text.
async fn call(address: &str, request: &str) -> Result<Value> {
    let answer = exchange(address, request).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("a head and a body")?;
    if !head.starts_with("HTTP/1.1 200") {
        bail!("{}: {body}", head.lines().next().unwrap_or_default());
    }
    if body.starts_with("<!doctype html>") {
        return Ok(Value::String(body.to_owned()));
    }
    Ok(serde_json::from_str(body)?)
}
