//! Clients and tools of others: fetched once, run to their end.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
pub use dev_servers::tools::{NodeTools, PythonTools};
use tokio::io::AsyncWriteExt;
use tokio::task::spawn_blocking;

use crate::within;

/// The Python packages of this requirements file.
///
/// # Panics
///
/// When they cannot be fetched; the message says what to do.
pub async fn python(requirements: impl Into<PathBuf>) -> PythonTools {
    let requirements = requirements.into();
    fetched(spawn_blocking(move || dev_servers::tools::python(&requirements)).await)
}

/// Node, and the packages of this npm project.
///
/// # Panics
///
/// When they cannot be fetched; the message says what to do.
pub async fn node(project: impl Into<PathBuf>) -> NodeTools {
    let project = project.into();
    fetched(spawn_blocking(move || dev_servers::tools::node(&project)).await)
}

fn fetched<T>(result: Result<Result<T>, tokio::task::JoinError>) -> T {
    match result {
        Ok(Ok(tools)) => tools,
        Ok(Err(error)) => panic!("cannot fetch the tools of others: {error:#}"),
        Err(error) => panic!("cannot fetch the tools of others: {error}"),
    }
}

/// Runs a command with this standard input, and returns what it printed to both
/// outputs, the errors last. The command is killed when the test ends before it.
///
/// # Panics
///
/// When it does not end within this time, or with anything but 0: the message
/// has what it printed.
pub async fn run(what: &str, command: Command, input: &str, deadline: Duration) -> String {
    let output = within(deadline, what, output(command, input)).await;
    let output = match output {
        Ok(output) => output,
        Err(error) => panic!("{what} cannot be run: {error:#}"),
    };
    let printed = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{what}: {}\n{printed}", output.status);
    printed
}

async fn output(command: Command, input: &str) -> Result<std::process::Output> {
    let mut child = tokio::process::Command::from(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().context("no pipe to it")?;
    let write = async move {
        // One that does not read its input has ended, and its status says why.
        let _ = stdin.write_all(input.as_bytes()).await;
    };
    let ((), output) = tokio::join!(write, child.wait_with_output());
    Ok(output?)
}
