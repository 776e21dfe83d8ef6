//! The directory of downloads, in which everything appears whole or not at all.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::environment;
use crate::user::{self, create_open_dir};

/// The directory of this name in the cache, which `build` fills on the first call.
///
/// It is built under another name and appears under its own only when it is
/// whole, so its existence is the proof that nothing is missing. Should the
/// process die half-way, the next one throws the rest away and starts over.
///
/// `what` is for whoever waits for it.
///
/// # Errors
///
/// When there is no place for it, or `build` fails.
pub(crate) fn once(
    name: &str,
    what: &str,
    build: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let cache = environment::cache_dir();
    let done = cache.join(name);
    if !done.is_dir() {
        open(&cache)?;
        let _lock = lock(&cache, name, what)?;
        // Somebody else may have built it while we waited for the lock.
        if !done.is_dir() {
            let began = Instant::now();
            say(&format!("fetching {what}, once, into {}", cache.display()));
            let partial = cache.join(format!("{name}.partial"));
            if partial.exists() {
                fs::remove_dir_all(&partial)?;
            }
            build(&partial)?;
            // Under a strict umask the files would be root's alone.
            make_readable(&partial)?;
            fs::rename(&partial, &done)
                .with_context(|| format!("cannot move the download to {}", done.display()))?;
            say(&format!("fetched {what} in {:.1} s", began.elapsed().as_secs_f64()));
        }
    }
    check_owner(&done)?;
    Ok(done)
}

fn open(cache: &Path) -> Result<()> {
    create_open_dir(cache).with_context(|| {
        format!("no place for downloads; {} names another one", environment::CACHE_DIR)
    })?;
    check_owner(cache)
}

/// Programs are about to be run from there, and a predictable name in a shared
/// temporary directory is anybody's to make first.
fn check_owner(dir: &Path) -> Result<()> {
    let owner = fs::metadata(dir)?.uid();
    if owner != user::uid() && owner != 0 {
        bail!(
            "{} belongs to user {owner}, whose programs we will not run: set {} to a directory of yours",
            dir.display(),
            environment::CACHE_DIR
        );
    }
    Ok(())
}

/// The lock goes with the process, so a killed download blocks nobody.
fn lock(cache: &Path, name: &str, what: &str) -> Result<File> {
    let path = cache.join(format!("{name}.lock"));
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            say(&format!("waiting for another process to fetch {what}"));
            file.lock()?;
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    Ok(file)
}

fn make_readable(path: &Path) -> Result<()> {
    let metadata = path.symlink_metadata()?;
    if metadata.is_symlink() {
        return Ok(());
    }
    let mode = metadata.permissions().mode();
    let runnable = metadata.is_dir() || mode & 0o100 != 0;
    let wanted = mode | if runnable { 0o555 } else { 0o444 };
    if wanted != mode {
        fs::set_permissions(path, fs::Permissions::from_mode(wanted))?;
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            make_readable(&entry?.path())?;
        }
    }
    Ok(())
}

/// Progress goes to standard error, so that standard output stays for results.
/// Nobody there to read it is no reason to stop.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
