//! What happened, as one file: a fact a line, in the order in which it was noted.
//!
//! The checker reads nothing else but this and the last state of database and broker, so that
//! a run can be judged again, and by a later checker.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// One line.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Line {
    /// Milliseconds since the run began, by a clock that nobody turns.
    pub(crate) t: u64,
    #[serde(flatten)]
    pub(crate) fact: Fact,
}

/// An event, as its caller knows it.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct Event {
    pub(crate) account: String,
    /// Empty for alerts.
    pub(crate) domain: String,
    pub(crate) event_type: String,
    pub(crate) id: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub(crate) enum Fact {
    /// The first line.
    Began {
        setup: Setup,
        epoch_ms: u64,
    },
    /// A caller hands events over.
    Publish {
        op: u64,
        events: Vec<Event>,
    },
    /// What ingest said of each event: stored, duplicate, or why not. Empty: nothing is known.
    Published {
        op: u64,
        results: Vec<String>,
    },
    /// A customer changes a subscription.
    Change {
        op: u64,
        subscription: Subscription,
        on: bool,
    },
    /// The status; 0: nothing is known.
    Changed {
        op: u64,
        status: u16,
    },
    /// An operator has everything sent again that did not arrive.
    Resend {
        op: u64,
        account: String,
    },
    Resent {
        op: u64,
        status: u16,
    },
    /// A receiver is asked.
    Post(Post),
    /// The receiver answers a post, at this moment.
    Answer {
        post: u64,
    },
    /// The relay has taken a mail.
    Mail {
        delivery: String,
    },
    /// Someone who follows the events of a domain has got these.
    Followed {
        domain: String,
        ids: Vec<String>,
    },
    /// Followers have not come to the end of their lists.
    NotFollowed {
        domains: Vec<String>,
    },
    /// An account was erased, and the operator has the answer.
    Erased {
        account: String,
    },
    /// What a process uses: before the first fault, or when everything is at rest.
    Usage {
        process: String,
        resident_kb: u64,
        files: u64,
        at_rest: bool,
    },
    /// For so long until now, processes waited for a processor nearly all the time: what comes
    /// late then says nothing of the platform.
    Starved {
        ms: u64,
    },
    /// The nemesis begins a fault.
    Fault {
        step: usize,
        fault: String,
        on: Vec<String>,
    },
    /// The nemesis takes it back.
    Healed {
        step: usize,
    },
    /// Deliveries that stand in more than one place at this moment.
    Twice {
        deliveries: Vec<String>,
    },
    /// Something that helps to understand a run.
    Note {
        text: String,
    },
    /// The nemesis has done its last; everything is healed.
    Calm,
    /// Everything came to rest, or the patience was over.
    Rest {
        is_quiet: bool,
        why: String,
    },
}

/// What the run was made with.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) brokers: usize,
    pub(crate) seconds: u64,
    pub(crate) mutant: Option<String>,
    pub(crate) lease_ms: u64,
    pub(crate) events_window_ms: u64,
    pub(crate) deliveries_window_ms: u64,
    pub(crate) send_waits_ms: Vec<u64>,
    pub(crate) alert_waits_ms: Vec<u64>,
    pub(crate) egress_timeout_ms: u64,
    pub(crate) events_max_bytes: u64,
    pub(crate) outcomes_max_bytes: u64,
    /// Tries at one target at once, over all dispatchers.
    #[serde(default)]
    pub(crate) target_concurrency: u64,
    /// Everything is an older version's at first.
    #[serde(default)]
    pub(crate) begins_old: bool,
}

/// Somebody who wants to hear of something at a place.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct Subscription {
    pub(crate) account: String,
    /// Empty: on the account, or an alert.
    pub(crate) domain: String,
    pub(crate) event_type: String,
    pub(crate) url: String,
}

/// One request at a receiver.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Post {
    pub(crate) post: u64,
    pub(crate) url: String,
    pub(crate) delivery: String,
    pub(crate) number: u64,
    pub(crate) event_id: String,
    pub(crate) event_type: String,
    /// What it will be answered; 0: nothing.
    pub(crate) status: u16,
}

/// Notes facts. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Recorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    began: Instant,
    file: Mutex<BufWriter<File>>,
}

impl Recorder {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let file = Mutex::new(BufWriter::new(file));
        Ok(Self(Arc::new(Inner { began: Instant::now(), file })))
    }

    /// Notes it under this moment, which is taken under the same lock that orders the lines.
    pub(crate) fn note(&self, fact: Fact) {
        let mut file = self.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        let line = Line { t: self.now_ms(), fact };
        // Facts hold nothing that JSON cannot.
        if let Ok(text) = serde_json::to_string(&line) {
            let _ = writeln!(file, "{text}");
        }
    }

    pub(crate) fn say(&self, text: impl Into<String>) {
        let text = text.into();
        eprintln!("{:>8.3}  {text}", self.now_ms() as f64 / 1000.0);
        self.note(Fact::Note { text });
    }

    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn flush(&self) -> Result<()> {
        Ok(self.0.file.lock().unwrap_or_else(PoisonError::into_inner).flush()?)
    }
}

pub(crate) fn read(path: &Path) -> Result<Vec<Line>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = BufReader::new(file).lines().enumerate();
    let parse = |(number, line): (usize, std::io::Result<String>)| {
        let line = line?;
        serde_json::from_str(&line).with_context(|| format!("line {}: {line}", number + 1))
    };
    lines.map(parse).collect()
}
