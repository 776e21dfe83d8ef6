//! What stands in the files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace::Metadata;

const MOST_LINES: usize = 800;

/// Crates that hold SQL, or speak of it.
const WITH_SQL: [&str; 3] = ["crates/store/", "crates/testkit/", "xtask/"];

/// The kinds of files that people write.
const TEXT: [&str; 13] = [
    "conf", "json", "md", "ndjson", "proto", "py", "rs", "sh", "sql", "toml", "txt", "yaml", "yml",
];

pub(super) fn check(root: &Path, metadata: &Metadata) -> Result<Vec<String>> {
    let mut files = Vec::new();
    walk(root, root, &mut files)?;
    let mut problems = Vec::new();
    for file in &files {
        let bytes = fs::read(root.join(&file.path))?;
        let text = String::from_utf8_lossy(&bytes);
        problems.extend(file.problems(&text, root));
    }
    problems.extend(crates(root, metadata)?);
    problems.extend(licence(root));
    problems.extend(examples(root, &files)?);
    Ok(problems)
}

/// A text file of ours, by its path from the root, with `/` between.
struct TextFile {
    path: String,
}

impl TextFile {
    fn problems(&self, text: &str, root: &Path) -> Vec<String> {
        let mut problems = Vec::new();
        let lines = text.lines().count();
        if self.path.ends_with(".rs") && lines > MOST_LINES {
            problems.push(format!("{}: {lines} lines; {MOST_LINES} are the most", self.path));
        }
        let forbidden = forbidden(root);
        for (number, line) in text.lines().enumerate() {
            let place = format!("{}:{}", self.path, number + 1);
            if let Some(found) = forbidden.iter().find(|path| line.contains(path.as_str())) {
                problems.push(format!("{place}: {found} is a path of one machine"));
            }
            if self.path.ends_with(".rs") && self.speaks_sql(line) {
                problems.push(format!("{place}: SQL is written only in crates/store"));
            }
        }
        problems
    }

    fn speaks_sql(&self, line: &str) -> bool {
        let allowed = WITH_SQL.iter().any(|home| self.path.starts_with(home));
        !allowed
            && ["sqlx::", "query!(", "query_as!(", "query_scalar!("]
                .iter()
                .any(|word| line.contains(word))
    }
}

/// Paths that exist on one machine only. They are put together here, so that
/// this file does not hold them.
fn forbidden(root: &Path) -> Vec<String> {
    let mut paths: Vec<String> =
        ["root", "home", "Users"].iter().map(|name| format!("/{name}/")).collect();
    // A checkout straight under / has too common a name to look for.
    if root.components().count() > 2 {
        paths.push(root.display().to_string());
    }
    paths
}

/// Collects the text files, leaving out what is hidden or built.
fn walk(root: &Path, directory: &Path, files: &mut Vec<TextFile>) -> Result<()> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_ours = !name.starts_with('.') || [".ci", ".config", ".cargo"].contains(&&*name);
        if path.is_dir() {
            if is_ours && !["target", "__pycache__"].contains(&&*name) {
                walk(root, &path, files)?;
            }
        } else if is_text(&path, &name) {
            let path = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
            files.push(TextFile { path });
        }
    }
    Ok(())
}

fn is_text(path: &Path, name: &str) -> bool {
    match path.extension() {
        Some(extension) => TEXT.iter().any(|known| extension == *known),
        None => {
            let directory = path.parent().and_then(Path::file_name);
            name.starts_with("Dockerfile") || directory.is_some_and(|name| name == ".ci")
        }
    }
}

/// Each crate says what it is for, and is held to the workspace's lints.
fn crates(root: &Path, metadata: &Metadata) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for package in metadata.packages() {
        for file in package.root_files() {
            if !fs::read_to_string(file)?.starts_with("//! ") {
                let file = file.strip_prefix(root).unwrap_or(file);
                problems.push(format!("{}: no head comment", file.display()));
            }
        }
        let manifest = fs::read_to_string(package.directory().join("Cargo.toml"))?;
        if !manifest.contains("[lints]\nworkspace = true") {
            problems.push(format!("{}: not under the workspace's lints", package.name()));
        }
    }
    Ok(problems)
}

fn licence(root: &Path) -> Option<String> {
    let text = fs::read_to_string(root.join("LICENSE")).unwrap_or_default();
    let is_apache = text.contains("Apache License") && text.contains("Version 2.0");
    (!is_apache).then(|| "LICENSE: not the Apache License, Version 2.0".to_owned())
}

/// An example that no page names is an example that nobody finds.
fn examples(root: &Path, files: &[TextFile]) -> Result<Vec<String>> {
    let is_page = |path: &str| path == "README.md" || path.starts_with("docs/");
    let mut pages = String::new();
    for file in files.iter().filter(|file| is_page(&file.path)) {
        pages.push_str(&fs::read_to_string(root.join(&file.path))?);
    }
    Ok(files
        .iter()
        .filter_map(|file| file.path.strip_prefix("examples/events/"))
        .filter(|name| !pages.contains(name))
        .map(|name| format!("examples/events/{name}: named neither in README.md nor in docs"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, text: &str) -> Vec<String> {
        TextFile { path: path.to_owned() }.problems(text, Path::new("/src/checkout"))
    }

    #[test]
    fn long_files_machine_paths_and_stray_sql_are_found() {
        let long = "\n".repeat(MOST_LINES + 1);
        assert_eq!(problems("crates/bus/src/a.rs", &long).len(), 1);
        assert_eq!(problems("docs/a.md", &long).len(), 0);

        let home = format!("cd {}", ["", "home", "me"].join("/"));
        assert!(problems("docs/a.md", &format!("{home}/x")).len() == 1);
        assert!(problems("docs/a.md", "see /src/checkout/docs").len() == 1);
        assert_eq!(problems("docs/a.md", "see docs/a.md").len(), 0);

        let query = "let rows = sqlx::query(text);";
        assert_eq!(problems("crates/archive/src/a.rs", query).len(), 1);
        assert_eq!(problems("crates/store/src/a.rs", query).len(), 0);
    }
}
