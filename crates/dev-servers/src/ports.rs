//! Ports on loopback: picking a free one, and saying who sits on a taken one.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::user;

/// Below what Linux gives to connections that go out (`ip_local_port_range`): a
/// server that restarts would find its port taken by one of these.
const FREE_PORTS: Range<u16> = 20_000..32_768;

/// Ports that one process tries before it comes to those of another: more than a rig has.
const OWN_PORTS: u16 = 128;

/// How many this process has asked for.
static ASKED: AtomicU16 = AtomicU16::new(0);

/// The first of the ports that are this process' own, for as long as it lives.
static OWN: LazyLock<(u16, Option<File>)> = LazyLock::new(own_place);

/// A port that was free a moment ago, and that this process has not been given
/// lately. Whoever binds it has to reckon with somebody else having been quicker;
/// processes that run at the same time have different ports, so that it is not one of ours.
///
/// # Errors
///
/// When the machine has no free port left.
pub fn free_port() -> Result<u16> {
    let count = FREE_PORTS.end - FREE_PORTS.start;
    let first = OWN.0;
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (0..count)
        .map(|_| ASKED.fetch_add(1, Ordering::Relaxed).wrapping_add(first))
        .map(|number| FREE_PORTS.start + number % count)
        .find(is_free)
        .context("this machine has no free port left")
}

/// A place that no other process has, counted in ports, and the lock that says so. Where none
/// can be locked it is one that is seldom another's.
fn own_place() -> (u16, Option<File>) {
    let places = (FREE_PORTS.end - FREE_PORTS.start) / OWN_PORTS;
    let preferred = u16::try_from(std::process::id() % u32::from(places)).unwrap_or_default();
    let directory = std::env::temp_dir().join(format!("postrider-ports-{}", user::uid()));
    let _ = fs::create_dir(&directory);
    let lock = |place: u16| {
        let path = directory.join(place.to_string());
        let file = File::options().create(true).truncate(false).write(true).open(path).ok()?;
        file.try_lock().ok().map(|()| file)
    };
    (0..places)
        .map(|number| (preferred + number) % places)
        .find_map(|place| Some((place * OWN_PORTS, Some(lock(place)?))))
        .unwrap_or((preferred * OWN_PORTS, None))
}

/// Whether somebody listens on this port of 127.0.0.1.
pub fn is_taken(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match TcpListener::bind(address) {
        Err(error) => error.kind() == io::ErrorKind::AddrInUse,
        // Some systems let one process bind 127.0.0.1 while another has bound
        // every address; only a connection shows that one.
        Ok(listener) => {
            drop(listener);
            TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
        }
    }
}

/// Checks that all these ports are free; each comes with what it is wanted for.
///
/// # Errors
///
/// Names every port that is taken and, where the system tells, by whom.
pub fn require_free(wanted: &[(u16, &str)]) -> Result<()> {
    let taken: Vec<String> = wanted
        .iter()
        .filter(|(port, _)| is_taken(*port))
        .map(|(port, purpose)| match owner(*port) {
            Some(owner) => format!("port {port} ({purpose}) is taken by {owner}"),
            None => format!("port {port} ({purpose}) is taken"),
        })
        .collect();
    if !taken.is_empty() {
        bail!("{}", taken.join("\n"));
    }
    Ok(())
}

/// The process that listens on this port, such as `nats-server (process 123)`.
///
/// Linux only, and only for processes that we may look into.
pub fn owner(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| listening_inode(&table, port))?;
    let socket = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let holds = fs::read_dir(process.path().join("fd"))
            .ok()?
            .flatten()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == &*socket));
        let command = fs::read_to_string(process.path().join("comm")).ok()?;
        holds.then(|| format!("{} (process {pid})", command.trim()))
    })
}

/// Reads the kernel's socket table: the local address is column 1 in hex, the
/// state is column 3 with `0A` for listening, the inode is column 9.
fn listening_inode(table: &str, port: u16) -> Option<String> {
    let wanted = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let listens = columns.get(3) == Some(&"0A");
        (listens && columns.get(1)?.ends_with(&wanted))
            .then(|| columns.get(9).map(ToString::to_string))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_given_a_port_twice() {
        let mut ports: Vec<u16> = (0..20).map(|_| free_port().unwrap()).collect();
        assert!(ports.iter().all(|port| FREE_PORTS.contains(port)), "{ports:?}");
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 20);
    }

    #[test]
    fn a_taken_port_is_named_with_its_owner() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let message = require_free(&[(port, "ingest")]).unwrap_err().to_string();
        assert!(message.contains(&format!("port {port} (ingest) is taken")));
        if cfg!(target_os = "linux") {
            let us = format!("(process {})", std::process::id());
            assert!(message.contains(&us), "{message}");
        }

        drop(listener);
        require_free(&[(port, "ingest")]).unwrap();
    }
}
