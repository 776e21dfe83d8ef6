//! How many connections a door holds.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use tokio_util::sync::CancellationToken;

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
    /// Connections by number.
    known: HashMap<u64, Known>,
    /// Those that wait for a request, in the order in which they make room: first those on
    /// which none has ever come, of these the one that has waited longest.
    waiting: BTreeMap<Turn, u64>,
    turns: u64,
    told: Option<Instant>,
}

/// Whether a request has come before, and since when none is under way.
type Turn = (bool, u64);

/// A connection.
#[derive(Debug)]
struct Known {
    address: IpAddr,
    turn: Option<Turn>,
    leave: CancellationToken,
}

impl Gate {
    pub(super) fn new(door: &'static str, limits: &Limits) -> Self {
        let Limits { connections, per_address, .. } = *limits;
        Self(Arc::new(Inner { door, connections, per_address, held: Mutex::default() }))
    }

    /// Lets one more connection in, for as long as the place is kept. Where all places are
    /// taken, one on which no request is under way makes room. The error says why not.
    pub(super) fn enter(&self, address: IpAddr) -> Result<Place, &'static str> {
        let Inner { door, connections, per_address, .. } = *self.0;
        let address = network(address);
        let mut held = self.held();
        let of_address = held.of.get(&address).copied().unwrap_or_default();
        let why = match () {
            () if of_address >= per_address => "address_full",
            () if held.all >= connections && !held.make_room(door) => "full",
            () => {
                held.all += 1;
                *held.of.entry(address).or_default() += 1;
                held.turns += 1;
                let (number, leave) = (held.turns, CancellationToken::new());
                let known = Known { address, turn: None, leave: leave.clone() };
                held.known.insert(number, known);
                tell(door, held.all);
                return Ok(Place { gate: self.clone(), number, leave });
            }
        };
        held.warn(door, why, address);
        Err(why)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Has a connection leave that waits for a request. Its place is free at once.
    fn make_room(&mut self, door: &'static str) -> bool {
        let Some((_, number)) = self.waiting.pop_first() else { return false };
        let Some(Known { address, leave, .. }) = self.known.remove(&number) else { return false };
        leave.cancel();
        self.give_back(address);
        let why = "made_room";
        metrics::counter!("postrider_callers_refused_total", "door" => door, "why" => why)
            .increment(1);
        self.warn(door, why, address);
        true
    }

    fn give_back(&mut self, address: IpAddr) {
        self.all -= 1;
        let left = self.of.get_mut(&address).map_or(0, |of| {
            *of -= 1;
            *of
        });
        if left == 0 {
            self.of.remove(&address);
        }
    }

    fn warn(&mut self, door: &'static str, why: &'static str, address: IpAddr) {
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            tracing::warn!(door, why, %address, held = self.all, "connections are refused");
        }
    }
}

/// A connection's place. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    gate: Gate,
    number: u64,
    leave: CancellationToken,
}

impl Place {
    /// No request is under way: the place can be asked back from now on.
    pub(super) fn waits(&self, has_asked: bool) {
        let mut held = self.gate.held();
        held.turns += 1;
        let turn = (has_asked, held.turns);
        let Some(known) = held.known.get_mut(&self.number) else { return };
        let before = known.turn.replace(turn);
        held.waiting.insert(turn, self.number);
        if let Some(before) = before {
            held.waiting.remove(&before);
        }
    }

    /// A request is under way, and has the place until it is answered.
    pub(super) fn is_busy(&self) {
        let mut held = self.gate.held();
        let turn = held.known.get_mut(&self.number).and_then(|known| known.turn.take());
        if let Some(turn) = turn {
            held.waiting.remove(&turn);
        }
    }

    /// Cancelled when another connection has got the place.
    pub(super) fn leave(&self) -> CancellationToken {
        self.leave.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.gate.held();
        // A connection that has made room has given it back already.
        let Some(Known { address, turn, .. }) = held.known.remove(&self.number) else { return };
        if let Some(turn) = turn {
            held.waiting.remove(&turn);
        }
        held.give_back(address);
        tell(self.gate.0.door, held.all);
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
    fn who_waits_makes_room_and_who_is_busy_does_not() {
        let limits = Limits { connections: 3, per_address: 3, ..Limits::default() };
        let gate = Gate::new("test", &limits);
        let address = |n: u8| IpAddr::from([192, 0, 2, n]);
        let places = [1, 2, 3].map(|n| gate.enter(address(n)).unwrap());
        let [idle, silent, busy] = &places;
        assert_eq!(gate.enter(address(4)).unwrap_err(), "full");
        idle.waits(true);
        silent.waits(false);
        busy.waits(false);
        busy.is_busy();
        let has_left = || [idle, silent, busy].map(|place| place.leave().is_cancelled());
        let _fourth = gate.enter(address(4)).unwrap();
        assert_eq!(has_left(), [false, true, false], "who has never asked");
        let _fifth = gate.enter(address(5)).unwrap();
        assert_eq!(has_left(), [true, true, false], "who has asked and waits");
        assert_eq!(gate.enter(address(6)).unwrap_err(), "full");
        drop(places);
        let held = gate.held();
        assert_eq!((held.all, held.of.len(), held.known.len(), held.waiting.len()), (2, 2, 2, 0));
    }

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
