//! Who may speak to whom.

use serde_json::Value;

use super::document::{Document, Pods};

/// Those that call receivers. Nobody else gets out of the cluster.
const OUTSIDE: [&str; 2] = ["dispatcher", "settings-api"];

/// Ports that know no password, so that not everybody may reach them: the role,
/// and the name of its port.
const INTERNAL: [(&str, &str); 3] =
    [("ingest", "grpc"), ("ingest", "http"), ("settings-api", "admin")];

/// Special ranges that nobody is to be sent to.
const NEVER: [&str; 3] = ["10.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16"];

/// What is wrong with the network policies of these documents.
pub(super) fn check(documents: &[Document]) -> Vec<String> {
    let policies: Vec<&Document> =
        documents.iter().filter(|document| document.kind() == "NetworkPolicy").collect();
    let mut problems = Vec::new();
    for document in documents {
        let Some(pods) = document.pods() else { continue };
        let name = document.name();
        let of_pods: Vec<&Value> = policies
            .iter()
            .filter(|policy| pods.are_selected_by(policy.at(&["spec", "podSelector"])))
            .map(|policy| policy.at(&["spec"]))
            .collect();
        for direction in ["Ingress", "Egress"] {
            if !of_pods.iter().any(|spec| lists(&spec["policyTypes"], direction)) {
                problems.push(format!("{name}: no policy says who {direction} is for"));
            }
        }
        problems.extend(check_ways_out(&name, pods, &of_pods));
        problems.extend(check_ways_in(&name, pods, &of_pods));
    }
    problems
}

fn check_ways_out(name: &str, pods: Pods<'_>, policies: &[&Value]) -> Vec<String> {
    let may = pods.role().is_some_and(|role| OUTSIDE.contains(&role));
    let rules = policies.iter().flat_map(|spec| each(&spec["egress"]));
    let peers = rules.flat_map(|rule| each(&rule["to"]));
    let mut problems = Vec::new();
    for block in peers.filter_map(|peer| peer.get("ipBlock")) {
        // A database may be an address outside, but not all addresses.
        let is_everywhere = block["cidr"].as_str().is_some_and(|cidr| cidr.ends_with("/0"));
        if is_everywhere && !may {
            problems.push(format!("{name}: gets out of the cluster"));
        }
        let is_all = block["cidr"] == "0.0.0.0/0";
        if is_all && !NEVER.iter().all(|range| lists(&block["except"], range)) {
            problems.push(format!("{name}: gets to private addresses"));
        }
    }
    problems
}

fn check_ways_in(name: &str, pods: Pods<'_>, policies: &[&Value]) -> Vec<String> {
    let internal = INTERNAL.iter().filter(|(role, _)| pods.role() == Some(*role));
    let is_open = |port: &str| {
        let rules = policies.iter().flat_map(|spec| each(&spec["ingress"]));
        let rules = rules.filter(|rule| each(&rule["from"]).next().is_none());
        // A rule without ports is for all of them.
        rules.into_iter().any(|rule| {
            let mut ports = each(&rule["ports"]).peekable();
            ports.peek().is_none() || ports.any(|open| open["port"] == port)
        })
    };
    internal
        .filter(|(_, port)| is_open(port))
        .map(|(_, port)| format!("{name}: everybody may reach its port {port}"))
        .collect()
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn lists(list: &Value, wanted: &str) -> bool {
    each(list).any(|one| one == wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pods(role: &str) -> Document {
        let labels = json!({
            "app.kubernetes.io/name": "postrider", "app.kubernetes.io/component": role,
        });
        Document::new(json!({
            "kind": "Deployment", "metadata": {"name": role},
            "spec": {"template": {"metadata": {"labels": labels}, "spec": {}}},
        }))
    }

    fn policy(role: &str, more: &Value) -> Document {
        let mut spec = json!({
            "podSelector": {"matchExpressions": [
                {"key": "app.kubernetes.io/component", "operator": "In", "values": [role]},
            ]},
            "policyTypes": ["Ingress", "Egress"],
        });
        for (name, value) in more.as_object().unwrap() {
            spec[name] = value.clone();
        }
        Document::new(json!({"kind": "NetworkPolicy", "spec": spec}))
    }

    #[test]
    fn pods_that_no_policy_is_for_are_found() {
        assert_eq!(check(&[pods("fanout")]).len(), 2);
        assert_eq!(check(&[pods("fanout"), policy("archive", &json!({}))]).len(), 2);
        assert_eq!(check(&[pods("fanout"), policy("fanout", &json!({}))]), [""; 0]);
    }

    #[test]
    fn only_those_that_call_receivers_get_out_and_never_inwards() {
        let out = |except: Value| json!({"egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": except}}]}]});
        let careful = out(json!(NEVER));
        assert_eq!(check(&[pods("dispatcher"), policy("dispatcher", &careful)]), [""; 0]);
        assert_eq!(check(&[pods("archive"), policy("archive", &careful)]).len(), 1);
        let database = json!({"egress": [{"to": [{"ipBlock": {"cidr": "192.0.2.5/32"}}]}]});
        assert_eq!(check(&[pods("archive"), policy("archive", &database)]), [""; 0]);
        let careless = out(json!(["10.0.0.0/8"]));
        assert_eq!(check(&[pods("dispatcher"), policy("dispatcher", &careless)]).len(), 1);
    }

    #[test]
    fn ports_without_a_password_are_not_for_everybody() {
        let callers = json!({"ingress": [
            {"ports": [{"port": "grpc"}, {"port": "http"}], "from": [{"podSelector": {}}]},
            {"ports": [{"port": "ops"}]},
        ]});
        assert_eq!(check(&[pods("ingest"), policy("ingest", &callers)]), [""; 0]);
        let everybody = json!({"ingress": [{"ports": [{"port": "grpc"}]}]});
        assert_eq!(check(&[pods("ingest"), policy("ingest", &everybody)]).len(), 1);
        let all_ports = json!({"ingress": [{"from": []}]});
        assert_eq!(check(&[pods("ingest"), policy("ingest", &all_ports)]).len(), 2);
        let public = json!({"ingress": [{"ports": [{"port": "http"}]}]});
        assert_eq!(check(&[pods("settings-api"), policy("settings-api", &public)]), [""; 0]);
    }
}
