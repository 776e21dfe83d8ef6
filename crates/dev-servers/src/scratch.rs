//! A directory for one test run, gone afterwards.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::process::Watchdog;
use crate::user::create_open_dir;

/// A fresh directory that other users may enter, which the usual temporary
/// directories forbid: as root the servers are somebody else.
///
/// It is removed with this value, or by a watchdog when the process ends
/// without dropping it, as it does for whatever stands in a `static`.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    watchdog: Option<Watchdog>,
}

impl Scratch {
    /// Makes the directory under the system's temporary directory.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made.
    pub fn new() -> Result<Self> {
        let unique = RandomState::new().hash_one(std::process::id());
        let path = std::env::temp_dir().join(format!("postrider-{unique:016x}"));
        create_open_dir(&path)?;
        let watchdog = Watchdog::remove_when_orphaned(&path)?;
        Ok(Self { path, watchdog: Some(watchdog) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.dismiss();
        }
        // A server that is still running would make this fail half-way; what is
        // left then is only litter in the temporary directory.
        let _ = fs::remove_dir_all(&self.path);
    }
}
