//! What every pod has to be: nobody special, bounded, watched, and given time to stop.

use serde_json::Value;

use super::document::{Document, Pods};
use super::settings::{Known, seconds};

/// What is wrong with the pods of this document.
pub(super) fn check(document: &Document) -> Vec<String> {
    let Some(pods) = document.pods() else { return Vec::new() };
    let mut problems = Vec::new();
    let mut demand = |holds: bool, what: &str| {
        if !holds {
            problems.push(format!("{}: {what}", document.name()));
        }
    };

    let security = &pods.spec["securityContext"];
    demand(security["runAsNonRoot"] == true, "may run as root");
    demand(security["runAsUser"].as_u64().is_some_and(|id| id > 0), "has no user id");
    demand(security["seccompProfile"]["type"] == "RuntimeDefault", "has no seccomp profile");
    let has_token = pods.spec["automountServiceAccountToken"] != false;
    demand(!has_token, "is given a token of the Kubernetes API");
    for shared in ["hostNetwork", "hostPID", "hostIPC"] {
        demand(pods.spec[shared] != true, &format!("has the node's own: {shared}"));
    }
    let mut volumes = pods.spec["volumes"].as_array().into_iter().flatten();
    demand(volumes.all(|volume| volume["hostPath"].is_null()), "mounts a path of the node");

    for container in pods.containers() {
        let name = container["name"].as_str().unwrap_or_default();
        let mut demand =
            |holds: bool, what: &str| demand(holds, &format!("container {name} {what}"));
        let security = &container["securityContext"];
        demand(security["readOnlyRootFilesystem"] == true, "may write to its root");
        demand(security["allowPrivilegeEscalation"] == false, "may gain privileges");
        demand(security["privileged"] != true, "is privileged");
        let dropped = security["capabilities"]["drop"].as_array();
        let drops_all = dropped.is_some_and(|all| all.iter().any(|one| one == "ALL"));
        let adds = !security["capabilities"]["add"].is_null();
        demand(drops_all && !adds, "keeps capabilities");
        demand(is_pinned(&container["image"]), "has an image without a tag of its own");
        for bound in ["requests", "limits"] {
            for resource in ["cpu", "memory"] {
                let given = !container["resources"][bound][resource].is_null();
                demand(given, &format!("has no {resource} in its {bound}"));
            }
        }
        for path in files(container) {
            demand(is_mounted(pods, container, path), &format!("reads {path}, which is nowhere"));
        }
        if document.is_lasting() {
            for probe in ["livenessProbe", "readinessProbe"] {
                demand(!container[probe].is_null(), &format!("has no {probe}"));
            }
        }
    }
    problems
}

/// The files that a container is told of.
fn files(container: &Value) -> impl Iterator<Item = &str> {
    let entries = container["env"].as_array().into_iter().flatten();
    let values = entries.filter_map(|entry| entry["value"].as_str());
    values.filter(|value| value.starts_with("/etc/postrider/"))
}

/// Whether this file of a Secret is put there.
fn is_mounted(pods: Pods<'_>, container: &Value, path: &str) -> bool {
    let Some((folder, file)) = path.rsplit_once('/') else { return false };
    let mut mounts = container["volumeMounts"].as_array().into_iter().flatten();
    let Some(mount) = mounts.find(|mount| mount["mountPath"] == folder) else { return false };
    let mut volumes = pods.spec["volumes"].as_array().into_iter().flatten();
    let Some(volume) = volumes.find(|volume| volume["name"] == mount["name"]) else { return false };
    let projected = volume["projected"]["sources"].as_array().into_iter().flatten();
    let secrets = projected.chain([volume]).map(|source| &source["secret"]["items"]);
    let mut items = secrets.flat_map(|items| items.as_array().into_iter().flatten());
    items.any(|item| item["path"] == file)
}

/// Whether an image is named by a tag other than `latest`, or by its digest.
pub(super) fn is_pinned(image: &Value) -> bool {
    let image = image.as_str().unwrap_or_default();
    if image.contains("@sha256:") {
        return true;
    }
    // A registry may have a port.
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split_once(':').is_some_and(|(_, tag)| !tag.is_empty() && tag != "latest")
}

/// Where there are several pods, an upgrade of nodes takes one at a time; and
/// where there is one, no budget keeps a node from being emptied for ever.
pub(super) fn check_budgets(documents: &[Document]) -> Vec<String> {
    let budgets: Vec<&Document> =
        documents.iter().filter(|document| document.kind() == "PodDisruptionBudget").collect();
    let mut problems = Vec::new();
    for document in documents.iter().filter(|document| document.is_lasting()) {
        let Some(pods) = document.pods() else { continue };
        let meant = budgets
            .iter()
            .filter(|budget| pods.are_selected_by(budget.at(&["spec", "selector"])))
            .count();
        let wanted = usize::from(fewest(document, documents) > 1);
        if meant != wanted {
            let name = document.name();
            problems.push(format!("{name}: has {meant} disruption budget(s) in place of {wanted}"));
        }
    }
    problems
}

/// How many pods there are at least: as many as is said, or as whoever scales it says.
fn fewest(document: &Document, documents: &[Document]) -> u64 {
    if let Some(replicas) = document.at(&["spec", "replicas"]).as_u64() {
        return replicas;
    }
    let scales = |scaler: &&Document| {
        scaler.at(&["spec", "scaleTargetRef", "name"]) == document.at(&["metadata", "name"])
    };
    let scaler = documents.iter().find(scales);
    let fewest = scaler.and_then(|scaler| {
        let spec = scaler.at(&["spec"]);
        spec["minReplicas"].as_u64().or_else(|| spec["minReplicaCount"].as_u64())
    });
    fewest.unwrap_or(1)
}

/// Kubernetes kills what has not ended in time: the drain has to fit.
pub(super) fn check_grace(documents: &[Document], known: &Known) -> Vec<String> {
    let ours = documents.iter().filter(|document| document.is_lasting());
    let ours = ours.filter_map(|document| Some((document, document.pods()?)));
    ours.filter(|(_, pods)| pods.role().is_some())
        .filter_map(|(document, pods)| {
            let drain = known.in_force(documents, pods, "POSTRIDER_DRAIN_TIMEOUT");
            let drain = drain.as_deref().and_then(seconds)?;
            let needed = before_the_stop(pods) + drain;
            let grace = pods.spec["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
            let name = document.name();
            (grace < needed + 5)
                .then(|| format!("{name}: {grace} s of grace for a stop that may take {needed} s"))
        })
        .collect()
}

fn before_the_stop(pods: Pods<'_>) -> u64 {
    let waits = pods.containers();
    let waits = waits.filter_map(|c| c["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64());
    waits.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A Deployment as it should be, with one thing changed.
    fn deployment(path: &str, value: Value) -> Document {
        let mut document = json!({
            "kind": "Deployment",
            "metadata": {"name": "fanout"},
            "spec": {"replicas": 1, "template": {
                "metadata": {"labels": {
                    "app.kubernetes.io/name": "postrider", "app.kubernetes.io/component": "fanout",
                }},
                "spec": {
                    "automountServiceAccountToken": false,
                    "terminationGracePeriodSeconds": 40,
                    "securityContext": {
                        "runAsNonRoot": true, "runAsUser": 65532,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "volumes": [{"name": "data"}],
                    "containers": [{
                        "name": "fanout",
                        "image": "registry.example:5000/postrider:0.1.0",
                        "securityContext": {
                            "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
                            "capabilities": {"drop": ["ALL"]},
                        },
                        "resources": {
                            "requests": {"cpu": "1", "memory": "1Gi"},
                            "limits": {"cpu": "1", "memory": "1Gi"},
                        },
                        "livenessProbe": {"httpGet": {}}, "readinessProbe": {"httpGet": {}},
                    }],
                },
            }},
        });
        if !path.is_empty() {
            *document.pointer_mut(path).unwrap() = value;
        }
        Document::new(document)
    }

    #[test]
    fn a_pod_as_it_should_be_is_let_through() {
        assert_eq!(check(&deployment("", Value::Null)), [""; 0]);
    }

    #[test]
    fn every_way_to_be_dangerous_is_found() {
        let pod = "/spec/template/spec";
        let container = "/spec/template/spec/containers/0";
        for (path, value, wanted) in [
            (format!("{pod}/securityContext"), json!({}), "may run as root"),
            (format!("{pod}/securityContext/runAsUser"), json!(0), "has no user id"),
            (format!("{pod}/securityContext/seccompProfile"), Value::Null, "seccomp"),
            (format!("{pod}/automountServiceAccountToken"), json!(true), "token"),
            (format!("{pod}/volumes/0"), json!({"hostPath": {"path": "/"}}), "path of the node"),
            (format!("{container}/image"), json!("postrider:latest"), "image"),
            (format!("{container}/image"), json!("registry.example:5000/postrider"), "image"),
            (format!("{container}/securityContext"), json!({}), "may write to its root"),
            (
                format!("{container}/securityContext/allowPrivilegeEscalation"),
                json!(true),
                "may gain privileges",
            ),
            (
                format!("{container}/securityContext/capabilities"),
                json!({"drop": ["ALL"], "add": ["NET_ADMIN"]}),
                "keeps capabilities",
            ),
            (
                format!("{container}/resources/limits/memory"),
                Value::Null,
                "no memory in its limits",
            ),
            (format!("{container}/resources/requests/cpu"), Value::Null, "no cpu in its requests"),
            (format!("{container}/livenessProbe"), Value::Null, "no livenessProbe"),
            (format!("{container}/readinessProbe"), Value::Null, "no readinessProbe"),
        ] {
            let problems = check(&deployment(&path, value));
            let found = problems.iter().any(|problem| problem.contains(wanted));
            assert!(found, "{path}: {problems:?}");
        }
        let mut shared = deployment("", Value::Null).at(&[]).clone();
        shared["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
        assert_eq!(check(&Document::new(shared)).len(), 1);
    }

    #[test]
    fn a_file_that_is_named_is_mounted() {
        let mut document = deployment("", Value::Null).at(&[]).clone();
        let spec = &mut document["spec"]["template"]["spec"];
        spec["containers"][0]["env"] = json!([
            {"name": "SSL_CERT_FILE", "value": "/etc/postrider/ca/ca.crt"},
            {"name": "POSTRIDER_INGEST_TLS_KEY", "value": "/etc/postrider/door/tls.key"},
        ]);
        spec["containers"][0]["volumeMounts"] = json!([
            {"name": "ca", "mountPath": "/etc/postrider/ca"},
            {"name": "door", "mountPath": "/etc/postrider/door"},
        ]);
        let key = json!({"secret": {"items": [{"key": "tls.key", "path": "tls.key"}]}});
        spec["volumes"] = json!([
            {"name": "ca", "secret": {"items": [{"key": "x", "path": "ca.crt"}]}},
            {"name": "door", "projected": {"sources": [{"secret": {"items": []}}, key]}},
        ]);
        assert_eq!(check(&Document::new(document.clone())), [""; 0]);
        let pod = "/spec/template/spec";
        for (path, value) in [
            ("/volumes/0/secret/items/0/path", json!("root.crt")),
            ("/volumes/1/projected/sources", json!([])),
            ("/volumes/1/name", json!("another")),
            ("/containers/0/volumeMounts/1/mountPath", json!("/etc/postrider/doors")),
        ] {
            let mut wrong = document.clone();
            *wrong.pointer_mut(&format!("{pod}{path}")).unwrap() = value;
            let problems = check(&Document::new(wrong));
            assert!(problems.len() == 1 && problems[0].contains("nowhere"), "{path}: {problems:?}");
        }
    }

    #[test]
    fn several_pods_have_one_budget_and_a_single_one_has_none() {
        let budget = Document::new(json!({
            "kind": "PodDisruptionBudget",
            "spec": {"selector": {"matchLabels": {"app.kubernetes.io/component": "fanout"}}},
        }));
        let two = deployment("/spec/replicas", json!(2));
        let one = deployment("", Value::Null);
        assert_eq!(check_budgets(&[two.clone(), budget.clone()]), [""; 0]);
        assert_eq!(check_budgets(&[two]).len(), 1);
        assert_eq!(check_budgets(&[one.clone(), budget.clone()]).len(), 1);
        assert_eq!(check_budgets(std::slice::from_ref(&one)), [""; 0]);

        let scaled = deployment("/spec/replicas", Value::Null);
        let scaler = Document::new(json!({
            "kind": "ScaledObject",
            "spec": {"scaleTargetRef": {"name": "fanout"}, "minReplicaCount": 2},
        }));
        assert_eq!(check_budgets(&[scaled.clone(), scaler.clone()]).len(), 1);
        assert_eq!(check_budgets(&[scaled, scaler, budget]), [""; 0]);
    }

    #[test]
    fn a_drain_that_does_not_fit_is_found() {
        let known = Known::from_page("| `POSTRIDER_DRAIN_TIMEOUT` | `25s` | … |");
        let enough = deployment("", Value::Null);
        assert_eq!(check_grace(&[enough], &known), [""; 0]);
        let grace = "/spec/template/spec/terminationGracePeriodSeconds";
        assert_eq!(check_grace(&[deployment(grace, json!(25))], &known).len(), 1);

        let waits = json!({"name": "fanout", "lifecycle": {"preStop": {"sleep": {"seconds": 20}}}});
        let waits = deployment("/spec/template/spec/containers/0", waits);
        assert_eq!(check_grace(&[waits], &known).len(), 1);
        let longer = json!({"name": "fanout", "env": [
            {"name": "POSTRIDER_DRAIN_TIMEOUT", "value": "1m"},
        ]});
        let longer = deployment("/spec/template/spec/containers/0", longer);
        assert_eq!(check_grace(&[longer], &known).len(), 1);
    }
}
