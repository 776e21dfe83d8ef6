//! pip, the one downloader that has to be there before.

use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use crate::pins::Pin;

/// What is to be installed, as the messages about it say.
pub(crate) struct Wanted {
    /// Its name, with the version if it has one.
    pub(crate) name: String,
    /// What it fits, to complete "pip finds none for this machine (…)".
    pub(crate) fits: String,
    /// What else can be done, to complete a sentence; empty, or begins with a comma.
    pub(crate) instead: &'static str,
    /// Size on disk, in megabytes.
    pub(crate) size_mb: u32,
}

/// Whether Python's sources are compiled as they are installed.
#[derive(Clone, Copy)]
pub(crate) enum Bytecode {
    /// No, for what Python will not run.
    Leave,
    /// Yes, because a shared directory is not written to by those who use it.
    Compile,
}

impl From<&Pin> for Wanted {
    fn from(pin: &Pin) -> Self {
        let machines: Vec<_> = pin.sha256.iter().map(|(machine, _)| *machine).collect();
        Self {
            name: format!("{} {}", pin.name, pin.version),
            fits: format!("there are wheels for {}", machines.join(", ")),
            instead: pin.instead,
            // Wheels are compressed, to a quarter and less.
            size_mb: pin.size_mb * 5,
        }
    }
}

/// Installs what stands in `requirements`, a file with hashes, into `target`.
/// Nothing that it does not name is installed, and nothing is built: wheels
/// only, so that no code of theirs runs here.
pub(crate) fn install(
    wanted: &Wanted,
    requirements: &Path,
    target: &Path,
    bytecode: Bytecode,
) -> Result<()> {
    let mut arguments = vec![
        OsStr::new("-m"),
        OsStr::new("pip"),
        OsStr::new("install"),
        OsStr::new("--no-deps"),
        OsStr::new("--require-hashes"),
        OsStr::new("--only-binary"),
        OsStr::new(":all:"),
        OsStr::new("--target"),
        target.as_os_str(),
        OsStr::new("-r"),
        requirements.as_os_str(),
    ];
    if let Bytecode::Leave = bytecode {
        arguments.push(OsStr::new("--no-compile"));
    }
    // pip draws its progress bar on a terminal only; elsewhere its chatter says nothing.
    let chatter = if io::stdout().is_terminal() { Stdio::inherit() } else { Stdio::null() };
    let output = Command::new("python3")
        .args(arguments)
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
            bail!("python3 is not on the PATH: install Python 3 with pip{}", wanted.instead)
        }
        Err(error) => return Err(error).context("cannot run python3"),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(anyhow!("{}", said.trim()).context(advice(wanted, &said)))
}

/// What pip's complaint means and what to do about it.
fn advice(wanted: &Wanted, said: &str) -> String {
    let Wanted { name, fits, instead, size_mb } = wanted;
    let said = said.to_lowercase();
    let any = |needles: &[&str]| needles.iter().any(|needle| said.contains(needle));
    if any(&["no module named pip"]) {
        format!(
            "python3 has no pip: install it (`python3 -m ensurepip`, or the package python3-pip){instead}"
        )
    } else if any(&["do not match the hashes"]) {
        format!(
            "{name} is not the file that was pinned, so it was thrown away: \
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
             PIP_INDEX_URL or PIP_PROXY{instead}"
        )
    } else if any(&["no matching distribution"]) {
        format!(
            "pip finds no {name} for this machine ({fits}; an old pip \
             may not know them: `python3 -m pip install --upgrade pip`){instead}"
        )
    } else if any(&["no space left"]) {
        format!("the disk is full: {name} needs some {size_mb} MB")
    } else {
        format!("pip could not fetch {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::{Wanted, advice};
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
            let advice = advice(&Wanted::from(&POSTGRES), said);
            assert!(advice.contains(wanted), "{said:?} gave {advice:?}");
        }
    }
}
