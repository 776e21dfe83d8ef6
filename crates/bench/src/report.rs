//! What every report is made with: the machine, medians, spreads, the file.

use std::path::Path;

use anyhow::{Context as _, Result};
use dev_servers::NatsSync;
use serde::Serialize;

/// Where it was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    load_before: String,
    nats_sync: &'static str,
}

impl Machine {
    pub(crate) fn this(sync: NatsSync) -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model =
            cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            cpu: model.map_or("unknown", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            load_before: load.split(' ').next().unwrap_or_default().to_owned(),
            nats_sync: match sync {
                NatsSync::Always => "always",
                NatsSync::Lazy => "the server's default",
            },
        }
    }
}

/// How the broker flushes.
pub(crate) fn sync(always: bool) -> NatsSync {
    if always { NatsSync::Always } else { NatsSync::Lazy }
}

/// Prints the report, and writes it where it was asked for.
pub(crate) fn publish(report: &impl Serialize, path: Option<&Path>) -> Result<()> {
    let json = serde_json::to_string_pretty(report)?;
    println!("{json}");
    if let Some(path) = path {
        std::fs::write(path, json + "\n").with_context(|| path.display().to_string())?;
    }
    Ok(())
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// Smallest and largest.
pub(crate) fn spread(values: &[f64]) -> [f64; 2] {
    let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    [smallest, largest]
}

/// To thousandths, so that a report can be read.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
