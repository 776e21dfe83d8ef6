//! Who may depend on whom.

use crate::workspace::{Dependency, Metadata, Package};

/// Our crates by height. A crate depends only on lower ones, so services never
/// depend on each other.
const HEIGHTS: [(&str, u8); 22] = [
    ("protocol", 0),
    ("model", 1),
    ("signing", 1),
    ("chassis", 2),
    ("pages", 2),
    ("bus", 3),
    ("egress", 3),
    ("store", 3),
    ("archive", SERVICE),
    ("console", SERVICE),
    ("dispatcher", SERVICE),
    ("fanout", SERVICE),
    ("ingest", SERVICE),
    ("request-bin", SERVICE),
    ("settings-api", SERVICE),
    ("postrider", 5),
    // Fuzzes all of the product that strangers reach, and is part of none of it.
    ("strangers", 6),
    // Tools, which nothing of the product is built with.
    ("bench", TOOL),
    ("chaos", TOOL),
    ("dev-servers", TOOL),
    ("testkit", TOOL),
    ("xtask", TOOL),
];
const SERVICE: u8 = 4;
const TOOL: u8 = 9;

/// What stands between the delivery path and SQL.
const WITHOUT_SQL: [&str; 3] = ["dispatcher", "fanout", "ingest"];

/// Where the outside world is spoken to, each in one crate; tests may as well.
const KEPT_TO: [(&str, &str); 3] =
    [("async-nats", "bus"), ("reqwest", "egress"), ("sqlx", "store")];

/// Tools are built without the product, so that they also work when it does not
/// build; the load generator has to speak its protocol.
const FROM_TOOLS: [(&str, &str); 6] = [
    ("bench", "dev-servers"),
    ("bench", "protocol"),
    ("chaos", "dev-servers"),
    ("chaos", "testkit"),
    ("testkit", "dev-servers"),
    ("xtask", "dev-servers"),
];

pub(super) fn check(metadata: &Metadata) -> Vec<String> {
    metadata
        .packages()
        .flat_map(|package| {
            let unknown = height(package.name()).is_none();
            let place = "has no place yet in xtask/src/tidy/arrows.rs";
            let unknown = unknown.then(|| format!("{} {place}", package.name()));
            let wrong = package.dependencies().filter_map(move |found| problem(package, &found));
            unknown.into_iter().chain(wrong)
        })
        .collect()
}

fn problem(package: Package<'_>, dependency: &Dependency<'_>) -> Option<String> {
    let (from, to) = (package.name(), dependency.name);
    wrong(from, to, dependency.is_dev).map(|why| format!("{from} depends on {to}: {why}"))
}

fn wrong(from: &str, to: &str, is_dev: bool) -> Option<String> {
    if let Some((_, home)) = KEPT_TO.iter().find(|(library, _)| *library == to) {
        let allowed = from == *home || from == "testkit";
        return (!allowed).then(|| format!("{to} is used only in {home}"));
    }
    let (from_height, to_height) = (height(from)?, height(to)?);
    if from_height == TOOL {
        let allowed = FROM_TOOLS.contains(&(from, to));
        return (!allowed).then(|| "tools are built without the product".to_owned());
    }
    if to_height == TOOL {
        return (!is_dev).then(|| "a tool of development, so only in tests".to_owned());
    }
    if to == "store" && WITHOUT_SQL.contains(&from) {
        return Some("the delivery path goes on without PostgreSQL".to_owned());
    }
    if from_height == SERVICE && to_height == SERVICE {
        return Some("services never depend on each other".to_owned());
    }
    (to_height >= from_height).then(|| "arrows point down".to_owned())
}

fn height(name: &str) -> Option<u8> {
    HEIGHTS.iter().find(|(known, _)| *known == name).map(|(_, height)| *height)
}

#[cfg(test)]
mod tests {
    use super::wrong;

    #[test]
    fn wrong_arrows_are_found() {
        for (from, to, is_dev) in [
            ("fanout", "dispatcher", false),
            ("fanout", "store", false),
            ("ingest", "store", true),
            ("model", "chassis", false),
            ("bus", "store", false),
            ("bus", "testkit", false),
            ("postrider", "dev-servers", false),
            ("testkit", "postrider", true),
            ("archive", "sqlx", false),
            ("ingest", "async-nats", false),
            ("chassis", "reqwest", true),
            ("xtask", "model", false),
        ] {
            assert!(wrong(from, to, is_dev).is_some(), "{from} may depend on {to}");
        }
    }

    #[test]
    fn right_arrows_are_not() {
        for (from, to, is_dev) in [
            ("postrider", "fanout", false),
            ("archive", "store", false),
            ("bus", "chassis", false),
            ("model", "protocol", false),
            ("bus", "testkit", true),
            ("store", "sqlx", false),
            ("testkit", "async-nats", false),
            ("xtask", "dev-servers", false),
            ("bench", "protocol", false),
            ("ingest", "axum", false),
        ] {
            assert_eq!(wrong(from, to, is_dev), None, "{from} on {to}");
        }
    }
}
