//! The pool of connections, and the schema.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::migrate::{MigrateError, Migration};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Postgres, Transaction};

use crate::deployment::UNDEFINED_TABLE;
use crate::history::partitions::before_10;
use crate::{StoreConfig, StoreError};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations");
/// What users other than the tables' owner may do.
const GRANTS: &str = include_str!("grants.sql");

/// PostgreSQL, appendix A: this user may not do that.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// How long a call waits for a free connection, or for a new one to be made.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A statement that hangs would hold its connection for good. A request that waits
/// longer than this is better answered with 503. What the URL says itself
/// (`?options=-c%20lock_timeout%3D1s`) holds instead. Set when a connection is there: PgBouncer
/// makes none that brings such settings along.
const LIMITS: [(&str, &str); 3] = [
    ("statement_timeout", "30s"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "60s"),
];
/// Of a session whose lock has to last for as long as its work does: nothing ends it but the
/// loss of the connection, which the server notices within a minute.
const LASTING: [(&str, &str); 7] = [
    ("statement_timeout", "10min"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("tcp_keepalives_idle", "20"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "4"),
];

/// Where the database is: `postgres://user:password@host:port/name`.
#[derive(Clone)]
pub struct DatabaseUrl(PgConnectOptions);

impl FromStr for DatabaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The parser's own words could repeat the password.
        let wrong = || "expected postgres://user:password@host:port/database".to_owned();
        if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(wrong());
        }
        text.parse().map(Self).map_err(|_: sqlx::Error| wrong())
    }
}

impl DatabaseUrl {
    /// Of connections for this purpose. Without a setting that PgBouncer does not know and
    /// PostgreSQL needs no more since version 12.
    fn options(&self, purpose: &str) -> PgConnectOptions {
        self.0.clone().application_name(purpose).extra_float_digits(None)
    }

    /// Stands in while the other problems with the settings are collected.
    pub(crate) fn placeholder() -> Self {
        Self(PgConnectOptions::new_without_pgpass())
    }
}

/// The statements that set these for a session.
fn set(limits: impl IntoIterator<Item = (&'static str, &'static str)>) -> String {
    limits.into_iter().map(|(name, value)| format!("SET {name} = '{value}';")).collect()
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Settings and history in PostgreSQL. Cheap to clone; all clones share one pool.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) pool: PgPool,
    url: Arc<DatabaseUrl>,
}

impl Store {
    /// Opens the store. Connections are made when they are needed: this
    /// succeeds with the database away.
    pub fn open(config: &StoreConfig) -> Self {
        Self::with_connections(config, config.max_connections)
    }

    /// As [`Self::open`], with some of the connections kept apart: the second store has
    /// them, for what must not wait for the work that others cause.
    pub fn open_with_reserve(config: &StoreConfig) -> (Self, Self) {
        let reserve = (config.max_connections / 3).clamp(1, 4);
        let rest = config.max_connections - reserve;
        (Self::with_connections(config, rest), Self::with_connections(config, reserve))
    }

    fn with_connections(config: &StoreConfig, connections: u32) -> Self {
        let given = config.url.0.get_options().unwrap_or_default().to_owned();
        let set = set(LIMITS.into_iter().filter(|(name, _)| !given.contains(name)));
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(move |connection, _| {
                let set = set.clone();
                Box::pin(async move {
                    sqlx::raw_sql(sqlx::AssertSqlSafe(set)).execute(connection).await?;
                    Ok(())
                })
            })
            .connect_lazy_with(config.url.options("postrider"));
        Self { pool, url: Arc::new(config.url.clone()) }
    }

    /// Makes one connection, and says why if that cannot be done: the pool tries again for as
    /// long as it may, and has nothing to say then but that its time is up.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`].
    pub async fn reach(&self) -> Result<(), StoreError> {
        let options = self.url.options("postrider");
        let unreachable = |reason: String, may_pass| StoreError::Unreachable {
            at: format!(
                "{}:{}/{}",
                options.get_host(),
                options.get_port(),
                options.get_database().unwrap_or_default()
            ),
            reason,
            may_pass,
        };
        match tokio::time::timeout(ACQUIRE_TIMEOUT, options.connect()).await {
            Ok(Ok(connection)) => {
                // The server notices also where this does not reach it.
                let _ = connection.close().await;
                Ok(())
            }
            Ok(Err(error)) => {
                let reason = match &error {
                    sqlx::Error::Database(error) => error.message().to_owned(),
                    sqlx::Error::Io(error) => error.to_string(),
                    error => error.to_string(),
                };
                Err(unreachable(reason, StoreError::Database(error).is_unavailable()))
            }
            Err(_) => {
                let reason = format!("it has not answered for {} s", ACQUIRE_TIMEOUT.as_secs());
                Err(unreachable(reason, true))
            }
        }
    }

    /// Brings the schema up to date. Replicas that start together wait for each other.
    /// Where there is nothing to be done it takes no right but to look.
    ///
    /// # Errors
    /// Those of the database, a schema that is newer than this release, and
    /// [`StoreError::NotMigrated`].
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.reach().await?;
        // A connection of its own, without the limits above: a migration may
        // take long, and so may waiting for another replica's.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(self.url.options("postrider migrate"))
            .await?;
        let migrated = migrate(&pool).await;
        pool.close().await;
        migrated
    }

    /// A connection of its own for work that goes on for long under a lock of the session.
    pub(crate) async fn session(&self) -> Result<PgConnection, StoreError> {
        let options = self.url.options("postrider session");
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE_TIMEOUT);
        let mut session = pool.connect_lazy_with(options).acquire().await?.detach();
        sqlx::raw_sql(sqlx::AssertSqlSafe(set(LASTING))).execute(&mut session).await?;
        Ok(session)
    }

    /// How many connections it makes at most.
    pub fn most_connections(&self) -> u32 {
        self.pool.options().get_max_connections()
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query!("SELECT 1 AS one").fetch_one(&self.pool).await?;
        Ok(())
    }

    /// Tells operators how busy this role's pool is: one that cannot keep up shows by
    /// how long it lets one wait. Costs an idle connection's check at most.
    pub async fn tell_pool(&self, role: &'static str) {
        let began = Instant::now();
        // A database that is away keeps one waiting as well, and is told elsewhere.
        let connection = self.pool.acquire().await;
        metrics::gauge!("postrider_database_wait_seconds", "role" => role)
            .set(began.elapsed().as_secs_f64());
        drop(connection);
        let idle = u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX);
        metrics::gauge!("postrider_database_connections_in_use", "role" => role)
            .set(self.pool.size().saturating_sub(idle));
        metrics::gauge!("postrider_database_connections_limit", "role" => role)
            .set(self.pool.options().get_max_connections());
    }

    /// Closes all connections, waiting for those that are in use.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Several reads that see one state of the database.
    pub(crate) async fn snapshot(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        Ok(self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?)
    }
}

async fn migrate(pool: &PgPool) -> Result<(), StoreError> {
    let missing = missing(pool).await?;
    if let Some(last) = missing.last() {
        let not_migrated = || StoreError::NotMigrated {
            missing: missing.len(),
            last: format!("{:04} ({})", last.version, last.description),
        };
        if missing.iter().any(|missing| missing.version == 10) {
            let set_aside = before_10::set_aside(&mut *pool.acquire().await?).await;
            set_aside.map_err(|error| match error {
                StoreError::Database(error) if has_code(&error, INSUFFICIENT_PRIVILEGE) => {
                    not_migrated()
                }
                error => error,
            })?;
        }
        MIGRATIONS.run(pool).await.map_err(|error| match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)
                if has_code(&error, INSUFFICIENT_PRIVILEGE) =>
            {
                not_migrated()
            }
            error => error.into(),
        })?;
    }
    sqlx::raw_sql(GRANTS).execute(pool).await?;
    Ok(())
}

/// What was not applied yet, found out with no right but to read.
async fn missing(pool: &PgPool) -> Result<Vec<&'static Migration>, StoreError> {
    let applied: Result<Vec<(i64, Vec<u8>)>, _> =
        sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations WHERE success")
            .fetch_all(pool)
            .await;
    let applied = match applied {
        Err(error) if has_code(&error, UNDEFINED_TABLE) => Vec::new(),
        applied => applied?,
    };
    let newest = MIGRATIONS.iter().map(|ours| ours.version).max().unwrap_or_default();
    let mut min_version = None;
    for (version, checksum) in &applied {
        let Some(ours) = MIGRATIONS.iter().find(|ours| ours.version == *version) else {
            // Of a newer version, which says who can live with it.
            if min_version.is_none() {
                min_version = Some(oldest_version(pool).await?);
            }
            if *version < newest || min_version.is_none_or(|min_version| newest < min_version) {
                return Err(MigrateError::VersionMissing(*version).into());
            }
            continue;
        };
        if *ours.checksum != **checksum {
            return Err(MigrateError::VersionMismatch(*version).into());
        }
    }
    let is_applied = |ours: &Migration| applied.iter().any(|(version, _)| *version == ours.version);
    Ok(MIGRATIONS.iter().filter(|ours| !is_applied(ours)).collect())
}

/// The oldest version, by its newest migration, that can work with this schema.
async fn oldest_version(pool: &PgPool) -> Result<i64, StoreError> {
    let version =
        sqlx::query_scalar!("SELECT min_version FROM schema_compatibility").fetch_optional(pool);
    Ok(version.await?.unwrap_or(i64::MAX))
}

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|found| found == code)
}
