//! The workspace, and cargo in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use dev_servers::environment;
use serde_json::Value;

/// The feature that puts crash points into the binary. The checks and the tests
/// use it throughout, so that everything is built once.
pub(crate) const TEST_FEATURES: [&str; 2] = ["--features", "postrider/failpoints"];

/// The directory of the workspace.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The cargo that runs us, in the workspace.
///
/// `cargo run` tells us about our own package in variables which build scripts
/// of others (ring's, for one) watch: with them, each change between plain cargo
/// and this one would build half the workspace again. A `DATABASE_URL` in the
/// developer's shell would make `store` ask that database at build time instead
/// of its recorded query data.
pub(crate) fn cargo() -> Command {
    cargo_subcommand(environment::path("CARGO").unwrap_or_else(|| PathBuf::from("cargo")))
}

/// A program that cargo runs as a subcommand, or cargo itself, in the workspace.
pub(crate) fn cargo_subcommand(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).env_remove("DATABASE_URL");
    for prefix in ["CARGO_MANIFEST_", "CARGO_PKG_"] {
        for name in environment::names_with_prefix(prefix) {
            command.env_remove(name);
        }
    }
    command
}

/// Builds the product. Returns its binary.
pub(crate) fn build_product(with_optimisations: bool) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--package", "postrider"]);
    if with_optimisations {
        command.arg("--release");
    }
    run(&mut command)?;
    let profile = if with_optimisations { "release" } else { "debug" };
    Ok(Metadata::read()?.target_directory().join(profile).join("postrider"))
}

/// Runs a command with its output on ours.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", describe(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", describe(command));
    }
    Ok(())
}

/// Runs a command and returns what it printed.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", describe(command)))?;
    if !output.status.success() {
        bail!("`{}` failed ({})", describe(command), output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The command as somebody would type it.
pub(crate) fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut words = vec![program.file_name().unwrap_or_default().to_string_lossy()];
    words.extend(command.get_args().map(|word| word.to_string_lossy()));
    words.join(" ")
}

/// What cargo knows of our packages.
pub(crate) struct Metadata(Value);

impl Metadata {
    pub(crate) fn read() -> Result<Self> {
        let mut command = cargo();
        command.args(["metadata", "--no-deps", "--format-version", "1", "--offline"]);
        Ok(Self(serde_json::from_str(&capture(&mut command)?)?))
    }

    /// Where cargo builds.
    pub(crate) fn target_directory(&self) -> PathBuf {
        PathBuf::from(self.0["target_directory"].as_str().unwrap_or("target"))
    }

    /// Our packages.
    pub(crate) fn packages(&self) -> impl Iterator<Item = Package<'_>> {
        self.0["packages"].as_array().into_iter().flatten().map(Package)
    }
}

/// One of our packages.
#[derive(Clone, Copy)]
pub(crate) struct Package<'a>(&'a Value);

impl<'a> Package<'a> {
    pub(crate) fn name(self) -> &'a str {
        self.0["name"].as_str().unwrap_or_default()
    }

    /// The directory that it stands in.
    pub(crate) fn directory(self) -> &'a Path {
        let manifest = Path::new(self.0["manifest_path"].as_str().unwrap_or_default());
        manifest.parent().unwrap_or(manifest)
    }

    /// What it depends on, for whatever purpose.
    pub(crate) fn dependencies(self) -> impl Iterator<Item = Dependency<'a>> {
        let all = self.0["dependencies"].as_array().into_iter().flatten();
        all.map(|dependency| Dependency {
            name: dependency["name"].as_str().unwrap_or_default(),
            is_dev: dependency["kind"] == "dev",
        })
    }

    /// The names of its integration tests, and the path of its library or binary.
    pub(crate) fn test_targets(self) -> impl Iterator<Item = &'a str> {
        self.targets("test").filter_map(|target| target["name"].as_str())
    }

    /// The root files of its library and its binaries.
    pub(crate) fn root_files(self) -> impl Iterator<Item = &'a Path> {
        let targets = self.targets("lib").chain(self.targets("bin"));
        targets.filter_map(|target| target["src_path"].as_str()).map(Path::new)
    }

    fn targets(self, kind: &'static str) -> impl Iterator<Item = &'a Value> {
        let all = self.0["targets"].as_array().into_iter().flatten();
        all.filter(move |target| {
            target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|found| found == kind))
        })
    }
}

/// What a package depends on.
pub(crate) struct Dependency<'a> {
    pub(crate) name: &'a str,
    pub(crate) is_dev: bool,
}
