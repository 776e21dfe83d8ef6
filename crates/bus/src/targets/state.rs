//! What one process knows and has to say, without the broker.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use protocol::v1::{DispatcherBeat, TargetTrouble};

use super::feed::{Changes, Feed, Newest};

/// The most targets of which one process says that they are in trouble, and the
/// most changes that wait to be written. This is what bounds the bucket.
const MOST: usize = 20_000;

#[derive(Debug, Default)]
pub(super) struct State {
    /// What this process says, and what it no longer says but the watch still may.
    own: HashMap<String, Own>,
    /// Targets whose key in the bucket is to be made what `own` says.
    to_write: Newest<()>,
    /// What others say, and until when the broker keeps it.
    theirs: HashMap<String, (TargetTrouble, DateTime<Utc>)>,
    /// The other dispatchers, and when they were last heard of.
    live: HashMap<String, Instant>,
    /// What they last said.
    beats: HashMap<String, DispatcherBeat>,
    /// What this one says.
    own_beat: DispatcherBeat,
    feeds: Vec<Weak<Feed>>,
    versions: u64,
}

#[derive(Debug)]
struct Own {
    /// And until when the broker keeps it; `None`: the target is well.
    trouble: Option<(TargetTrouble, DateTime<Utc>)>,
    /// Raised with each change.
    version: u64,
    /// The revision under which the bucket has it, once confirmed.
    revision: Option<u64>,
}

/// Whether it will be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Said {
    Queued,
    Full,
}

/// What one key of the bucket has come to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Entry {
    Trouble {
        trouble: TargetTrouble,
        expires_at: DateTime<Utc>,
    },
    /// Somebody took it away.
    Closed,
    /// Its time was over.
    Expired,
}

/// What a key of the bucket is to be made.
#[derive(Debug)]
pub(super) struct ToWrite {
    pub(super) target_id: String,
    /// `None`: it is to go.
    pub(super) trouble: Option<(TargetTrouble, DateTime<Utc>)>,
    version: u64,
}

impl State {
    pub(super) fn open(
        &mut self,
        target_id: &str,
        trouble: &TargetTrouble,
        expires_at: DateTime<Utc>,
    ) -> Said {
        self.say(target_id, Some((trouble.clone(), expires_at)))
    }

    pub(super) fn close(&mut self, target_id: &str) -> Said {
        self.theirs.remove(target_id);
        let said = self.say(target_id, None);
        if said == Said::Full {
            // At least it is not written any more.
            self.own.remove(target_id);
        }
        said
    }

    fn say(&mut self, target_id: &str, trouble: Option<(TargetTrouble, DateTime<Utc>)>) -> Said {
        if self.own.len() >= MOST && !self.own.contains_key(target_id) {
            return Said::Full;
        }
        if self.enqueue(target_id) == Said::Full {
            return Said::Full;
        }
        self.versions += 1;
        let own = Own { trouble, version: self.versions, revision: None };
        self.own.insert(target_id.to_owned(), own);
        Said::Queued
    }

    fn enqueue(&mut self, target_id: &str) -> Said {
        if self.to_write.len() >= MOST && !self.to_write.has(target_id) {
            return Said::Full;
        }
        self.to_write.push(target_id, ());
        Said::Queued
    }

    /// Takes up to this many keys that are to be written.
    pub(super) fn take(&mut self, most: usize) -> Vec<ToWrite> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some((target_id, ())) = self.to_write.pop()
        {
            // Another process may have said something newer since.
            if let Some(own) = self.own.get(&target_id) {
                let (trouble, version) = (own.trouble.clone(), own.version);
                taken.push(ToWrite { target_id, trouble, version });
            }
        }
        taken
    }

    /// The broker has it under this revision.
    pub(super) fn written(&mut self, write: &ToWrite, revision: u64) {
        if let Some(own) = self.own.get_mut(&write.target_id)
            && own.version == write.version
        {
            own.revision = Some(revision);
        }
    }

    /// The broker may not have it: write it, or what has come since, again.
    pub(super) fn write_again(&mut self, write: &ToWrite) -> Said {
        self.enqueue(&write.target_id)
    }

    /// Everything that is known, then every change.
    pub(super) fn subscribe(&mut self) -> Changes {
        let feed = Arc::new(Feed::default());
        for (target_id, (trouble, _)) in &self.theirs {
            feed.push(target_id, Some(trouble.clone()));
        }
        self.feeds.push(Arc::downgrade(&feed));
        Changes(feed)
    }

    /// A key of the bucket has changed. Changes come in the order of their revisions.
    pub(super) fn saw(&mut self, target_id: &str, entry: Entry, revision: u64, by_us: bool) {
        let own = self.own.get(target_id);
        let own_revision = own.map(|own| own.revision);
        let own_is_well = own.is_some_and(|own| own.trouble.is_none());
        if by_us {
            self.theirs.remove(target_id);
            if own_is_well && entry == Entry::Closed {
                // The watch is past everything that this has ended.
                self.own.remove(target_id);
            }
            return;
        }
        // What this process has said, or is about to say, on top of it still stands.
        let superseded = matches!(own_revision, Some(Some(written)) if written < revision);
        if superseded {
            self.own.remove(target_id);
        }
        let stands = own_revision.is_some() && !superseded;
        match entry {
            // Older than what this process has found out itself.
            Entry::Trouble { .. } if stands && own_is_well => {}
            Entry::Trouble { trouble, expires_at } => {
                let there = (trouble.clone(), expires_at);
                let known = self.theirs.insert(target_id.to_owned(), there.clone());
                // A load, or a lost bucket, shows again what is known.
                if known != Some(there) {
                    self.tell(target_id, Some(&trouble));
                }
            }
            // Found well by another process, whoever had said that it was not.
            Entry::Closed => {
                let known = self.theirs.remove(target_id).is_some();
                if (known || superseded) && !stands {
                    self.tell(target_id, None);
                }
            }
            // Who said it had its time as well: only what others said is news.
            Entry::Expired => {
                if self.theirs.remove(target_id).is_some() && !stands {
                    self.tell(target_id, None);
                }
            }
        }
    }

    /// Everything that the bucket holds has been seen; these are the targets. Says
    /// whether there is something to write again.
    ///
    /// What this process has said and is not there was lost with the bucket. What
    /// others said and is not there was lost with it too, and stays in force until
    /// they have written it again or its time is over: what they took away has left
    /// a marker, which the broker keeps for longer than anything is left alone.
    pub(super) fn loaded(&mut self, seen: &HashSet<String>) -> bool {
        // The load has shown that what was closed and confirmed is no more.
        self.own.retain(|_, own| own.trouble.is_some() || own.revision.is_none());
        let mut lost = Vec::new();
        for (target_id, own) in &mut self.own {
            if own.trouble.is_some() && !seen.contains(target_id) {
                own.revision = None;
                lost.push(target_id.clone());
            }
        }
        for target_id in &lost {
            // With the queue full, the next load finds it again.
            let _ = self.enqueue(target_id);
        }
        !lost.is_empty()
    }

    /// Forgets what has had its time, should the broker not have said so.
    pub(super) fn sweep(&mut self, now: DateTime<Utc>) {
        self.own.retain(|_, own| own.trouble.as_ref().is_none_or(|(_, at)| *at > now));
        let over = self.theirs.iter().filter(|(_, (_, expires_at))| *expires_at <= now);
        for target_id in over.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.theirs.remove(&target_id);
            if !self.own.contains_key(&target_id) {
                self.tell(&target_id, None);
            }
        }
    }

    pub(super) fn set_beat(&mut self, beat: DispatcherBeat) {
        self.own_beat = beat;
    }

    pub(super) fn own_beat(&self) -> &DispatcherBeat {
        &self.own_beat
    }

    pub(super) fn waiting_elsewhere(&self) -> HashMap<String, u64> {
        let mut waiting = HashMap::new();
        for backlog in self.beats.values().flat_map(|beat| &beat.backlogs) {
            let sum: &mut u64 = waiting.entry(backlog.target_id.clone()).or_default();
            *sum = sum.saturating_add(backlog.waiting);
        }
        waiting
    }

    pub(super) fn accounts_waiting_elsewhere(&self) -> HashMap<String, u64> {
        let mut waiting = HashMap::new();
        for backlog in self.beats.values().flat_map(|beat| &beat.account_backlogs) {
            let sum: &mut u64 = waiting.entry(backlog.account_id.clone()).or_default();
            *sum = sum.saturating_add(backlog.waiting);
        }
        waiting
    }

    /// Another dispatcher has said that it is there.
    pub(super) fn heard(&mut self, instance: &str, beat: DispatcherBeat, now: Instant) {
        self.live.insert(instance.to_owned(), now);
        self.beats.insert(instance.to_owned(), beat);
    }

    /// Another dispatcher has taken its leave.
    pub(super) fn left(&mut self, instance: &str) {
        self.live.remove(instance);
        self.beats.remove(instance);
    }

    /// The broker says that another dispatcher has been silent. That counts if it
    /// was so for this long while we listened, since `since`. After the broker was
    /// away, everybody has been silent, and is about to speak.
    pub(super) fn silent(
        &mut self,
        instance: &str,
        silence: Duration,
        since: Instant,
        now: Instant,
    ) {
        if self.live.get(instance).is_some_and(|heard| !silent_for(*heard, silence, since, now)) {
            return;
        }
        self.left(instance);
    }

    /// Forgets dispatchers that have been silent for this long, of which we have
    /// listened since `since`.
    pub(super) fn forget_silent(&mut self, silence: Duration, since: Instant, now: Instant) {
        self.live.retain(|_, heard| !silent_for(*heard, silence, since, now));
        self.beats.retain(|instance, _| self.live.contains_key(instance));
    }

    /// The other dispatchers.
    pub(super) fn others(&self) -> usize {
        self.live.len()
    }

    fn tell(&mut self, target_id: &str, trouble: Option<&TargetTrouble>) {
        self.feeds.retain(|feed| {
            let Some(feed) = feed.upgrade() else { return false };
            feed.push(target_id, trouble.cloned());
            true
        });
    }
}

/// Whether nothing was heard for this long while we listened.
fn silent_for(heard: Instant, silence: Duration, since: Instant, now: Instant) -> bool {
    now.duration_since(heard.max(since)) >= silence
}

#[cfg(test)]
mod tests;
