//! The list of what the product is built from, as CycloneDX has it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::workspace::{capture, cargo};

/// The package whose binary the image holds.
const PRODUCT: &str = "postrider";

/// Prints the list of everything that the product's binary is made of.
pub(crate) fn sbom() -> Result<()> {
    let metadata = capture(cargo().args(["metadata", "--format-version", "1", "--locked"]))?;
    let list = list(&serde_json::from_str(&metadata)?)?;
    println!("{}", serde_json::to_string_pretty(&list)?);
    Ok(())
}

fn list(metadata: &Value) -> Result<Value> {
    let each = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    let packages: BTreeMap<String, Value> = each(&metadata["packages"])
        .into_iter()
        .filter_map(|package| Some((package["id"].as_str()?.to_owned(), package)))
        .collect();
    let depends: BTreeMap<String, Vec<String>> = each(&metadata["resolve"]["nodes"])
        .into_iter()
        .filter_map(|node| Some((node["id"].as_str()?.to_owned(), linked(&node))))
        .collect();
    let product = packages.values().find(|package| package["name"] == PRODUCT);
    let product = product.context("cargo knows of no such product")?;

    // Each is reached once, however many ways there are.
    let mut found = BTreeSet::new();
    let mut next = vec![product["id"].as_str().unwrap_or_default().to_owned()];
    while let Some(id) = next.pop() {
        if found.insert(id.clone()) {
            next.extend(depends.get(&id).into_iter().flatten().cloned());
        }
    }
    let parts = found.iter().filter_map(|id| packages.get(id));
    let components: Vec<Value> =
        parts.filter(|package| package["name"] != PRODUCT).map(component).collect();
    if components.is_empty() {
        bail!("the product depends on nothing, says cargo");
    }
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": component(product)},
        "components": components,
    }))
}

/// What is linked into a package: neither what builds it nor what tests it.
fn linked(node: &Value) -> Vec<String> {
    let dependencies = node["deps"].as_array().into_iter().flatten();
    dependencies
        .filter(|dependency| {
            let mut kinds = dependency["dep_kinds"].as_array().into_iter().flatten();
            kinds.any(|kind| kind["kind"].is_null())
        })
        .filter_map(|dependency| dependency["pkg"].as_str().map(str::to_owned))
        .collect()
}

fn component(package: &Value) -> Value {
    let text = |field: &str| package[field].as_str().unwrap_or_default();
    let (name, version) = (text("name"), text("version"));
    let is_product = name == PRODUCT;
    let reference = format!("pkg:cargo/{name}@{version}");
    let mut component = json!({
        "type": if is_product { "application" } else { "library" },
        "bom-ref": reference,
        "name": name,
        "version": version,
        "purl": reference,
    });
    // Cargo once took a slash for an or.
    let licence = text("license").replace('/', " OR ");
    if !licence.is_empty() {
        component["licenses"] = json!([{"expression": licence}]);
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_listed_and_what_tests_or_builds_is_not() {
        let package = |id: &str| json!({"id": id, "name": id, "version": "1.0.0", "license": "MIT/Apache-2.0"});
        let kind = |id: &str, kind: Value| json!({"pkg": id, "dep_kinds": [{"kind": kind}]});
        let metadata = json!({
            "packages": [
                package("postrider"), package("bus"), package("bytes"), package("cc"), package("insta"),
            ],
            "resolve": {"nodes": [
                {"id": "postrider", "deps": [
                    kind("bus", Value::Null), kind("insta", json!("dev")), kind("cc", json!("build")),
                ]},
                {"id": "bus", "deps": [kind("bytes", Value::Null)]},
                {"id": "insta", "deps": []},
            ]},
        });
        let list = list(&metadata).unwrap();
        let names: Vec<_> = list["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["bus", "bytes"]);
        assert_eq!(list["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(list["metadata"]["component"]["purl"], "pkg:cargo/postrider@1.0.0");
    }
}
