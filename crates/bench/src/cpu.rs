//! CPU time of processes, from /proc.

use std::collections::BTreeMap;
use std::fs;

/// Ticks a second in /proc/*/stat: 100 on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// CPU-seconds that a process and all its children have used, those that have
/// ended and were waited for included.
pub(crate) fn seconds_of_tree(pid: u32) -> f64 {
    let stats = all();
    let mut total = 0;
    let mut waiting = vec![pid];
    while let Some(pid) = waiting.pop() {
        let Some(stat) = stats.get(&pid) else { continue };
        total += stat.ticks;
        waiting.extend(stats.iter().filter(|(_, other)| other.parent == pid).map(|(pid, _)| *pid));
    }
    total as f64 / TICKS
}

/// The same of the children of a process, without itself.
pub(crate) fn seconds_of_children(pid: u32) -> f64 {
    let stats = all();
    let children = stats.iter().filter(|(_, stat)| stat.parent == pid);
    children.map(|(child, _)| seconds_of_tree(*child)).sum()
}

struct Stat {
    parent: u32,
    ticks: u64,
}

fn all() -> BTreeMap<u32, Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| Some((pid, stat(pid)?))).collect()
}

/// Fields 4 and 14 to 17 of proc(5)'s stat, counted after the command's name.
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let ticks = (11..15).filter_map(number).sum();
    Some(Stat { parent: u32::try_from(number(1)?).ok()?, ticks })
}
