//! A real PgBouncer in front of a database, where one is installed.

use std::fs;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use dev_servers::ports::free_port;
use dev_servers::{ManagedProcess, Scratch, Signal, is_root};

use crate::eventually;

/// With the settings that it comes with, but for where the database is. Dropping it ends it.
#[derive(Debug)]
pub struct PgBouncer {
    _process: ManagedProcess,
    _scratch: Scratch,
    url: String,
}

impl PgBouncer {
    /// Starts it in front of this database, with another mode of pooling than its own where one
    /// is given. `None`, with a line that says so, where it is not installed.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(database_url: &str, pool_mode: Option<&str>) -> Option<Self> {
        if Command::new("pgbouncer").arg("--version").output().is_err() {
            println!("skipped: PgBouncer is not installed");
            return None;
        }
        match Self::launch(database_url, pool_mode) {
            Ok((bouncer, port)) => {
                eventually(Duration::from_secs(10), "PgBouncer to listen", || async {
                    TcpStream::connect(("127.0.0.1", port)).ok()
                })
                .await;
                Some(bouncer)
            }
            Err(error) => panic!("PgBouncer does not start: {error:#}"),
        }
    }

    fn launch(database_url: &str, pool_mode: Option<&str>) -> Result<(Self, u16)> {
        let (scratch, port) = (Scratch::new()?, free_port()?);
        let (head, name) = database_url.rsplit_once('/').context("a database")?;
        let (user, address) = head
            .strip_prefix("postgres://")
            .and_then(|head| head.split_once('@'))
            .context("a user and an address")?;
        let (host, database_port) = address.rsplit_once(':').context("a port")?;
        let users = scratch.path().join("users.txt");
        fs::write(&users, format!("\"{user}\" \"\"\n"))?;
        let mode = pool_mode.map(|mode| format!("pool_mode = {mode}\n")).unwrap_or_default();
        let file = scratch.path().join("pgbouncer.ini");
        fs::write(
            &file,
            format!(
                "[databases]\n{name} = host={host} port={database_port}\n\
                 [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
                 auth_type = trust\nauth_file = {}\n{mode}",
                users.display()
            ),
        )?;
        let mut command = Command::new("pgbouncer");
        if is_root() {
            // It does not run as root.
            command.args(["-u", "nobody"]);
        }
        let log = scratch.path().join("log");
        let process = ManagedProcess::spawn("PgBouncer", command.arg(file), &log, Signal::TERM)?;
        let url = format!("postgres://{user}@127.0.0.1:{port}/{name}");
        Ok((Self { _process: process, _scratch: scratch, url }, port))
    }

    /// Where the database is reached through it.
    pub fn url(&self) -> &str {
        &self.url
    }
}
