//! Downloads a pinned program once and keeps it in the cache.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use crate::pins::Pin;
use crate::user::RunAs;
use crate::{cache, pip};

/// The directory of this program, which is downloaded on the first call.
///
/// # Errors
///
/// Says what to do when Python or pip is missing, the index cannot be reached,
/// no wheel fits this machine, or the wheel is not the one that was pinned.
pub fn fetch(pin: &Pin) -> Result<PathBuf> {
    let what = format!("{} {} (about {} MB)", pin.name, pin.version, pin.size_mb);
    let done = cache::once(&pin.directory(), &what, |target| {
        let requirements = target.with_extension("txt");
        fs::write(&requirements, pin.requirement())?;
        pip::install(&pip::Wanted::from(pin), &requirements, target, pip::Bytecode::Leave)
    })?;
    RunAs::choose().check_reachable(&done)?;
    Ok(done)
}
