//! Which tests to build and to run.

use anyhow::{Result, bail};

use super::Options;
use crate::workspace::{Metadata, TEST_FEATURES};

/// Test targets with this at the beginning of their name run only when asked for.
const LONG: &str = "long_";
/// Of all our packages.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The arguments by which cargo and nextest select what `options` ask for.
pub(super) fn selection(options: &Options) -> Result<Vec<String>> {
    let metadata = Metadata::read()?;
    let packages: Vec<&str> = metadata.packages().map(|package| package.name()).collect();
    let mut targets: Vec<&str> =
        metadata.packages().flat_map(|package| package.test_targets()).collect();
    targets.sort_unstable();
    targets.dedup();
    select(options, &packages, &targets)
}

/// Whether tests are run that take many minutes.
pub(super) fn is_long(options: &Options) -> bool {
    options.long || options.suite.as_deref().is_some_and(|suite| suite.starts_with(LONG))
}

fn select(options: &Options, packages: &[&str], targets: &[&str]) -> Result<Vec<String>> {
    let mut arguments = Vec::new();
    // Others have packages of the same names, but not of our version.
    let ours = options.suite.as_deref().map(|suite| format!("{suite}@{VERSION}"));
    let ours = ours.unwrap_or_default();
    match options.suite.as_deref() {
        Some(suite) if packages.contains(&suite) => {
            arguments.extend(["--package", &ours]);
            // Cargo refuses a feature of a package that is not selected.
            if suite == "postrider" {
                arguments.extend(TEST_FEATURES);
            }
        }
        Some(suite) if targets.contains(&suite) => {
            arguments.extend(["--workspace", "--test", suite]);
            arguments.extend(TEST_FEATURES);
        }
        Some(suite) => bail!(
            "there is no suite {suite}; there are the packages {} and the test targets {}",
            packages.join(", "),
            targets.join(", ")
        ),
        None => {
            arguments.extend(["--workspace", "--lib", "--bins"]);
            arguments.extend(TEST_FEATURES);
            for target in targets {
                if options.long || !target.starts_with(LONG) {
                    arguments.extend(["--test", target]);
                }
            }
        }
    }
    Ok(arguments.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(suite: Option<&str>, long: bool) -> String {
        let options = Options { suite: suite.map(str::to_owned), long, filter: None };
        select(&options, &["bus", "postrider"], &["crashes", "long_soak"]).unwrap().join(" ")
    }

    #[test]
    fn long_suites_run_only_when_asked_for() {
        assert!(selected(None, false).ends_with("--test crashes"));
        assert!(selected(None, true).ends_with("--test crashes --test long_soak"));
        assert!(selected(Some("long_soak"), false).contains("--test long_soak"));
    }

    #[test]
    fn a_suite_is_a_package_or_a_test_target() {
        assert_eq!(selected(Some("bus"), false), format!("--package bus@{VERSION}"));
        assert!(selected(Some("postrider"), false).contains("failpoints"));
        let options = Options { suite: Some("nothing".to_owned()), long: false, filter: None };
        let complaint = select(&options, &["bus"], &["crashes"]).unwrap_err().to_string();
        assert!(complaint.contains("crashes"), "{complaint}");
    }
}
