//! How many connections a door holds.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

use crate::Env;

/// How often it is logged that connections are refused.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// The share of the files that a process may open which one door may take: there are up to
/// six doors in a process, and what goes out needs files, too.
const SHARE_OF_FILES: u64 = 8;

/// How many connections, and how long each may keep one waiting.
#[derive(Clone, Debug)]
pub struct Limits {
    /// All together.
    pub connections: usize,
    /// From one address; from one network of 64 bits, where that is IPv6.
    pub per_address: usize,
    /// For the first byte, and for a head from its first byte on.
    pub head_within: Duration,
    /// From one request to the next. Longer than load balancers keep connections that they
    /// do not use, most of them for 60 s: whoever closes first must not be us.
    pub idle_for: Duration,
    /// For a whole body, from its head on.
    pub body_within: Duration,
    /// For the next 16 KiB of an answer to be taken.
    pub taken_within: Duration,
}

impl Limits {
    /// Reads the settings.
    pub fn read(env: &mut Env) -> Self {
        let connections = env.read(
            "POSTRIDER_CONNECTIONS",
            "4096",
            "Connections that each listener holds at once. Never more than an eighth of the files that the process may open.",
        );
        let per_address = env.read(
            "POSTRIDER_CONNECTIONS_PER_ADDRESS",
            "1024",
            "Of these, connections from one address (or one IPv6 network of 64 bits). Behind a proxy all have the proxy's.",
        );
        for (name, number) in [
            ("POSTRIDER_CONNECTIONS", connections),
            ("POSTRIDER_CONNECTIONS_PER_ADDRESS", per_address),
        ] {
            env.check(number > 0, || format!("{name}: expected at least 1, found 0"));
        }
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / SHARE_OF_FILES;
        let files = usize::try_from(files).unwrap_or(usize::MAX).max(1);
        Self { connections: files.min(connections), per_address, ..Self::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            per_address: 1_024,
            head_within: Duration::from_secs(10),
            idle_for: Duration::from_secs(75),
            body_within: Duration::from_secs(30),
            taken_within: Duration::from_secs(30),
        }
    }
}

/// Counts the connections of a door. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    door: &'static str,
    connections: usize,
    per_address: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    of: HashMap<IpAddr, usize>,
    told: Option<Instant>,
}

impl Gate {
    pub(super) fn new(door: &'static str, limits: &Limits) -> Self {
        let Limits { connections, per_address, .. } = *limits;
        Self(Arc::new(Inner { door, connections, per_address, held: Mutex::default() }))
    }

    /// Lets one more connection in, for as long as the place is kept. The error says why not.
    pub(super) fn enter(&self, address: IpAddr) -> Result<Place, &'static str> {
        let Inner { door, connections, per_address, .. } = *self.0;
        let address = network(address);
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = held.of.get(&address).copied().unwrap_or_default();
        let why = match () {
            () if held.all >= connections => "full",
            () if of_address >= per_address => "address_full",
            () => {
                held.all += 1;
                held.of.insert(address, of_address + 1);
                tell(door, held.all);
                return Ok(Place { gate: self.clone(), address });
            }
        };
        if held.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            held.told = Some(Instant::now());
            tracing::warn!(door, why, %address, held = held.all, "connections are refused");
        }
        Err(why)
    }
}

/// A connection's place. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    gate: Gate,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Inner { door, held, .. } = &*self.gate.0;
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        held.all -= 1;
        tell(door, held.all);
        let left = held.of.get_mut(&self.address).map_or(0, |of| {
            *of -= 1;
            *of
        });
        if left == 0 {
            held.of.remove(&self.address);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "there are never so many connections")]
fn tell(door: &'static str, connections: usize) {
    metrics::gauge!("postrider_connections", "door" => door).set(connections as f64);
}

/// The addresses that one stranger has: of IPv6, 64 bits are everybody's own.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_network_and_given_back() {
        let limits = Limits { connections: 3, per_address: 2, ..Limits::default() };
        let gate = Gate::new("test", &limits);
        let [one, same, mapped, other] =
            ["2001:db8::1", "2001:db8::ffff:2", "::ffff:192.0.2.1", "192.0.2.1"]
                .map(|address| address.parse::<IpAddr>().unwrap());
        let first = gate.enter(one).unwrap();
        let _second = gate.enter(same).unwrap();
        assert_eq!(gate.enter(one).unwrap_err(), "address_full");
        let third = gate.enter(mapped).unwrap();
        assert_eq!(gate.enter(other).unwrap_err(), "full");
        drop(first);
        let _fourth = gate.enter(other).unwrap();
        drop(third);
        assert_eq!(gate.0.held.lock().unwrap().of[&network(other)], 1);
    }
}
