//! Runs the test that each mutant has to turn red, with the mutant switched on.

use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::test::Servers;
use crate::workspace::root;

/// The page that has all mutants in a table: their names first, their tests third.
const PAGE: &str = "docs/chaos.md";

#[derive(Args)]
pub(crate) struct Options {
    /// Only these; all without any
    names: Vec<String>,
}

/// A bug of one line, and the tests that must not pass with it.
struct Mutant {
    name: String,
    tests: Vec<String>,
}

pub(crate) fn mutants(options: &Options) -> Result<()> {
    let all = read()?;
    if let Some(name) = options.names.iter().find(|name| all.iter().all(|it| it.name != **name)) {
        bail!("{PAGE} has no mutant {name}");
    }
    let asked_for = |it: &&Mutant| options.names.is_empty() || options.names.contains(&it.name);
    let chosen: Vec<&Mutant> = all.iter().filter(asked_for).collect();
    turn_red(&chosen)
}

pub(crate) fn all() -> Result<()> {
    mutants(&Options { names: Vec::new() })
}

/// Two that have a test, others with every commit.
pub(crate) fn by_turns() -> Result<()> {
    let all = read()?;
    let tested: Vec<&Mutant> = all.iter().filter(|it| !it.tests.is_empty()).collect();
    let turn = turn();
    turn_red(&[tested[2 * turn % tested.len()], tested[(2 * turn + 1) % tested.len()]])
}

/// A number that is another one with every commit.
pub(crate) fn turn() -> usize {
    let mut git = Command::new("git");
    let count = git.args(["rev-list", "--count", "HEAD"]).current_dir(root()).output();
    let count = count.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    count.ok().and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

fn turn_red(mutants: &[&Mutant]) -> Result<()> {
    let servers = Servers::start()?;
    let mut survivors = Vec::new();
    for Mutant { name, tests } in mutants {
        for test in tests {
            let began = Instant::now();
            let is_red = servers.fails(test, ("MUTANT", name))?;
            let took = began.elapsed().as_secs_f64();
            println!("{name}: {test} {} in {took:.1} s", if is_red { "fails" } else { "PASSES" });
            if !is_red {
                survivors.push(format!("{name} ({test})"));
            }
        }
        if tests.is_empty() {
            println!("{name}: no test, only `cargo xtask chaos --mutant {name}`");
        }
    }
    if !survivors.is_empty() {
        bail!("tests that pass with the bug that they are to find: {}", survivors.join(", "));
    }
    Ok(())
}

/// The rows of the table.
fn read() -> Result<Vec<Mutant>> {
    let text =
        fs::read_to_string(root().join(PAGE)).with_context(|| format!("cannot read {PAGE}"))?;
    let (_, table) = text.split_once("\n## Mutants\n").context("no section Mutants")?;
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let mutants: Vec<Mutant> = rows.filter_map(row).collect();
    if mutants.is_empty() {
        bail!("{PAGE} has no mutants");
    }
    Ok(mutants)
}

fn row(line: &str) -> Option<Mutant> {
    let mut cells = line.trim_matches('|').split('|').map(str::trim);
    let name = cells.next()?.trim_matches('`').to_owned();
    let tests = cells.nth(2)?.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some(Mutant { name, tests })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_names_its_mutant_and_its_tests() {
        let line = "| `a_b` | [x](y) | does `c` | `d::e` `f::g` | I1, 20 s |";
        let Mutant { name, tests } = row(line).unwrap();
        assert_eq!((name.as_str(), tests.join(" ").as_str()), ("a_b", "d::e f::g"));
        assert!(row("| `a_b` | [x](y) | does `c` | | I1, 20 s |").unwrap().tests.is_empty());
    }
}
