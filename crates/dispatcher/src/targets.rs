//! Which target may be tried now, and when the others get their turn.
//!
//! A target is tried by a bounded number of tries at once. One that does not
//! answer, or says that it is too busy, is left alone for a while by a breaker:
//! closed, open, probing. Targets that have not taken anything lately, or that
//! keep a try waiting, share a quarter of all slots, so that however many of them
//! hang, the others find room.
//!
//! What must always hold:
//! - who may not go now gets a moment to come back, spread over time, and holds
//!   neither a slot nor a place with the broker meanwhile; only the short queue
//!   of a target that works fast waits here;
//! - waiting is never charged, and never goes on for ever: at the end of its
//!   schedule a delivery is tried or given up by the caller;
//! - losing all of this costs some tries at targets in trouble, and nothing else.
//!
//! Deliberately absent: the clock and the broker. Moments come in as arguments;
//! what others should know is returned.

mod backlog;
mod breaker;
mod permit;
mod returns;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use model::Wait;
use tokio::sync::oneshot;

use self::backlog::{AccountBacklog, Backlog};
pub(crate) use self::breaker::Change;
use self::breaker::{Breaker, Passage};
pub(crate) use self::permit::Permit;
use self::returns::Returns;

/// How long a success speaks for a target.
const PROVEN_FOR: TimeDelta = TimeDelta::minutes(10);
/// A try that takes longer than this is one of a target that may be hanging.
const HANGS_AFTER: TimeDelta = TimeDelta::seconds(1);
/// How long a delivery may expect to wait here for its turn.
const LONGEST_QUEUE: Duration = Duration::from_millis(500);
/// The share of all slots that one target's queue has.
const QUEUE_SHARE: usize = 8;
/// The share of all slots that targets without a recent success have.
const UNPROVEN_SHARE: usize = 4;
/// Of that share all beyond three eighths is for tenants that have less than an eighth of it, so
/// that one with many targets that answer late leaves room for the new ones of others. And
/// memory: an answer whose head does not end takes half a megabyte.
const UNPROVEN_FOR_ALL: (usize, usize) = (3, 8);
const UNPROVEN_OF_FEW: usize = 8;
/// The shortest wait of a delivery that cannot go. The broker's schedules are
/// not finer. Twice as long each time, up to a bound: whoever comes back in vain
/// has come too early.
const SHORTEST_PARK: TimeDelta = TimeDelta::milliseconds(250);
const MOST_DOUBLINGS: u32 = 6;
/// What a delivery waits that finds its target's breaker open again and again.
const FIRST_REPARK: Duration = Duration::from_secs(5);
const LONGEST_REPARK: Duration = Duration::from_secs(15 * 60);
/// What a try takes, as long as nothing is known.
const USUAL_TRY: Duration = Duration::from_millis(100);
/// Over how long those are spread that found no room in the share of targets
/// without a recent success. A target that has just been added is among them: it
/// is not to wait behind a long backlog of others that hang.
const LONGEST_UNPROVEN_PARK: TimeDelta = TimeDelta::seconds(30);
/// Admissions between two sweeps of what has not been used for long.
const SWEEP_EVERY: u32 = 10_000;

/// How much at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TargetLimits {
    /// Tries at one target at once, over all dispatchers.
    pub(crate) concurrency: u32,
    /// Tries at one target in a second, over all dispatchers.
    pub(crate) rate: Option<f64>,
    /// Tries of this process at once.
    pub(crate) slots: usize,
    /// Deliveries that wait for one target, over all dispatchers.
    pub(crate) backlog: u64,
    /// The longest that a try takes. One that seems to take longer tells of this process,
    /// which was frozen or starved, and not of a target.
    pub(crate) longest_try: Duration,
}

/// What came of a try, as far as the target's state is concerned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Came {
    /// It has taken the delivery.
    Taken,
    /// It has answered, whatever it said.
    Answered,
    /// No answer, or one that says it is in trouble: 502, 503, 504.
    Down,
    /// It asks to be left alone (429, or `Retry-After`), perhaps for this long.
    Busy(Option<Duration>),
    /// Nothing that says anything about the target.
    Unknown,
}

/// Whether a delivery may go now.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It may. Dropping the permit without a report frees its place.
    Go(Permit),
    /// It has its turn soon.
    Queue(oneshot::Receiver<Permit>),
    /// It is to come back at this moment.
    Park { at: DateTime<Utc>, wait: Wait },
}

/// All targets that are in use or in trouble.
#[derive(Debug)]
pub(crate) struct Targets {
    limits: TargetLimits,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    targets: HashMap<String, Target>,
    /// Tries under way at targets without a recent success.
    unproven: usize,
    /// Those of each tenant that has any.
    unproven_of: HashMap<Arc<str>, usize>,
    /// Deliveries that wait here for a turn at such a target.
    unproven_waiters: usize,
    /// When these began, as milliseconds since the epoch, all added up.
    unproven_began_ms: i64,
    /// A moving mean of what they take.
    usual_unproven_try: Duration,
    /// When the next delivery that found no room in that share may come back.
    next_unproven: DateTime<Utc>,
    /// When those come back whose targets are left alone.
    returns: Returns,
    /// Dispatchers that share each target's limits, this one included.
    live: u32,
    /// What the others have sent to later moments, by target.
    waiting_elsewhere: HashMap<String, u64>,
    /// What waits of primary accounts, here and elsewhere.
    accounts: HashMap<String, AccountBacklog>,
    accounts_waiting_elsewhere: HashMap<String, u64>,
    until_sweep: u32,
}

#[derive(Debug)]
struct Target {
    /// The primary account whose target it is.
    primary_id: Arc<str>,
    /// When the tries that are under way began.
    under_way: Vec<DateTime<Utc>>,
    /// Those that have their turn soon.
    queue: VecDeque<Waiter>,
    breaker: Breaker,
    last_success: Option<DateTime<Utc>>,
    /// It said something, and not that it is in trouble.
    last_answer: Option<DateTime<Utc>>,
    /// A moving mean of what a try takes.
    usual_try: Duration,
    /// When the next delivery that cannot go may come back.
    next_free: DateTime<Utc>,
    /// When the rate allows the next try.
    next_by_rate: DateTime<Utc>,
    backlog: Backlog,
    last_used: DateTime<Utc>,
}

/// A delivery that has a turn soon.
#[derive(Debug)]
struct Waiter {
    turn: oneshot::Sender<Permit>,
    /// Whether it counts among [`State::unproven_waiters`].
    is_unproven: bool,
}

impl Target {
    fn new(primary_id: &str, now: DateTime<Utc>) -> Self {
        Self {
            primary_id: primary_id.into(),
            under_way: Vec::new(),
            queue: VecDeque::new(),
            breaker: Breaker::default(),
            last_success: None,
            last_answer: None,
            usual_try: USUAL_TRY,
            next_free: now,
            next_by_rate: now,
            backlog: Backlog::default(),
            last_used: now,
        }
    }

    /// Whether it takes deliveries, as far as one can tell.
    fn is_proven(&self, now: DateTime<Utc>) -> bool {
        self.last_success.is_some_and(|at| now - at < PROVEN_FOR) && !self.hangs(now)
    }

    /// Whether it answers, so that who waits for it here has a turn soon: a receiver that
    /// fails fast has its limit like every other, and whoever waits for it elsewhere comes
    /// back with all the others of its quarter of a second.
    fn answers(&self, now: DateTime<Utc>) -> bool {
        self.last_answer.is_some_and(|at| now - at < PROVEN_FOR) && !self.hangs(now)
    }

    fn hangs(&self, now: DateTime<Utc>) -> bool {
        self.under_way.iter().any(|began| now - *began >= HANGS_AFTER)
    }

    /// What a try takes, as far as one can tell: one that hangs tells by its age.
    fn usual_try(&self, longest: Duration, now: DateTime<Utc>) -> Duration {
        let oldest = self.under_way.iter().min().map(|began| now - *began);
        let age = oldest.and_then(|age| age.to_std().ok()).unwrap_or_default();
        self.usual_try.max(age).min(longest)
    }

    /// The next place in this target's queue, not before `from`; the one after
    /// it is `apart` later.
    fn take_place(&mut self, from: DateTime<Utc>, apart: TimeDelta) -> DateTime<Utc> {
        let at = self.next_free.max(from);
        self.next_free = at + apart;
        at
    }

    /// Nothing is queued, and there is room: whoever comes next waits for those alone that
    /// were sent away before, at the pace at which the target works now.
    fn pull_in(&mut self, most: u32, longest_try: Duration, now: DateTime<Utc>) {
        if self.next_free <= now {
            return;
        }
        let waiting = u32::try_from(self.backlog.waiting(now)).unwrap_or(u32::MAX);
        let room = now + delta((self.usual_try(longest_try, now) / most).saturating_mul(waiting));
        self.next_free = self.next_free.min(room);
    }
}

impl Targets {
    pub(crate) fn new(limits: TargetLimits) -> Arc<Self> {
        let state = State {
            targets: HashMap::new(),
            unproven: 0,
            unproven_of: HashMap::new(),
            unproven_waiters: 0,
            unproven_began_ms: 0,
            usual_unproven_try: USUAL_TRY,
            next_unproven: DateTime::UNIX_EPOCH,
            returns: Returns::default(),
            live: 1,
            waiting_elsewhere: HashMap::new(),
            accounts: HashMap::new(),
            accounts_waiting_elsewhere: HashMap::new(),
            until_sweep: SWEEP_EVERY,
        };
        Arc::new(Self { limits, state: Mutex::new(state) })
    }

    /// Asks for a delivery of this target of a primary account's, which has been parked `parks`
    /// times since it was last tried. `chance` is a random fraction from 0 to 1: those
    /// that wait for the same do not come back together.
    pub(crate) fn admit(
        self: &Arc<Self>,
        primary_id: &str,
        target_id: &str,
        parks: u32,
        chance: f64,
        now: DateTime<Utc>,
    ) -> Admission {
        let mut state = self.lock();
        state.sweep_sometimes(now);
        let live = state.live.max(1);
        let most = self.most_at_once(live);
        let most_unproven = (self.limits.slots / UNPROVEN_SHARE).max(1);
        let longest_try = self.limits.longest_try;
        let unproven_try = state.usual_unproven_try(now).min(longest_try);
        let State {
            targets,
            unproven,
            unproven_of,
            unproven_waiters,
            unproven_began_ms,
            next_unproven,
            returns,
            ..
        } = &mut *state;
        // Most deliveries find their target there, and need no key of their own.
        if !targets.contains_key(target_id) {
            targets.insert(target_id.to_owned(), Target::new(primary_id, now));
        }
        let Some(target) = targets.get_mut(target_id) else {
            unreachable!("it was inserted above")
        };
        target.last_used = now;
        if *target.primary_id != *primary_id {
            // Another dispatcher has told of it first.
            target.primary_id = primary_id.into();
        }

        // What comes after one another at the pace at which the target works.
        let usual_try = target.usual_try(longest_try, now);
        let apart = delta(usual_try / most).max(TimeDelta::microseconds(1));
        let shortest = SHORTEST_PARK * (1 << parks.min(MOST_DOUBLINGS));
        let is_probe = match target.breaker.passage(target.under_way.len(), now) {
            Passage::Free => false,
            Passage::Probe => true,
            Passage::Not(until) => {
                let at = returns.take((now + delta(repark(parks))).max(until), now);
                return Admission::Park { at, wait: Wait::Breaker };
            }
        };
        if target.under_way.len() >= most as usize {
            let ahead = u32::try_from(target.queue.len()).unwrap_or(u32::MAX).saturating_add(1);
            let is_unproven = !target.is_proven(now);
            // Their share of the slots is theirs here, too: where it is used up, a place that
            // becomes free is for whoever asks next, of whichever target.
            let may_wait = !is_unproven
                || target.answers(now) && *unproven + *unproven_waiters < most_unproven;
            if may_wait
                && target.queue.len() < self.limits.slots / QUEUE_SHARE
                && usual_try * ahead / most <= LONGEST_QUEUE
            {
                let (turn, soon) = oneshot::channel();
                *unproven_waiters += usize::from(is_unproven);
                target.queue.push_back(Waiter { turn, is_unproven });
                return Admission::Queue(soon);
            }
            let at = target.take_place(now + shortest.max(delta(usual_try)), apart);
            return Admission::Park { at, wait: Wait::Concurrency };
        }
        if let Some(rate) = self.limits.rate {
            let apart = delta(Duration::from_secs_f64(f64::from(live) / rate));
            if target.next_by_rate > now {
                let at = target.take_place(target.next_by_rate.max(now + SHORTEST_PARK), apart);
                return Admission::Park { at, wait: Wait::Rate };
            }
            target.next_by_rate = now + apart;
        }
        let is_unproven = !target.is_proven(now);
        if is_unproven {
            let of_tenant = unproven_of.get(&target.primary_id).copied().unwrap_or(0);
            let (part, whole) = UNPROVEN_FOR_ALL;
            let is_for_others = !target.primary_id.is_empty()
                && *unproven >= most_unproven * part / whole
                && of_tenant >= (most_unproven / UNPROVEN_OF_FEW).max(1)
                && !chassis::mutant("unproven_of_one");
            if *unproven >= most_unproven || is_for_others {
                // Whoever is new has a place in the line; whoever comes back has
                // seen that it is long, and does not push it further.
                let at = if parks == 0 {
                    if *next_unproven > now + LONGEST_UNPROVEN_PARK {
                        *next_unproven = now;
                    }
                    let at = (*next_unproven).max(now + shortest);
                    let share = u32::try_from(most_unproven).unwrap_or(u32::MAX);
                    *next_unproven = at + delta(unproven_try / share);
                    at
                } else {
                    now + shortest + spread(shortest + delta(unproven_try), chance)
                };
                return Admission::Park { at, wait: Wait::UnprovenShare };
            }
            *unproven_began_ms += now.timestamp_millis();
            *unproven += 1;
            *unproven_of.entry(Arc::clone(&target.primary_id)).or_default() += 1;
        }
        target.under_way.push(now);
        if is_probe {
            target.breaker.probe();
        }
        Admission::Go(Permit {
            targets: Arc::clone(self),
            target_id: target_id.to_owned(),
            began: now,
            ended: None,
            unproven_of: is_unproven.then(|| Arc::clone(&target.primary_id)),
        })
    }

    /// Another dispatcher leaves a target alone until this moment, for the
    /// `streak`th time in a row.
    pub(crate) fn opened_elsewhere(
        &self,
        target_id: &str,
        until: DateTime<Utc>,
        streak: u32,
        now: DateTime<Utc>,
    ) {
        let mut state = self.lock();
        let target = state.targets.entry(target_id.to_owned());
        let target = target.or_insert_with(|| Target::new("", now));
        target.breaker.opened_elsewhere(until, streak, now);
    }

    /// A target that another dispatcher left alone answers again.
    pub(crate) fn closed_elsewhere(&self, target_id: &str) {
        if let Some(target) = self.lock().targets.get_mut(target_id) {
            target.breaker = Breaker::default();
        }
    }

    /// How many dispatchers share each target's limits, this one included.
    pub(crate) fn set_live(&self, live: usize) {
        self.lock().live = u32::try_from(live).unwrap_or(u32::MAX).max(1);
    }

    /// How many tries one target may have under way in this process, of so many that live.
    fn most_at_once(&self, live: u32) -> u32 {
        let live = if chassis::mutant("limit_not_shared") { 1 } else { live.max(1) };
        (self.limits.concurrency / live).max(1)
    }

    /// Targets that are left alone at this moment.
    pub(crate) fn open_breakers(&self, now: DateTime<Utc>) -> usize {
        self.lock().targets.values().filter(|target| target.breaker.is_open(now)).count()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What a try of a target without a recent success takes. Those that hang
    /// tell by their age, which on average is half of what they take.
    fn usual_unproven_try(&self, now: DateTime<Utc>) -> Duration {
        let Some(count) = i64::try_from(self.unproven).ok().filter(|count| *count > 0) else {
            return self.usual_unproven_try;
        };
        let age_ms = now.timestamp_millis() - self.unproven_began_ms / count;
        let age = Duration::from_millis(u64::try_from(age_ms).unwrap_or_default());
        self.usual_unproven_try.max(2 * age)
    }

    fn one_less_of(&mut self, primary_id: &Arc<str>) {
        if let Some(count) = self.unproven_of.get_mut(primary_id) {
            *count -= 1;
            if *count == 0 {
                self.unproven_of.remove(primary_id);
            }
        }
    }

    /// Forgets targets of which nothing is known that matters.
    fn sweep_sometimes(&mut self, now: DateTime<Utc>) {
        self.until_sweep = self.until_sweep.saturating_sub(1);
        if self.until_sweep > 0 {
            return;
        }
        self.until_sweep = SWEEP_EVERY;
        self.accounts.retain(|_, account| !account.backlog.is_empty(now));
        self.targets.retain(|_, target| {
            !target.under_way.is_empty()
                || !target.breaker.is_default()
                || target.next_free > now
                || !target.backlog.is_empty(now)
                || now - target.last_used < PROVEN_FOR
        });
    }
}

fn spread(over: TimeDelta, chance: f64) -> TimeDelta {
    delta(over.to_std().unwrap_or_default().mul_f64(chance.clamp(0.0, 1.0)))
}

/// A fifth of the newest: follows a change within some tries.
fn follow(usual: &mut Duration, took: Duration) {
    *usual = (*usual * 4 + took) / 5;
}

/// What a delivery waits at least that finds its target left alone. It grows with every time.
fn repark(parks: u32) -> Duration {
    FIRST_REPARK.saturating_mul(1 << parks.min(16)).min(LONGEST_REPARK)
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests;
