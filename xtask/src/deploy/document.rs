//! Kubernetes' documents, as far as they are looked at.

use serde_json::Value;

/// One document of a rendering.
#[derive(Clone, Debug)]
pub(super) struct Document(Value);

/// All documents of a list.
pub(super) fn all(list: &Value) -> Vec<Document> {
    list.as_array().into_iter().flatten().cloned().map(Document).collect()
}

impl Document {
    #[cfg(test)]
    pub(super) fn new(value: Value) -> Self {
        Self(value)
    }

    pub(super) fn kind(&self) -> &str {
        self.0["kind"].as_str().unwrap_or_default()
    }

    /// For messages: kind and name.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.kind(), self.0["metadata"]["name"].as_str().unwrap_or_default())
    }

    /// What stands there, by the names of the fields that lead to it.
    pub(super) fn at(&self, path: &[&str]) -> &Value {
        path.iter().fold(&self.0, |value, field| &value[*field])
    }

    /// The pods that it makes: their labels, and what they are.
    pub(super) fn pods(&self) -> Option<Pods<'_>> {
        let template = match self.kind() {
            "Deployment" | "StatefulSet" | "Job" | "DaemonSet" => self.at(&["spec", "template"]),
            _ => return None,
        };
        Some(Pods { labels: &template["metadata"]["labels"], spec: &template["spec"] })
    }

    /// Whether it goes on for as long as it is there.
    pub(super) fn is_lasting(&self) -> bool {
        self.kind() != "Job"
    }
}

/// Pods, all alike.
#[derive(Clone, Copy)]
pub(super) struct Pods<'a> {
    pub(super) labels: &'a Value,
    pub(super) spec: &'a Value,
}

impl<'a> Pods<'a> {
    /// All containers, those that run first among them.
    pub(super) fn containers(self) -> impl Iterator<Item = &'a Value> {
        let lists = ["initContainers", "containers"];
        lists.into_iter().flat_map(move |list| self.spec[list].as_array().into_iter().flatten())
    }

    /// The role of ours that they play, if any.
    pub(super) fn role(self) -> Option<&'a str> {
        let is_ours = self.labels["app.kubernetes.io/name"] == "postrider";
        self.labels["app.kubernetes.io/component"].as_str().filter(|_| is_ours)
    }

    /// Whether a selector means them.
    pub(super) fn are_selected_by(self, selector: &Value) -> bool {
        let labels = selector["matchLabels"].as_object().into_iter().flatten();
        let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
        labels.into_iter().all(|(label, value)| self.labels[label] == *value)
            && expressions.into_iter().all(|expression| {
                let label = expression["key"].as_str().unwrap_or_default();
                let values = expression["values"].as_array().map(Vec::as_slice).unwrap_or_default();
                expression["operator"] == "In" && values.contains(&self.labels[label])
            })
    }
}
