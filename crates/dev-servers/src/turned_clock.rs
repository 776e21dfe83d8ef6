use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::user::create_open_dir;

/// A clock that is turned while the server that has it runs. Linux only.
#[derive(Clone, Debug)]
pub struct TurnedClock {
    library: PathBuf,
    ahead: PathBuf,
}

impl TurnedClock {
    /// A clock that is right so far. Its files are in this directory, and outlive it.
    ///
    /// # Errors
    ///
    /// When the directory cannot be written, or `cc`, the linker of every Rust toolchain,
    /// does not translate the library.
    pub fn new(dir: &Path) -> Result<Self> {
        create_open_dir(dir)?;
        let clock = Self { library: dir.join("turned_clock.so"), ahead: dir.join("ahead") };
        clock.turn(Duration::ZERO)?;
        let source = dir.join("turned_clock.c");
        fs::write(&source, include_str!("turned_clock.c"))?;
        let mut command = Command::new("cc");
        command.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&clock.library).arg(&source);
        let output = command.output().context("cannot run cc")?;
        if !output.status.success() {
            bail!("cc failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(clock)
    }

    /// Turns it to so many whole seconds ahead of the machine's, at once.
    ///
    /// # Errors
    ///
    /// When its file cannot be written.
    pub fn turn(&self, ahead: Duration) -> Result<()> {
        // In place: a server has this file mapped.
        let file =
            fs::OpenOptions::new().write(true).create(true).truncate(false).open(&self.ahead);
        let seconds = ahead.as_secs().to_ne_bytes();
        let written =
            file.and_then(|file| std::os::unix::fs::FileExt::write_all_at(&file, &seconds, 0));
        written.with_context(|| format!("cannot write {}", self.ahead.display()))
    }

    pub(crate) fn apply(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("TURNED_CLOCK", &self.ahead);
    }
}
