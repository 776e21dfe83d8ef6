//! Everything on one machine, for trying out and for development.

mod bin;
mod seed;
mod state;

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use dev_servers::{
    ManagedProcess, Nats, NatsOptions, Postgres, PostgresOptions, Signal, environment, log_tail,
    ports, rig::answers,
};

use self::state::State;
use crate::stop::{Interrupted, Stop};
use crate::workspace::{self, build_product, run};

#[derive(Args)]
pub(crate) struct Options {
    /// Begin with empty servers: throws away what earlier runs have stored
    #[arg(long)]
    reset: bool,
    /// Build with optimisations
    #[arg(long)]
    release: bool,
}

const NATS_PORT: u16 = 14222;
const POSTGRES_PORT: u16 = 15432;
const OPS_PORT: u16 = 9100;

/// The fixed ports, with what they are for.
const PORTS: [(u16, &str); 7] = [
    (8080, "customer APIs"),
    (bin::PORT, "request bin"),
    (9090, "ingest, gRPC"),
    (9091, "ingest, HTTP"),
    (9092, "admin, gRPC"),
    (OPS_PORT, "ops"),
    (bin::OPS_PORT, "ops of the request bin"),
];

const READY_WITHIN: Duration = Duration::from_secs(60);
/// Longer than the product lets its deliveries in flight finish.
const STOP_WITHIN: Duration = Duration::from_secs(60);

pub(crate) fn up(options: &Options) -> Result<()> {
    let stop = Stop::on_signals()?;
    let state = State::open()?;
    if options.reset {
        state.clear()?;
        say("what earlier runs had stored is gone");
    }
    let given = Given::read();
    let mut wanted = PORTS.to_vec();
    if given.nats_url.is_none() {
        wanted.push((NATS_PORT, "NATS"));
    }
    if given.database_url.is_none() {
        wanted.push((POSTGRES_PORT, "PostgreSQL"));
    }
    ports::require_free(&wanted)?;

    say("building Postrider");
    let binary = build_product(options.release)?;
    stop.check()?;

    let mut running = Running::default();
    let outcome = start_and_watch(&mut running, &binary, &state, given, &stop);
    let stopped = running.stop();
    // Ctrl-C is the way to end this, so it is no failure.
    match outcome {
        Err(error) if !error.is::<Interrupted>() => Err(error),
        _ => stopped,
    }
}

/// Servers of the user's own.
struct Given {
    nats_url: Option<String>,
    database_url: Option<String>,
}

impl Given {
    fn read() -> Self {
        Self {
            nats_url: environment::text(environment::NATS_URL),
            database_url: environment::text(environment::DATABASE_URL),
        }
    }
}

/// What has been started so far, to be stopped in the opposite order.
#[derive(Default)]
struct Running {
    postgres: Option<Postgres>,
    nats: Option<Nats>,
    postrider: Option<ManagedProcess>,
    bin: Option<ManagedProcess>,
}

impl Running {
    fn stop(&mut self) -> Result<()> {
        let mut result = Ok(());
        if let Some(postrider) = self.postrider.take() {
            say("stopping Postrider");
            result = result.and(postrider.stop(Signal::TERM, STOP_WITHIN));
        }
        if let Some(bin) = self.bin.take() {
            result = result.and(bin.stop(Signal::TERM, STOP_WITHIN));
        }
        if let Some(mut nats) = self.nats.take() {
            say("stopping NATS");
            result = result.and(nats.stop());
        }
        if let Some(mut postgres) = self.postgres.take() {
            say("stopping PostgreSQL");
            result = result.and(postgres.stop());
        }
        result
    }

    /// Fails when one of them has ended by itself.
    fn check(&mut self, log: &Path) -> Result<()> {
        if let Some(nats) = &mut self.nats
            && !nats.is_running()
        {
            bail!("NATS has ended; the end of its log:\n{}", log_tail(&nats.log(), 20));
        }
        if let Some(postgres) = &mut self.postgres
            && !postgres.is_running()
        {
            bail!("PostgreSQL has ended; the end of its log:\n{}", log_tail(&postgres.log(), 20));
        }
        if let Some(postrider) = &mut self.postrider
            && let Some(status) = postrider.ended()?
        {
            bail!("Postrider has ended ({status}); the end of its log:\n{}", log_tail(log, 40));
        }
        if let Some(bin) = &mut self.bin
            && let Some(status) = bin.ended()?
        {
            bail!("the request bin has ended ({status}); its log is beside that of Postrider");
        }
        Ok(())
    }
}

fn start_and_watch(
    running: &mut Running,
    binary: &Path,
    state: &State,
    given: Given,
    stop: &Stop,
) -> Result<()> {
    let database_url = match given.database_url {
        Some(url) => url,
        None => {
            say("starting PostgreSQL");
            let postgres = Postgres::start(PostgresOptions {
                port: Some(POSTGRES_PORT),
                durable: true,
                password: Some(state.database_password()?),
                ..PostgresOptions::new(state.path("postgres"))
            })?;
            running.postgres.insert(postgres).ensure_database("postrider")?
        }
    };
    stop.check()?;
    let nats_url = match given.nats_url {
        Some(url) => url,
        None => {
            say("starting NATS");
            let nats = Nats::start(NatsOptions {
                port: Some(NATS_PORT),
                ..NatsOptions::new(state.path("nats"))
            })?;
            running.nats.insert(nats).url()
        }
    };
    stop.check()?;

    let postrider = Product {
        binary: binary.to_owned(),
        variables: vec![
            (environment::NATS_URL, nats_url.clone()),
            (environment::DATABASE_URL, database_url.clone()),
            ("POSTRIDER_SECRET_KEY", state.secret_key()?),
        ],
    };
    say("migrating the database");
    run(postrider.command().arg("migrate"))?;
    stop.check()?;

    say("starting Postrider");
    let bin_log = state.path("request-bin.log");
    running.bin = Some(bin::start(&postrider, &bin_log)?);
    let log = state.path("postrider.log");
    if log.exists() {
        // The run before is kept, and no more, so that it does not grow for ever.
        fs::rename(&log, state.path("postrider.log.1"))?;
    }
    let mut all = postrider.command();
    all.arg("all");
    running.postrider = Some(ManagedProcess::spawn("Postrider", &mut all, &log, Signal::TERM)?);
    wait_ready(running, &log, stop)?;
    seed::seed(&postrider)?;
    let bin = bin::create(&state.bin_name()?)?;

    print!("{}", greeting(binary, state, &bin, &nats_url, &database_url));
    loop {
        stop.check()?;
        running.check(&log)?;
        thread::sleep(Duration::from_millis(100));
    }
}

/// The product's binary and its settings.
struct Product {
    binary: PathBuf,
    variables: Vec<(&'static str, String)>,
}

impl Product {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .current_dir(workspace::root())
            // It refuses settings that it does not know, and this one is only ours.
            .env_remove(environment::CACHE_DIR)
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        // The demo's receiver is on this machine, where receivers are refused otherwise.
        let defaults = [
            ("POSTRIDER_EGRESS_ALLOW_CIDRS", "127.0.0.0/8,::1/128"),
            ("POSTRIDER_LOG_FORMAT", "text"),
        ];
        for (name, value) in defaults {
            if environment::text(name).is_none() {
                command.env(name, value);
            }
        }
        command
    }
}

fn wait_ready(running: &mut Running, log: &Path, stop: &Stop) -> Result<()> {
    let ops = SocketAddr::from((Ipv4Addr::LOCALHOST, OPS_PORT));
    let deadline = Instant::now() + READY_WITHIN;
    while !answers(ops, "/readyz") {
        stop.check()?;
        running.check(log)?;
        if Instant::now() > deadline {
            let seconds = READY_WITHIN.as_secs();
            bail!(
                "Postrider is not ready after {seconds} s; the end of its log:\n{}",
                log_tail(log, 40)
            );
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn greeting(
    binary: &Path,
    state: &State,
    bin: &bin::Bin,
    nats_url: &str,
    database_url: &str,
) -> String {
    let program = binary.strip_prefix(workspace::root()).unwrap_or(binary).display();
    let bin::Bin { url, view_url, api_url } = bin;
    let rows = [
        ("customer APIs", "http://127.0.0.1:8080".to_owned()),
        ("console", "http://127.0.0.1:8080/console".to_owned()),
        ("ingest", "gRPC 127.0.0.1:9090, HTTP http://127.0.0.1:9091/v1/events".to_owned()),
        ("admin", "gRPC 127.0.0.1:9092".to_owned()),
        ("ops", format!("http://127.0.0.1:{OPS_PORT}/readyz, /healthz, /metrics")),
        ("request bin", format!("http://127.0.0.1:{}", bin::PORT)),
        ("a bin", url.clone()),
        ("what it was sent", view_url.clone()),
        ("NATS", nats_url.to_owned()),
        ("PostgreSQL", without_password(database_url)),
        ("data and logs", state.root().display().to_string()),
        ("demo account", "demo, API key key-demo, domain mail.demo.example".to_owned()),
        ("its subaccount", "demo-sub, API key key-demo-sub, domain mail.sub.example".to_owned()),
    ];
    let mut text = String::from("\nPostrider is ready.\n\n");
    for (name, value) in rows {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {name:<16} {value}");
    }
    let _ = write!(
        text,
        r#"
Create an alert, send an event, see it arrive:

curl -s -u api:key-demo http://127.0.0.1:8080/v1/alerts/settings/events -H 'Content-Type: application/json' -d '{{"event_type":"ip_listed","channel":"webhook","settings":{{"url":"{url}"}}}}'

{program} send-event examples/events/ip_listed.json

curl -s {api_url}

Ctrl-C stops everything. The next `cargo xtask up` goes on from there; `cargo xtask up --reset` begins anew.
"#
    );
    text
}

/// A URL for people to read; a given database may have a real password.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    match rest.split_once('@') {
        Some((user, rest)) if user.contains(':') => {
            let name = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{name}:[redacted]@{rest}")
        }
        _ => url.to_owned(),
    }
}

fn say(line: &str) {
    eprintln!("==> {line}");
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn a_given_password_is_not_shown() {
        let shown = without_password("postgres://me:secret@db.example/x");
        assert_eq!(shown, "postgres://me:[redacted]@db.example/x");
        let plain = "postgres://postrider@127.0.0.1:1/x";
        assert_eq!(without_password(plain), plain);
    }
}
