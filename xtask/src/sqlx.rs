//! The query data from which `store` is built without a database.
//!
//! sqlx's macros check every query against a database at build time, or against
//! what was recorded of it in `crates/store/.sqlx`. This records it, as sqlx's
//! own tool does, but from a database of our own that holds exactly the
//! migrations.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use dev_servers::{Postgres, PostgresOptions, Scratch};
use serde_json::Value;

use crate::workspace::{self, cargo, run};

pub(crate) fn sqlx(check: bool) -> Result<()> {
    let scratch = Scratch::new()?;
    let postgres = Postgres::start(PostgresOptions::new(scratch.path().join("postgres")))?;
    let url = postgres.create_database("sqlx")?;
    for migration in migrations()? {
        postgres
            .tools()
            .run_file(&url, &migration)
            .with_context(|| format!("cannot apply {}", migration.display()))?;
    }

    let fresh = scratch.path().join("queries");
    fs::create_dir(&fresh)?;
    record(&url, &fresh, scratch.path())?;
    let wanted = read(&fresh)?;
    let kept = workspace::root().join("crates/store/.sqlx");
    let found = read(&kept)?;
    let stale: Vec<_> = found.keys().filter(|name| !wanted.contains_key(*name)).collect();
    let new: Vec<_> =
        wanted.iter().filter(|(name, query)| found.get(*name) != Some(query)).collect();

    if stale.is_empty() && new.is_empty() {
        eprintln!("{} queries, all recorded", wanted.len());
        return Ok(());
    }
    if check {
        for (_, query) in &new {
            eprintln!("not recorded, or as something else: {}", query["query"]);
        }
        for name in &stale {
            eprintln!("no longer there: {}", found[*name]["query"]);
        }
        bail!("crates/store/.sqlx is not what the queries say: run `cargo xtask sqlx`");
    }
    fs::create_dir_all(&kept)?;
    for name in stale {
        fs::remove_file(kept.join(name))?;
    }
    for (name, _) in &new {
        fs::copy(fresh.join(name), kept.join(name))?;
    }
    eprintln!("{} queries, {} recorded anew", wanted.len(), new.len());
    Ok(())
}

fn migrations() -> Result<Vec<PathBuf>> {
    let directory = workspace::root().join("migrations");
    let mut files = Vec::new();
    for entry in fs::read_dir(&directory).context("there are no migrations")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Compiles `store` against the database; each macro then writes what it learnt.
///
/// The extra `--cfg` gives this build files of its own under cargo's target
/// directory: nobody else's build becomes stale by it, and it shares all that is
/// built already. It has to run even if nothing has changed since the last time,
/// hence the touched file, whose own time is put back for the other builds.
fn record(url: &str, fresh: &Path, scratch: &Path) -> Result<()> {
    let touched = workspace::root().join("crates/store/src/lib.rs");
    let file = File::options().append(true).open(&touched)?;
    let time = file.metadata()?.modified()?;
    let newest = scratch.join("now");
    fs::write(&newest, "")?;
    file.set_modified(fs::metadata(&newest)?.modified()?)?;

    let compiled = run(cargo()
        .args(["rustc", "--package", "store", "--lib", "--profile", "check"])
        .args(["--", "--cfg", "recording_queries"])
        .env("DATABASE_URL", url)
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", fresh)
        .env("SQLX_TMP", scratch));

    file.set_modified(time)?;
    compiled
}

/// The recorded queries of a directory by their files' names.
fn read(directory: &Path) -> Result<BTreeMap<String, Value>> {
    let mut queries = BTreeMap::new();
    if !directory.exists() {
        return Ok(queries);
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("query-") && name.ends_with(".json") {
            let text = fs::read_to_string(entry.path())?;
            let query =
                serde_json::from_str(&text).with_context(|| format!("{name} is no query data"))?;
            queries.insert(name, query);
        }
    }
    Ok(queries)
}
