//! PostgreSQL's own client programs, for tools and tests that bring no driver.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The client programs. They work on any server that the URL names.
#[derive(Clone, Debug)]
pub struct PostgresTools {
    bin: PathBuf,
}

impl PostgresTools {
    pub(crate) fn at(bin: PathBuf) -> Self {
        Self { bin }
    }

    /// Makes a database on the server of `admin_url` and returns its URL.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or refuses, for example because the
    /// name is taken.
    pub fn create_database(&self, admin_url: &str, name: &str) -> Result<String> {
        let maintenance = format!("--maintenance-db={admin_url}");
        self.run("createdb", &["--no-password", &maintenance, name])?;
        Ok(with_database(admin_url, name))
    }

    /// Drops a database, closing what is still connected to it. One that does
    /// not exist is fine.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or refuses.
    pub fn drop_database(&self, admin_url: &str, name: &str) -> Result<()> {
        let maintenance = format!("--maintenance-db={admin_url}");
        let arguments = ["--no-password", "--force", "--if-exists", &maintenance, name];
        self.run("dropdb", &arguments).map(drop)
    }

    /// Runs statements; returns the rows as text, one a line, columns separated by `|`.
    ///
    /// # Errors
    ///
    /// At the first statement that fails, with the server's message.
    pub fn query(&self, url: &str, statements: &str) -> Result<String> {
        self.run("psql", &[&PSQL[..], &["-d", url, "-Atc", statements]].concat())
    }

    /// Runs the statements of a file as one transaction.
    ///
    /// # Errors
    ///
    /// At the first statement that fails, with its place in the file.
    pub fn run_file(&self, url: &str, file: &Path) -> Result<()> {
        let file = file.to_str().context("the file's name is not Unicode")?;
        self.run("psql", &[&PSQL[..], &["-d", url, "-1f", file]].concat()).map(drop)
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = Command::new(self.program(program))
            .args(arguments)
            // Settings of the developer's own shell must not change what a test sees.
            .env_remove("PGOPTIONS")
            .env_remove("PGSERVICE")
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {program}"))?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }
}

/// Ignores the user's start-up file, is quiet, and stops at the first error.
const PSQL: [&str; 3] = ["-Xqw", "-v", "ON_ERROR_STOP=1"];

/// This URL with another database in it.
pub fn with_database(url: &str, database: &str) -> String {
    let (base, query) = match url.split_once('?') {
        Some((base, query)) => (base, format!("?{query}")),
        None => (url, String::new()),
    };
    let authority = base.find("://").map_or(0, |at| at + 3);
    let end = base[authority..].find('/').map_or(base.len(), |at| authority + at);
    format!("{}/{database}{query}", &base[..end])
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn the_database_of_a_url_is_replaced() {
        for (url, wanted) in [
            ("postgres://a@b:1/old", "postgres://a@b:1/new"),
            ("postgres://a:p@b", "postgres://a:p@b/new"),
            ("postgres://b/old?sslmode=require", "postgres://b/new?sslmode=require"),
        ] {
            assert_eq!(with_database(url, "new"), wanted);
        }
    }
}
