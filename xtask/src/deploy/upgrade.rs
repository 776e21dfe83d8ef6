//! The order of an upgrade: who reads the streams before who writes to them, the schema
//! before both. An older reader hands back what it does not know, for an hour at most.

use std::collections::{BTreeMap, BTreeSet};

use super::document::Document;

const READERS: [&str; 4] = ["migrate", "archive", "dispatcher", "fanout"];
const WRITERS: [&str; 2] = ["settings-api", "ingest"];

/// What is wrong with the order in which these renderings upgrade; one of them has to
/// stand in the middle of an upgrade.
pub(super) fn check<'a>(
    charts: impl Iterator<Item = (&'a String, &'a Vec<Document>)>,
) -> Vec<String> {
    let mut problems = Vec::new();
    let mut is_shown = false;
    for (values, documents) in charts {
        let images = images(documents);
        let distinct: BTreeSet<&str> = images.values().copied().collect();
        if distinct.len() < 2 {
            continue;
        }
        is_shown = true;
        let of = |names: &[&str]| -> BTreeSet<&str> {
            names.iter().filter_map(|name| images.get(name).copied()).collect()
        };
        let (readers, writers) = (of(&READERS), of(&WRITERS));
        if readers.len() != 1 || writers.len() != 1 || readers == writers {
            problems
                .push(format!("{values}: who reads is not upgraded before who writes: {images:?}"));
        }
    }
    if !is_shown {
        problems.push("no variant shows the middle of an upgrade".to_owned());
    }
    problems
}

/// Of our own roles, by the name of the role.
fn images(documents: &[Document]) -> BTreeMap<&str, &str> {
    let ours = documents.iter().filter_map(Document::pods).filter_map(|pods| {
        let role = pods.labels["app.kubernetes.io/component"].as_str()?;
        let image = pods.containers().next()?["image"].as_str()?;
        Some((role, image))
    });
    ours.filter(|(role, _)| READERS.contains(role) || WRITERS.contains(role)).collect()
}
