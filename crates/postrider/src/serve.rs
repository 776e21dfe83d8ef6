//! A process that runs roles: from its settings to its end.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use bus::Bus;
use chassis::trace::Traces;
use chassis::{Clock, Env, Readiness, Tasks, ops, telemetry};
use console::ConsoleConfig;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use store::Store;
use tokio::signal::unix::{SignalKind, signal};

use crate::roles::{Configured, Role};
use crate::settings::{Settings, read_for_migration};
use crate::streams;

/// The part of readiness that tells of the broker.
const BROKER: &str = "broker";
/// How often the connection to the broker is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long `postrider migrate` waits for a database that is just starting.
const MIGRATE_TRIES: u32 = 30;

/// Runs these roles until a signal asks for a stop, or until one of them fails.
///
/// # Errors
/// When the settings are wrong, or the process cannot begin its work.
pub(crate) async fn serve(roles: &[Role]) -> anyhow::Result<ExitCode> {
    let settings = Settings::read(Env::of_process(), roles)?;
    telemetry::init(&settings.process.telemetry);
    let names: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), roles = names.join(","), "starting");

    let service = match names.as_slice() {
        [role] => format!("postrider-{role}"),
        _ => "postrider".to_owned(),
    };
    let traces = Traces::init(&settings.process.telemetry.traces, service)
        .context("cannot tell of traces")?;
    let clock = Clock::system();
    let tasks = Tasks::new();
    let readiness = Readiness::default();
    for role in roles {
        readiness.expect(role.as_str());
    }
    stop_on_signals(&tasks)?;
    let metrics = ops::install_metrics();
    let listener = ops::bind("POSTRIDER_OPS_ADDR", settings.process.ops_addr).await?;
    let door = settings.process.ops_door.clone();
    ops::serve(door, listener, metrics, readiness.clone(), clock.clone(), tasks.clone());

    let Settings { process, bus, egress, roles } = settings;
    // One connection, one copy of the settings documents and one client for
    // receivers, whatever the number of roles.
    let mut shared =
        Shared { bus: None, documents: None, egress: None, console: None, clock, readiness, tasks };
    if !roles.iter().all(|configured| configured.role().stands_alone()) {
        shared.readiness.expect(BROKER);
        let bus = match Bus::connect(bus, shared.clock.clone(), &shared.tasks).await {
            Ok(bus) => bus,
            Err(_) if shared.tasks.is_stopping() => return Ok(ExitCode::SUCCESS),
            Err(error) => return Err(error).context("cannot use the broker"),
        };
        let watch = watch_broker(bus.clone(), shared.readiness.clone(), shared.clock.clone());
        shared.tasks.background(watch);
        let ours = roles.iter().map(Configured::role).collect();
        let (readiness, clock) = (shared.readiness.clone(), shared.clock.clone());
        shared.tasks.background(streams::watch(bus.clone(), ours, readiness, clock));
        if roles.iter().any(|configured| configured.role().is_on_the_path()) {
            let watch = bus::Settings::watch(bus.clone(), &shared.tasks).await;
            shared.documents = Some(watch.context("cannot load the settings documents")?);
        }
        shared.bus = Some(bus);
    }
    if let Some(config) = egress {
        shared.egress = Some(egress::Client::new(config).context("cannot call receivers")?);
    }

    let (console, roles) = beside_the_apis(roles);
    shared.console = console;
    let running = FuturesUnordered::new();
    for configured in roles {
        let role = configured.role();
        let task = shared.tasks.spawn(shared.start(configured)?);
        running.push(async move { (role, task.await) });
    }
    let all_well = supervise(running, &shared.tasks, process.drain_timeout, &shared.clock).await;
    if let Some(bus) = &shared.bus {
        bus.flush().await;
    }
    traces.end().await;
    tracing::info!("stopped");
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Takes the console out of the roles where the APIs are among them: it is served
/// at their door, and asks them without a network.
fn beside_the_apis(mut roles: Vec<Configured>) -> (Option<ConsoleConfig>, Vec<Configured>) {
    if !roles.iter().any(|configured| configured.role() == Role::SettingsApi) {
        return (None, roles);
    }
    let is_console = |configured: &mut Configured| configured.role() == Role::Console;
    let console = roles.extract_if(.., is_console).find_map(|configured| match configured {
        Configured::Console(config) => Some(config),
        _ => None,
    });
    (console, roles)
}

/// What the roles of one process share.
struct Shared {
    bus: Option<Bus>,
    documents: Option<bus::Settings>,
    egress: Option<egress::Client>,
    /// The console, where it stands beside the APIs.
    console: Option<ConsoleConfig>,
    clock: Clock,
    readiness: Readiness,
    tasks: Tasks,
}

type Running = BoxFuture<'static, anyhow::Result<()>>;

impl Shared {
    fn start(&self, configured: Configured) -> anyhow::Result<Running> {
        let bus = || self.bus.clone().context("there is no connection to the broker");
        let (clock, readiness, tasks) =
            (self.clock.clone(), self.readiness.clone(), self.tasks.clone());
        let documents = || self.documents.clone().context("settings documents are not watched");
        let egress = || self.egress.clone().context("there is no client for receivers");
        Ok(match configured {
            Configured::SettingsApi(config) => {
                let beside = self.console.clone().map(|console| -> settings_api::Beside {
                    readiness.set(console::READINESS, true);
                    Box::new(console::beside(console, clock.clone()))
                });
                let (bus, egress) = (bus()?, egress()?);
                Box::pin(settings_api::run(*config, bus, egress, clock, beside, readiness, tasks))
            }
            Configured::Ingest(config) => {
                Box::pin(ingest::run(config, bus()?, documents()?, clock, readiness, tasks))
            }
            Configured::Fanout(config) => {
                Box::pin(fanout::run(config, bus()?, documents()?, clock, readiness, tasks))
            }
            Configured::Dispatcher(config) => Box::pin(dispatcher::run(
                config,
                bus()?,
                documents()?,
                egress()?,
                clock,
                readiness,
                tasks,
            )),
            Configured::Archive(config) => {
                let store = Store::open(&config.store);
                Box::pin(archive::run(config, bus()?, store, clock, readiness, tasks))
            }
            Configured::Console(config) => Box::pin(console::run(config, clock, readiness, tasks)),
            Configured::RequestBin(config) => {
                Box::pin(request_bin::run(config, clock, readiness, tasks))
            }
        })
    }
}

/// Waits for the end of all roles. One that ends unasked stops the others; the
/// drain has its limit. Says whether everything ended as it should.
async fn supervise<F>(
    mut running: FuturesUnordered<F>,
    tasks: &Tasks,
    drain_timeout: Duration,
    clock: &Clock,
) -> bool
where
    F: Future<Output = (Role, Result<anyhow::Result<()>, tokio::task::JoinError>)>,
{
    let mut all_well = true;
    let mut judge = |role: Role, ended: Result<anyhow::Result<()>, _>| {
        let role = role.as_str();
        match ended.map_err(anyhow::Error::from).flatten() {
            Ok(()) if tasks.is_stopping() => tracing::info!(role, "has finished its work"),
            Ok(()) => {
                tracing::error!(role, "ended unasked");
                all_well = false;
            }
            Err(error) => {
                tracing::error!(role, error = format!("{error:#}"), "failed");
                all_well = false;
            }
        }
        tasks.stop();
    };
    loop {
        tokio::select! {
            ended = running.next() => match ended {
                Some((role, ended)) => judge(role, ended),
                None => break,
            },
            () = tasks.stopping() => break,
        }
    }
    // From here on readiness is down, nothing new is taken, and what is in
    // flight is finished. Whatever is not when the time is up, the broker hands
    // out again once its lease runs out.
    let drain = async {
        while let Some((role, ended)) = running.next().await {
            judge(role, ended);
        }
        tasks.wait(drain_timeout).await
    };
    let drained = tokio::select! {
        drained = drain => drained,
        () = clock.sleep(drain_timeout) => false,
    };
    if !drained {
        tracing::warn!("not everything was finished in time; the broker will hand it out again");
    }
    all_well
}

/// The first SIGTERM or SIGINT asks for a stop, the second ends the process at once.
fn stop_on_signals(tasks: &Tasks) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let stopping = tasks.clone();
    tasks.background(async move {
        for is_first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if !is_first {
                tracing::warn!("asked twice: ending at once");
                std::process::exit(1);
            }
            tracing::info!("asked to stop: finishing what is in flight");
            stopping.stop();
        }
    });
    Ok(())
}

/// Readiness follows the connection to the broker, for every role alike.
async fn watch_broker(bus: Bus, readiness: Readiness, clock: Clock) {
    loop {
        readiness.set(BROKER, bus.is_connected());
        clock.sleep(LOOK_EVERY).await;
    }
}

/// Brings the database schema up to date.
///
/// # Errors
/// When the settings are wrong, the database stays away, or a migration fails.
pub(crate) async fn migrate() -> anyhow::Result<ExitCode> {
    let (telemetry, config) = read_for_migration(Env::of_process())?;
    telemetry::init(&telemetry);
    let (store, clock) = (Store::open(&config), Clock::system());
    for attempt in 1.. {
        match store.migrate().await {
            Ok(()) => break,
            Err(error) if error.is_unavailable() && attempt < MIGRATE_TRIES => {
                tracing::warn!(%error, "the database is not there yet");
            }
            Err(error) => return Err(error).context("cannot bring the schema up to date"),
        }
        clock.sleep(Duration::from_secs(1)).await;
    }
    tracing::info!("the schema is up to date");
    Ok(ExitCode::SUCCESS)
}
