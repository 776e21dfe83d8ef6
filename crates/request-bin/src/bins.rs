//! The bins, and what they have been sent.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use chassis::Clock;
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest as _, Sha256};
use signing::SigningKey;

use crate::answer::Answer;
use crate::config::BinLimits;

/// A bin that was used within this time makes no room for another one.
const BUSY_FOR: TimeDelta = TimeDelta::hours(1);
/// What each request costs beside its bytes.
const OVERHEAD_BYTES: usize = 256;

/// The name by which a bin is looked at. Secret: not part of its URL.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct ViewName(String);

impl fmt::Debug for ViewName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl ViewName {
    fn random() -> Self {
        Self(hex::encode(chassis::entropy::bytes::<16>()))
    }

    pub(crate) fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether it is as hard to guess as one of ours could be.
    pub(crate) fn is_well_formed(text: &str) -> bool {
        text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in the bin's URL. It says nothing of this one.
    pub(crate) fn id(&self) -> String {
        hex::encode(&Sha256::digest(self.0.as_bytes())[..10])
    }
}

/// One request, as it came.
#[derive(Debug)]
pub(crate) struct Captured {
    /// From 1, within its bin.
    pub(crate) number: u64,
    pub(crate) at: DateTime<Utc>,
    pub(crate) method: String,
    /// Path and query, behind the bin's own part.
    pub(crate) path: String,
    /// In the order in which they came; what is no text is spelled out as text.
    pub(crate) headers: Vec<(String, String)>,
    /// Up to the limit.
    pub(crate) body: Bytes,
    /// How long it really was.
    pub(crate) body_bytes: usize,
    /// The status that it was answered with; `None`: with none.
    pub(crate) answered: Option<u16>,
}

impl Captured {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let is_it = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.headers.iter().find(is_it).map(|(_, value)| value.as_str())
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.body_bytes > self.body.len()
    }

    /// Bytes that it takes here.
    pub(crate) fn cost(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(n, v)| n.len() + v.len() + 64).sum();
        self.body.len() + self.path.len() + headers + OVERHEAD_BYTES
    }
}

/// A bin, as it stands.
#[derive(Clone, Debug)]
pub(crate) struct Bin {
    pub(crate) id: String,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) answer: Answer,
    /// Which signatures are checked with.
    pub(crate) keys: Vec<SigningKey>,
    /// The oldest first.
    pub(crate) requests: VecDeque<Arc<Captured>>,
    /// How many have come, those that are gone again included.
    pub(crate) received: u64,
    bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Bins {
    limits: BinLimits,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bins: HashMap<String, Bin>,
    bytes: usize,
}

impl Bins {
    pub(crate) fn new(limits: BinLimits, clock: Clock) -> Self {
        Self { limits, clock, state: Mutex::default() }
    }

    pub(crate) const fn limits(&self) -> &BinLimits {
        &self.limits
    }

    /// Makes a bin. Where there are as many as there may be, one makes room that nobody has
    /// used, or else the one that was used longest ago; `None` when all were used within an hour. One that has this name already begins anew.
    pub(crate) fn create(
        &self,
        name: Option<ViewName>,
        answer: Answer,
        keys: Vec<SigningKey>,
    ) -> Option<(ViewName, Bin)> {
        let name = name.unwrap_or_else(ViewName::random);
        let mut state = self.lock();
        state.remove(&name.id());
        if state.bins.len() >= self.limits.bins {
            let busy_until = self.expires_at() - BUSY_FOR;
            let idle = |bin: &&Bin| bin.received == 0 || bin.expires_at < busy_until;
            let idle = state.bins.values().filter(idle);
            let oldest = idle.min_by_key(|bin| (bin.received > 0, bin.expires_at))?.id.clone();
            state.remove(&oldest);
        }
        let bin = Bin {
            id: name.id(),
            expires_at: self.expires_at(),
            answer,
            keys,
            requests: VecDeque::new(),
            received: 0,
            bytes: 0,
        };
        state.bins.insert(bin.id.clone(), bin.clone());
        metrics::gauge!("postrider_request_bins")
            .set(u32::try_from(state.bins.len()).unwrap_or(u32::MAX));
        Some((name, bin))
    }

    /// The bin, which lasts on from now.
    pub(crate) fn look(&self, name: &ViewName) -> Option<Bin> {
        self.change(name, |bin| bin.clone())
    }

    /// Changes a bin, which lasts on from now.
    pub(crate) fn change<T>(
        &self,
        name: &ViewName,
        change: impl FnOnce(&mut Bin) -> T,
    ) -> Option<T> {
        let expires_at = self.expires_at();
        let mut state = self.lock();
        let bin = state.bins.get_mut(&name.id())?;
        bin.expires_at = expires_at;
        Some(change(bin))
    }

    /// Forgets what a bin was sent.
    pub(crate) fn clear(&self, name: &ViewName) -> bool {
        let mut state = self.lock();
        let Some(bin) = state.bins.get_mut(&name.id()) else { return false };
        let freed = std::mem::take(&mut bin.bytes);
        bin.requests.clear();
        state.bytes -= freed;
        true
    }

    /// Ends a bin.
    pub(crate) fn delete(&self, name: &ViewName) -> bool {
        self.lock().remove(&name.id())
    }

    /// How the next request of the bin with this URL is answered. Counts it.
    pub(crate) fn next_answer(&self, id: &str) -> Option<Answer> {
        let expires_at = self.expires_at();
        let mut state = self.lock();
        let bin = state.bins.get_mut(id)?;
        bin.expires_at = expires_at;
        Some(bin.answer.next())
    }

    /// Keeps a request, and drops what is too much.
    pub(crate) fn keep(&self, id: &str, mut request: Captured) {
        let mut state = self.lock();
        let Some(bin) = state.bins.get_mut(id) else { return };
        bin.received += 1;
        request.number = bin.received;
        let cost = request.cost();
        bin.bytes += cost;
        bin.requests.push_back(Arc::new(request));
        let is_full = bin.requests.len() > self.limits.requests_per_bin;
        let freed = if is_full { bin.drop_oldest() } else { 0 };
        state.bytes = state.bytes + cost - freed;
        while state.bytes > self.limits.memory_bytes {
            let Some(largest) = state.bins.values_mut().max_by_key(|bin| bin.bytes) else { break };
            let freed = largest.drop_oldest();
            state.bytes -= freed;
        }
    }

    fn expires_at(&self) -> DateTime<Utc> {
        self.clock.now() + TimeDelta::from_std(self.limits.lifetime).unwrap_or(TimeDelta::MAX)
    }

    /// What is over is gone before anybody sees it.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let State { bins, bytes } = &mut *state;
        bins.retain(|_, bin| {
            let lasts = bin.expires_at > now;
            if !lasts {
                *bytes -= bin.bytes;
            }
            lasts
        });
        state
    }
}

impl State {
    fn remove(&mut self, id: &str) -> bool {
        let Some(bin) = self.bins.remove(id) else { return false };
        self.bytes -= bin.bytes;
        true
    }
}

impl Bin {
    /// Returns how many bytes that frees.
    fn drop_oldest(&mut self) -> usize {
        let freed = self.requests.pop_front().map_or(0, |oldest| oldest.cost());
        self.bytes -= freed;
        freed
    }
}

#[cfg(test)]
mod tests;
