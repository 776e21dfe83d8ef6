//! NATS and PostgreSQL for tests: shared ones, and ones to be killed.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use anyhow::Result;
use dev_servers::{
    Nats, NatsOptions, NatsSync, Postgres, PostgresOptions, PostgresTools, Scratch, environment,
    with_database,
};

/// The broker that `cargo xtask test` has started for all tests.
pub const NATS_URL: &str = "POSTRIDER_TEST_NATS_URL";
/// The PostgreSQL that `cargo xtask test` has started for all tests.
pub const DATABASE_URL: &str = "POSTRIDER_TEST_DATABASE_URL";

/// A corner of the shared servers that belongs to one test.
///
/// The servers are those of `cargo xtask test`; without it, as in a plain
/// `cargo nextest run -p bus`, this process starts its own on first use. Those
/// end with the process.
#[derive(Debug)]
pub struct TestEnv {
    /// The broker.
    pub nats_url: String,
    /// An empty database, dropped with this value.
    pub database_url: String,
    /// A region that no other test has.
    pub region: String,
    database: Database,
}

impl TestEnv {
    /// A fresh region and a fresh, empty database.
    ///
    /// # Panics
    ///
    /// When the servers cannot be had, with the reason.
    #[expect(clippy::new_without_default, reason = "starting servers is not a default value")]
    pub fn new() -> Self {
        let region = fresh_region();
        let database = must("make a database", Database::new(&region.replace('-', "_")));
        Self {
            nats_url: shared_nats_url().to_owned(),
            database_url: database.url.clone(),
            region,
            database,
        }
    }

    /// Runs statements on this test's database; returns the rows as text, one a
    /// line, columns separated by `|`.
    ///
    /// # Panics
    ///
    /// At the first statement that fails, with the server's message.
    pub fn sql(&self, statements: &str) -> String {
        let shared = &self.database.shared;
        must(statements, shared.tools.query(&self.database_url, statements))
    }
}

/// The shared broker, for tests that need no database. They take a
/// [`fresh_region`] to be alone.
///
/// # Panics
///
/// When it cannot be had, with the reason.
pub fn shared_nats_url() -> &'static str {
    static SHARED: OnceLock<SharedNats> = OnceLock::new();
    &SHARED.get_or_init(|| must("start NATS", SharedNats::start())).url
}

/// A region that no other test has: 17 characters of `a-z` and `0-9`.
pub fn fresh_region() -> String {
    // The standard library seeds this hasher differently each time.
    let unique = RandomState::new().hash_one(std::process::id());
    format!("t{unique:016x}")
}

#[derive(Debug)]
struct SharedNats {
    url: String,
    _server: Option<(Nats, Scratch)>,
}

impl SharedNats {
    fn start() -> Result<Self> {
        if let Some(url) = environment::text(NATS_URL) {
            return Ok(Self { url, _server: None });
        }
        let scratch = Scratch::new()?;
        let nats = Nats::start(NatsOptions::new(scratch.path().join("nats")))?;
        Ok(Self { url: nats.url(), _server: Some((nats, scratch)) })
    }
}

#[derive(Debug)]
struct SharedPostgres {
    admin_url: String,
    tools: PostgresTools,
    _server: Option<(Postgres, Scratch)>,
}

impl SharedPostgres {
    fn get() -> &'static Self {
        static SHARED: OnceLock<SharedPostgres> = OnceLock::new();
        SHARED.get_or_init(|| must("start PostgreSQL", Self::start()))
    }

    fn start() -> Result<Self> {
        let tools = PostgresTools::fetch()?;
        if let Some(url) = environment::text(DATABASE_URL) {
            let admin_url = with_database(&url, "postgres");
            return Ok(Self { admin_url, tools, _server: None });
        }
        let scratch = Scratch::new()?;
        let postgres = Postgres::start(PostgresOptions::new(scratch.path().join("postgres")))?;
        Ok(Self { admin_url: postgres.admin_url(), tools, _server: Some((postgres, scratch)) })
    }
}

/// One test's database.
#[derive(Debug)]
struct Database {
    name: String,
    url: String,
    shared: &'static SharedPostgres,
}

impl Database {
    fn new(name: &str) -> Result<Self> {
        let shared = SharedPostgres::get();
        Ok(Self {
            name: name.to_owned(),
            url: shared.tools.create_database(&shared.admin_url, name)?,
            shared,
        })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A server of our own goes as a whole. On a shared one, a database that
        // stays behind costs only disk until the run is over.
        if self.shared._server.is_none() {
            let _ = self.shared.tools.drop_database(&self.shared.admin_url, &self.name);
        }
    }
}

/// Servers that belong to one test alone, so that it may kill them.
///
/// Both keep, through SIGKILL, what they have confirmed.
#[derive(Debug)]
pub struct OwnServers {
    /// The broker.
    pub nats: Nats,
    /// The database server.
    pub postgres: Postgres,
    /// An empty database on it.
    pub database_url: String,
    /// A region for this test.
    pub region: String,
    // Last, because fields are dropped in order: the servers' files go after them.
    _scratch: Scratch,
}

impl OwnServers {
    /// Starts both on free ports.
    ///
    /// # Panics
    ///
    /// When they do not start, with the reason.
    pub fn start() -> Self {
        Self::start_with(NatsSync::Lazy)
    }

    /// As [`OwnServers::start`], with another setting for when the broker
    /// flushes to the disk. It makes no difference to SIGKILL, but to timing.
    ///
    /// # Panics
    ///
    /// When they do not start, with the reason.
    pub fn start_with(sync: NatsSync) -> Self {
        must("start own servers", Self::try_start(sync))
    }

    fn try_start(sync: NatsSync) -> Result<Self> {
        let scratch = Scratch::new()?;
        let mut options = NatsOptions::new(scratch.path().join("nats"));
        options.sync = sync;
        let nats = Nats::start(options)?;
        let postgres = Postgres::start(PostgresOptions::new(scratch.path().join("postgres")))?;
        let database_url = postgres.create_database("postrider_test")?;
        Ok(Self { nats, postgres, database_url, region: fresh_region(), _scratch: scratch })
    }

    /// Runs statements on the database; returns the rows as text, one a line,
    /// columns separated by `|`.
    ///
    /// # Panics
    ///
    /// At the first statement that fails, with the server's message.
    pub fn sql(&self, statements: &str) -> String {
        must(statements, self.postgres.tools().query(&self.database_url, statements))
    }
}

fn must<T>(what: &str, result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error:#}"),
    }
}
