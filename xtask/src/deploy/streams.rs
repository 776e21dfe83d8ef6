//! NATS sets aside what a bounded stream may grow to, and refuses a stream for
//! which there is no room: processes would wait for ever.

use super::document::Document;
use super::settings::{Known, bytes};

const BOUNDED: [&str; 2] = ["POSTRIDER_EVENTS_MAX_BYTES", "POSTRIDER_OUTCOMES_MAX_BYTES"];

/// Whether the broker of the chart has room for the streams, and a quarter left
/// for deliveries that wait.
pub(super) fn check(documents: &[Document], known: &Known) -> Vec<String> {
    let Some(room) = documents.iter().find_map(room) else { return Vec::new() };
    let Some(ours) = documents
        .iter()
        .find_map(|document| document.pods().filter(|pods| pods.role() == Some("ingest")))
    else {
        return Vec::new();
    };
    let sizes = BOUNDED.iter().map(|name| known.in_force(documents, ours, name));
    let wanted: Option<u64> = sizes.map(|size| bytes(&size?)).sum();
    match wanted {
        Some(wanted) if wanted <= room / 4 * 3 => Vec::new(),
        Some(wanted) => vec![format!(
            "NATS has {} GiB, of which EVENTS and OUTCOMES take {} GiB",
            room >> 30,
            wanted >> 30
        )],
        None => vec!["cannot tell how large EVENTS and OUTCOMES are".to_owned()],
    }
}

/// What JetStream may use, in bytes.
fn room(document: &Document) -> Option<u64> {
    let config = document.at(&["data", "nats.conf"]).as_str()?;
    let line = config.lines().find_map(|line| line.trim().strip_prefix("max_file_store:"))?;
    bytes(line.trim())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn streams_that_do_not_fit_are_found() {
        let page = "| `POSTRIDER_EVENTS_MAX_BYTES` | `16GiB` | … |\n\
                    | `POSTRIDER_OUTCOMES_MAX_BYTES` | `32GiB` | … |\n";
        let known = Known::from_page(page);
        let labels = json!({
            "app.kubernetes.io/name": "postrider", "app.kubernetes.io/component": "ingest",
        });
        let ingest = Document::new(json!({
            "kind": "Deployment", "spec": {"template": {"metadata": {"labels": labels}, "spec": {}}},
        }));
        let nats = |size: &str| {
            let config = format!("jetstream {{\n  max_file_store: {size}\n}}\n");
            Document::new(json!({"kind": "ConfigMap", "data": {"nats.conf": config}}))
        };
        assert_eq!(check(&[nats("80GB"), ingest.clone()], &known), [""; 0]);
        assert_eq!(check(&[nats("50GB"), ingest.clone()], &known).len(), 1);
        assert_eq!(check(&[ingest], &known), [""; 0], "the broker is somebody else's");
    }
}
