//! The platform as it is deployed, on this machine: to see what happens when a part of
//! it goes.

use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use dev_servers::Rig;
use dev_servers::rig::ROLES;

use crate::stop::{Interrupted, Stop};
use crate::workspace::build_product;

#[derive(Args)]
pub(crate) struct Options {
    /// Processes of each role
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    replicas: u8,
    /// Processes of the dispatcher, where that is another number
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=16))]
    dispatchers: Option<u8>,
    /// A setting of all of them, such as TARGET_CONCURRENCY=8
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Build with optimisations
    #[arg(long)]
    release: bool,
}

fn setting(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').context("expected NAME=VALUE")?;
    Ok((name.trim_start_matches("POSTRIDER_").to_owned(), value.to_owned()))
}

pub(crate) fn rig(options: &Options) -> Result<()> {
    let stop = Stop::on_signals()?;
    match run(options, &stop) {
        // Ctrl-C is the way to end this, so it is no failure.
        Err(error) if error.is::<Interrupted>() => Ok(()),
        done => done,
    }
}

fn run(options: &Options, stop: &Stop) -> Result<()> {
    say("building Postrider");
    let binary = build_product(options.release)?;
    stop.check()?;
    say("starting three brokers and PostgreSQL");
    let secret_key = "07".repeat(32);
    let defaults = [
        ("SECRET_KEY", &*secret_key),
        ("EGRESS_ALLOW_CIDRS", "127.0.0.0/8"),
        ("LOG_FORMAT", "text"),
    ];
    let own = options.settings.iter().map(|(name, value)| (&**name, &**value));
    let settings: Vec<_> = defaults.into_iter().chain(own).collect();
    let mut rig = Rig::start(&binary, &settings)?;
    for role in ROLES {
        let own = options.dispatchers.filter(|_| role == "dispatcher");
        let replicas = own.unwrap_or(options.replicas);
        say(&format!("starting {role}, {replicas} times"));
        for _ in 0..replicas {
            stop.check()?;
            rig.add(role)?;
        }
    }
    rig.run(&["admin", "account", "create", "demo", "--key", "key-demo"])?;
    rig.run(&["admin", "domain", "create", "mail.demo.example", "--account", "demo"])?;
    print!("{}", greeting(&rig));
    loop {
        stop.check()?;
        for revived in rig.revive()? {
            say(&format!("{revived} had ended and was started again"));
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn greeting(rig: &Rig) -> String {
    let mut text = String::from("\nThe rig is ready.\n\n");
    let mut row = |name: &str, pid: Option<u32>, rest: String| {
        let pid = pid.map_or_else(String::new, |pid| pid.to_string());
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {name:<13} {pid:>8}  {rest}");
    };
    for node in rig.cluster().nodes() {
        row("NATS", node.pid(), node.url());
    }
    row("PostgreSQL", rig.postgres_pid(), rig.database_url().to_owned());
    for replica in rig.replicas() {
        let doors = replica.doors().into_iter().map(|(name, at)| format!("{name} {at}, "));
        row(
            replica.role(),
            replica.pid(),
            format!("{}metrics http://{}/metrics", doors.collect::<String>(), replica.ops),
        );
    }
    let _ = write!(
        text,
        "\nLogs and data: {}\n\
         Demo account: demo, API key key-demo, domain mail.demo.example\n\n\
         Any of these processes may be killed: it is started again. Ctrl-C stops everything.\n",
        rig.directory().display()
    );
    text
}

fn say(line: &str) {
    eprintln!("==> {line}");
}
