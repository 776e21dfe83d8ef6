//! The only place here that reads the process's environment.
//!
//! The product reads its settings through `chassis`; tools and tests have a
//! handful of variables of their own, and these functions.

use std::path::PathBuf;

use crate::user;

/// A server of the user's own, in place of the pinned NATS.
pub const NATS_URL: &str = "POSTRIDER_NATS_URL";
/// A server of the user's own, in place of the pinned PostgreSQL.
pub const DATABASE_URL: &str = "POSTRIDER_DATABASE_URL";
/// Where downloads are kept.
pub const CACHE_DIR: &str = "POSTRIDER_CACHE_DIR";

/// The value of a variable; `None` when it is absent, empty or not Unicode.
#[expect(
    clippy::disallowed_methods,
    reason = "tools read their few variables here; the product reads its own through chassis"
)]
pub fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The value of a variable as a path; `None` when it is absent or empty.
#[expect(
    clippy::disallowed_methods,
    reason = "tools read their few variables here; the product reads its own through chassis"
)]
pub fn path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The names of all variables that begin with this prefix.
#[expect(
    clippy::disallowed_methods,
    reason = "tools read their few variables here; the product reads its own through chassis"
)]
pub fn names_with_prefix(prefix: &str) -> Vec<String> {
    std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect()
}

/// Where downloads are kept: `POSTRIDER_CACHE_DIR`; else, as root, a directory
/// that the unprivileged user can read, which root's home is not; else the
/// user's cache directory.
pub fn cache_dir() -> PathBuf {
    if let Some(given) = path(CACHE_DIR) {
        return std::path::absolute(&given).unwrap_or(given);
    }
    Place {
        as_root: "/var/cache/postrider",
        xdg: ("XDG_CACHE_HOME", "postrider"),
        under_home: ".cache/postrider",
        under_temp: "postrider-cache",
    }
    .find()
}

/// Where `cargo xtask up` keeps its data from one run to the next.
pub fn state_dir() -> PathBuf {
    Place {
        as_root: "/var/lib/postrider-dev",
        xdg: ("XDG_STATE_HOME", "postrider-dev"),
        under_home: ".local/state/postrider-dev",
        under_temp: "postrider-dev",
    }
    .find()
}

/// The candidates for a directory, in the order in which they are tried.
struct Place {
    as_root: &'static str,
    xdg: (&'static str, &'static str),
    under_home: &'static str,
    under_temp: &'static str,
}

impl Place {
    fn find(&self) -> PathBuf {
        if user::is_root() {
            return PathBuf::from(self.as_root);
        }
        let (variable, name) = self.xdg;
        // The XDG base directory specification says to ignore relative paths.
        if let Some(base) = path(variable).filter(|base| base.is_absolute()) {
            return base.join(name);
        }
        // Build machines start processes without a home, so even that has an answer.
        match path("HOME").filter(|home| home.is_absolute()) {
            Some(home) => home.join(self.under_home),
            None => std::env::temp_dir().join(format!("{}-{}", self.under_temp, user::uid())),
        }
    }
}
