//! What the pages say about the rest of the repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace::Metadata;

/// The page that binds each promise to the tests that keep it.
const GUARANTEES: &str = "docs/guarantees.md";
/// The page that says what each mutant is, and what finds it.
const CHAOS: &str = "docs/chaos.md";

/// A promise is worth what its test is worth: every test that the page names
/// must exist. Links between the pages must lead somewhere, too.
pub(super) fn check(root: &Path, metadata: &Metadata) -> Result<Vec<String>> {
    let text = fs::read_to_string(root.join(GUARANTEES))
        .with_context(|| format!("cannot read {GUARANTEES}"))?;
    let mut tests = BTreeSet::new();
    for package in metadata.packages() {
        let folder = package.directory();
        let crate_name = folder.file_name().unwrap_or_default().to_string_lossy();
        for file in files(folder, "rs")? {
            let source = fs::read_to_string(&file)?;
            tests.extend(tests_in(&source).map(|test| format!("{crate_name}::{test}")));
        }
    }
    let mut problems = missing_tests(&text, &tests);
    problems.extend(unnamed_mutants(root, metadata, &text)?);

    let mut pages = files(&root.join("docs"), "md")?;
    pages.push(root.join("README.md"));
    for page in pages {
        let text = fs::read_to_string(&page)?;
        let folder = page.parent().unwrap_or(root);
        let name = page.strip_prefix(root).unwrap_or(&page).display();
        let dead = links(&text).filter(|link| !folder.join(link).exists());
        problems.extend(dead.map(|link| format!("{name}: {link} is not there")));
    }
    Ok(problems)
}

/// Mutants that the code has and one of the pages does not name.
fn unnamed_mutants(root: &Path, metadata: &Metadata, guarantees: &str) -> Result<Vec<String>> {
    let chaos = fs::read_to_string(root.join(CHAOS))?;
    let mut problems = Vec::new();
    for package in metadata.packages() {
        for file in files(&package.directory().join("src"), "rs")? {
            let source = fs::read_to_string(&file)?;
            let calls = source.split("chassis::mutant(\"").skip(1);
            for name in calls.filter_map(|rest| rest.split('"').next()) {
                for (page, text) in [(GUARANTEES, guarantees), (CHAOS, &chaos)] {
                    if !text.contains(&format!("`{name}`")) {
                        problems.push(format!("{page}: does not name the mutant {name}"));
                    }
                }
            }
        }
    }
    Ok(problems)
}

/// What the page names as `crate::test` and is no test of that crate.
fn missing_tests(page: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let mut named = page.split('`').skip(1).step_by(2).filter(|code| is_test_name(code)).peekable();
    if named.peek().is_none() {
        return vec![format!("{GUARANTEES}: names no test")];
    }
    named
        .filter(|name| !tests.contains(*name))
        .map(|name| format!("{GUARANTEES}: there is no test {name}"))
        .collect()
}

/// `crate::test`, and nothing else that may stand between backquotes.
fn is_test_name(code: &str) -> bool {
    let is_word = |word: &str| {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        !word.is_empty() && word.bytes().all(fits)
    };
    code.split_once("::").is_some_and(|(left, right)| is_word(left) && is_word(right))
}

/// The names of the functions under a test attribute.
fn tests_in(source: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    source.lines().map(str::trim_start).filter_map(move |line| {
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let signature = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
        std::mem::take(&mut is_test).then(|| signature.split('(').next())?
    })
}

/// Where a page's links to other files of ours lead.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = targets.filter_map(|target| target.split('#').next());
    files.filter(|file| !file.is_empty() && !file.contains("://"))
}

pub(super) fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "
        #[tokio::test(flavor = \"multi_thread\")]
        async fn one_that_waits() {}
        #[test]
        #[should_panic]
        fn one_that_does_not() {}
        fn a_helper() {}
    ";

    #[test]
    fn tests_are_told_from_other_functions() {
        assert!(tests_in(SOURCE).eq(["one_that_waits", "one_that_does_not"]));
    }

    #[test]
    fn a_promise_without_its_test_is_found() {
        let tests = tests_in(SOURCE).map(|test| format!("bus::{test}")).collect();
        let kept = "Kept by `bus::one_that_waits`; see `Nats-Msg-Id` and `bus::Settings`.";
        assert_eq!(missing_tests(kept, &tests), [""; 0]);
        for broken in ["`bus::a_helper`", "`bus::gone`", "`fanout::one_that_waits`", "no test"] {
            assert_eq!(missing_tests(broken, &tests).len(), 1, "{broken}");
        }
    }

    #[test]
    fn links_to_files_are_told_from_others() {
        let page = "[a](docs/a.md#b) [c](#d) [e](https://e.example/f) [g](h/)";
        assert!(links(page).eq(["docs/a.md", "h/"]));
    }
}
