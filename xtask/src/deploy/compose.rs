//! The composition for one machine.

use std::path::Path;

use dev_servers::pins;
use serde_json::Value;

use super::pods::is_pinned;
use super::settings::Known;

pub(super) const FILE: &str = "deploy/compose.yaml";

/// Every role, with the ports that design and documents give it.
const ROLES: [(&str, &[u16]); 7] = [
    ("settings-api", &[8080, 9092]),
    ("ingest", &[9090, 9091]),
    ("fanout", &[]),
    ("dispatcher", &[]),
    ("archive", &[]),
    ("console", &[8081]),
    ("request-bin", &[8090]),
];

/// What is wrong with the composition. Paths in it are relative to `folder`.
pub(super) fn check(file: &Value, known: &Known, folder: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, service) in file["services"].as_object().into_iter().flatten() {
        problems.extend(check_service(name, service, known, folder));
    }
    for (role, ports) in ROLES {
        let service = &file["services"][role];
        let mut demand = |holds: bool, what: &str| {
            if !holds {
                problems.push(format!("{FILE}: {role} {what}"));
            }
        };
        demand(service["command"] == serde_json::json!([role]), "is not run");
        demand(service["read_only"] == true, "may write to its root");
        demand(texts(&service["cap_drop"]).any(|dropped| dropped == "ALL"), "keeps capabilities");
        for port in ports {
            let wanted = format!("127.0.0.1:{port}:{port}");
            demand(
                texts(&service["ports"]).any(|open| open == wanted),
                &format!("has no {wanted}"),
            );
        }
    }
    // Those that the tests run against.
    for (service, pin) in [("nats", &pins::NATS), ("postgres", &pins::POSTGRES)] {
        let image = file["services"][service]["image"].as_str().unwrap_or_default();
        if !is_version(image, pin.version) {
            let version = pin.version;
            problems.push(format!("{FILE}: {service} is {image}, tested is {version}"));
        }
    }
    problems
}

fn check_service(name: &str, service: &Value, known: &Known, folder: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    let mut demand = |holds: bool, what: String| {
        if !holds {
            problems.push(format!("{FILE}: {name} {what}"));
        }
    };
    let image = with_defaults(service["image"].as_str().unwrap_or_default());
    demand(is_pinned(&Value::from(image)), "has an image without a tag of its own".to_owned());
    let environment = service["environment"].as_object().into_iter().flatten();
    for (setting, _) in environment.filter(|(setting, _)| setting.starts_with("POSTRIDER_")) {
        demand(known.has(setting), format!("is given {setting}, which is no setting"));
    }
    for port in texts(&service["ports"]) {
        demand(port.starts_with("127.0.0.1:"), format!("opens {port} to everybody"));
    }
    for mount in texts(&service["volumes"]).filter(|mount| mount.starts_with("./")) {
        let source = mount.split(':').next().unwrap_or_default();
        demand(folder.join(source).exists(), format!("mounts {source}, which is not there"));
    }
    problems
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The text with `${NAME:-default}` as it is without the variable.
fn with_defaults(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (variable, behind) = after.split_once('}').unwrap_or((after, ""));
        result.push_str(before);
        result.push_str(variable.split_once(":-").map_or("", |(_, default)| default));
        rest = behind;
    }
    result + rest
}

/// Whether the image is of this version, or of one that it is a release of:
/// wheels count their own releases behind it.
pub(super) fn is_version(image: &str, version: &str) -> bool {
    let tag = image.rsplit(':').next().unwrap_or_default();
    let tag = tag.split('-').next().unwrap_or_default();
    let rest = version.strip_prefix(tag);
    tag.contains('.') && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn known() -> Known {
        Known::from_page("| `POSTRIDER_LOG` | `info` | … |")
    }

    #[test]
    fn what_is_wrong_with_a_service_is_found() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let right = json!({
            "image": "postrider:${POSTRIDER_VERSION:-0.1.0}",
            "environment": {"POSTRIDER_LOG": "debug", "TZ": "UTC"},
            "ports": ["127.0.0.1:8080:8080"],
            "volumes": ["./Cargo.toml:/etc/x:ro", "data:/data"],
        });
        assert_eq!(check_service("fanout", &right, &known(), folder), [""; 0]);
        for (field, value) in [
            ("image", json!("postrider:${POSTRIDER_VERSION:-latest}")),
            ("image", json!("postrider")),
            ("environment", json!({"POSTRIDER_LOGS": "debug"})),
            ("ports", json!(["8080:8080"])),
            ("volumes", json!(["./nowhere:/etc/x:ro"])),
        ] {
            let mut wrong = right.clone();
            wrong[field] = value;
            assert_eq!(check_service("fanout", &wrong, &known(), folder).len(), 1, "{wrong}");
        }
    }

    #[test]
    fn roles_ports_and_servers_that_are_missing_are_found() {
        let problems = check(&json!({"services": {}}), &known(), Path::new("."));
        for wanted in ["dispatcher is not run", "8090:8090", "nats is", "postgres is"] {
            let found = problems.iter().any(|problem| problem.contains(wanted));
            assert!(found, "{wanted}: {problems:?}");
        }
    }

    #[test]
    fn versions_are_compared_as_a_whole() {
        assert!(is_version("nats:2.15.1-alpine", "2.15.1"));
        assert!(is_version("postgres:18.6", "18.6.3"));
        assert!(!is_version("postgres:18", "18.6.3"));
        assert!(!is_version("nats:2.15.10", "2.15.1"));
        assert!(!is_version("nats:2.15.1", "2.15.10"));
        assert!(!is_version("nats", "2.15.1"));
    }
}
