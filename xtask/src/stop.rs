//! Being asked to stop, by Ctrl-C or a signal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Whether somebody has asked to stop.
pub(crate) struct Stop {
    requested: Arc<AtomicBool>,
}

impl Stop {
    /// The first Ctrl-C is noted; a second one ends this process at once, and
    /// the watchdogs end the rest.
    pub(crate) fn on_signals() -> Result<Self> {
        let requested = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&requested))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&requested)))
                .context("cannot listen for signals")?;
        }
        Ok(Self { requested })
    }

    /// Fails with [`Interrupted`] when somebody has.
    pub(crate) fn check(&self) -> Result<()> {
        if self.requested.load(Ordering::SeqCst) {
            bail!(Interrupted);
        }
        Ok(())
    }
}

/// The way out of what was asked to stop, and no failure.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}
