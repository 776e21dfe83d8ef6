//! What stands in deploy/: the chart, the composition, the image.
//!
//! Python renders, because Helm's own engine and Kubernetes' schemas are to be
//! had as Python packages; see `render.py`. What comes out is judged here.

mod broker;
mod compose;
mod document;
mod image;
mod network;
mod pods;
mod settings;
mod streams;
mod upgrade;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use dev_servers::tools;
use serde_json::Value;

use self::document::Document;
use self::settings::Known;
use crate::workspace;

const FOLDER: &str = "xtask/src/deploy";

pub(crate) fn chart() -> Result<()> {
    let folder = workspace::root().join(FOLDER);
    let python = tools::python(&folder.join("requirements.txt"))?;
    let printed =
        workspace::capture(python.command().arg(folder.join("render.py")).arg(workspace::root()))?;
    let rendered: Rendered = Rendered::read(&printed)?;

    let known = Known::read(workspace::root())?;
    let mut problems = rendered.problems;
    for (values, documents) in &rendered.charts {
        let found = judge(documents, &known);
        problems.extend(found.into_iter().map(|problem| format!("{values}: {problem}")));
    }
    let composition = rendered.files.get(compose::FILE).context("there is no composition")?;
    problems.extend(compose::check(composition, &known, &workspace::root().join("deploy")));
    problems.extend(upgrade::check(rendered.charts.iter()));
    problems.extend(broker::check(workspace::root(), rendered.charts.iter())?);
    problems.extend(image::check(workspace::root(), &python, &rendered.files)?);

    for problem in &problems {
        eprintln!("{problem}");
    }
    if !problems.is_empty() {
        bail!("{} problem(s) in deploy/", problems.len());
    }
    let documents: usize = rendered.charts.values().map(Vec::len).sum();
    eprintln!("{} values files, {documents} documents", rendered.charts.len());
    Ok(())
}

/// Everything that is wrong with one rendering of the chart.
fn judge(documents: &[Document], known: &Known) -> Vec<String> {
    let mut problems: Vec<String> = documents.iter().flat_map(pods::check).collect();
    problems.extend(pods::check_budgets(documents));
    problems.extend(pods::check_grace(documents, known));
    problems.extend(network::check(documents));
    problems.extend(settings::check(documents, known));
    problems.extend(streams::check(documents, known));
    problems
}

/// What `render.py` prints.
struct Rendered {
    problems: Vec<String>,
    charts: BTreeMap<String, Vec<Document>>,
    files: BTreeMap<String, Value>,
}

impl Rendered {
    fn read(printed: &str) -> Result<Self> {
        let all: Value = serde_json::from_str(printed).context("render.py printed no JSON")?;
        let object = |name: &str| all[name].as_object().cloned().unwrap_or_default().into_iter();
        let charts: BTreeMap<_, Vec<Document>> = object("charts")
            .map(|(values, documents)| (values, document::all(&documents)))
            .collect();
        if charts.values().any(Vec::is_empty) || charts.is_empty() {
            bail!("the chart renders to nothing");
        }
        let problems = all["problems"].as_array().into_iter().flatten();
        let problems = problems.filter_map(Value::as_str).map(str::to_owned).collect();
        Ok(Self { problems, charts, files: object("files").collect() })
    }
}
