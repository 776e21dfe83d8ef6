//! From one stream into the database: pull, decode, commit, ack.
//!
//! Whatever is pulled is stored and acked, or given back, by the process that holds it: its lease
//! is kept for as long as the database takes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bus::{BusError, Consumer, Pull, Pulled};
use chassis::{Clock, Tasks, crash_point};
use store::history::UnreadRow;
use store::{Store, StoreError};

use crate::days::Days;
use crate::health::Part;
use crate::rows::{Rows, Unread};
use crate::table::Refused;

/// First pause after a failure; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Bytes of messages that are pulled at once. Decoded, as rows and on their way to the
/// database they take several times as much.
const PULL_BYTES: usize = 16 * 1024 * 1024;

/// How often a message is tried alone and in vain before it is set aside unread.
const TRIES: u64 = 30;

/// How long a batch may wait for more: a transaction costs much the same for one
/// row as for a hundred, and nobody waits for history to the tenth of a second.
const LINGER: Duration = Duration::from_millis(200);

/// What is projected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    Events,
    Outcomes,
}

impl Source {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Outcomes => "outcomes",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Events, Self::Outcomes].into_iter().find(|source| source.as_str() == text)
    }
}

/// One stream on its way into the database.
pub(crate) struct Projection {
    pub(crate) source: Source,
    pub(crate) consumer: Consumer,
    pub(crate) batch: usize,
    pub(crate) lease: Duration,
    pub(crate) store: Store,
    pub(crate) days: Days,
    pub(crate) clock: Clock,
    pub(crate) health: Part,
    pub(crate) tasks: Tasks,
}

/// Messages that this process has.
#[derive(Default)]
struct Held {
    pulled: Vec<Pulled>,
    /// Those that were acked or given back, by their place in the stream. Whoever went on
    /// working at them would hold up their return.
    answered: Mutex<HashSet<u64>>,
    /// Whether the pull is over. An error ends it too; the next pull meets it again.
    is_last: bool,
}

impl Held {
    fn take_in(&mut self, more: Option<Result<Vec<Pulled>, BusError>>) {
        match more {
            Some(Ok(more)) => self.pulled.extend(more),
            Some(Err(_)) | None => self.is_last = true,
        }
    }

    fn note_answered(&self, part: &[&Pulled]) {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.extend(part.iter().map(|pulled| pulled.stream_sequence()));
    }

    async fn still_working(&self) {
        for pulled in &self.pulled {
            let is_answered = {
                let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
                answered.contains(&pulled.stream_sequence())
            };
            if !is_answered {
                pulled.still_working().await;
            }
        }
    }
}

/// Why a message is set aside that nobody could look into.
#[derive(Debug, thiserror::Error)]
#[error("it was handed out again and again, alone, and never stored in time")]
struct GivenUp;

/// Why nothing more is pulled for now.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Broker(#[from] BusError),
    #[error("{0}")]
    Database(String),
}

impl Projection {
    /// Runs until a stop is asked for.
    pub(crate) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        while !self.tasks.is_stopping() {
            let trouble = match self.pull(&mut pause).await {
                Ok(()) => continue,
                Err(trouble) => trouble,
            };
            self.health.set(false);
            let stream = self.source.as_str();
            tracing::warn!(%trouble, stream, retry_in_ms = pause.as_millis(), "history waits");
            if matches!(trouble, Trouble::Broker(_)) {
                self.consumer.forget();
            }
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                () = self.tasks.stopping() => return,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One pull, until it has run dry. Asks the database first, so that
    /// nothing is handed out to a process that cannot store it.
    async fn pull(&mut self, pause: &mut Duration) -> Result<(), Trouble> {
        self.consumer.ensure().await?;
        self.store.ping().await.map_err(|error| Trouble::Database(error.to_string()))?;
        self.health.set(true);
        let mut pull = self.consumer.pull_bytes(self.batch, PULL_BYTES).await?;
        // What has come and is not answered yet. The pull's own buffer is emptied into it all
        // the time, so that the lease of each message is kept and none is forgotten there.
        let mut held = Held::default();
        loop {
            if held.pulled.is_empty() {
                if held.is_last || self.tasks.is_stopping() {
                    break;
                }
                let came = tokio::select! {
                    came = pull.next() => came,
                    () = self.tasks.stopping() => None,
                };
                let Some(came) = came.transpose()? else { break };
                held.pulled = came;
            }
            // Also what came while the last batch was stored: alone, it would be a small one.
            self.gather(&mut pull, &mut held).await;
            let mut came = Held { is_last: held.is_last, ..Held::default() };
            let stored = {
                let storing = self.store_all(&held, *pause);
                self.keeping_leases(&mut pull, &held, &mut came, storing).await
            };
            held = came;
            if stored.is_err() || self.tasks.is_stopping() {
                // At once, to whoever can store it.
                for pulled in &held.pulled {
                    pulled.nak(Duration::ZERO).await;
                }
                pull.release().await;
                return stored;
            }
            *pause = FIRST_PAUSE;
        }
        pull.release().await;
        Ok(())
    }

    /// Waits a moment for more to go into the same transaction.
    async fn gather(&self, pull: &mut Pull, held: &mut Held) {
        let enough = self.clock.sleep(LINGER);
        tokio::pin!(enough);
        while held.pulled.len() < self.batch && !held.is_last {
            tokio::select! {
                more = pull.next() => held.take_in(more),
                () = &mut enough => break,
                () = self.tasks.stopping() => break,
            }
        }
    }

    /// Stores, prolongs the leases meanwhile of everything that is here and not answered, and
    /// takes in what comes.
    async fn keeping_leases<T>(
        &self,
        pull: &mut Pull,
        held: &Held,
        came: &mut Held,
        storing: impl Future<Output = T>,
    ) -> T {
        tokio::pin!(storing);
        loop {
            let tick = self.clock.sleep(self.lease / 3);
            tokio::pin!(tick);
            loop {
                tokio::select! {
                    biased;
                    done = &mut storing => return done,
                    more = pull.next(), if !came.is_last => came.take_in(more),
                    () = &mut tick => break,
                }
            }
            if !chassis::mutant("archive_keeps_no_lease") {
                held.still_working().await;
                came.still_working().await;
            }
        }
    }

    /// Stores all of them: those together that came for the first time, and the others in
    /// parts that are smaller each time they come. So a batch that fails, takes too long or
    /// kills its process falls apart until what does so is alone.
    ///
    /// A message that fails alone is no trouble of the database's, as far as anybody knows,
    /// and holds up nothing else.
    async fn store_all(&self, held: &Held, pause: Duration) -> Result<(), Trouble> {
        let mut by_times: BTreeMap<u64, Vec<&Pulled>> = BTreeMap::new();
        for pulled in &held.pulled {
            by_times.entry(pulled.times_handed_out()).or_default().push(pulled);
        }
        let mut outcome = Ok(());
        // What has never failed comes first, so that what may fail again takes nothing with it.
        for (times, pulled) in by_times {
            for part in pulled.chunks(together(pulled.len(), times)) {
                let stored = match part {
                    [alone] if times > TRIES => self.give_up(alone, LONGEST_PAUSE).await,
                    [_] if times > 1 => self.store_chunk(part, patience(times)).await,
                    part => self.store_chunk(part, pause).await,
                };
                held.note_answered(part);
                match stored {
                    Ok(()) => {}
                    Err(error) if part.len() == 1 && times > 1 => {
                        let stream = self.source.as_str();
                        tracing::warn!(%error, stream, times, "a message cannot be stored alone");
                    }
                    Err(error) => outcome = Err(error),
                }
            }
        }
        outcome
    }

    /// Stores what these messages hold, then answers each of them.
    ///
    /// Dying before the commit leaves nothing behind, dying after it and before
    /// the acks repeats inserts that then do nothing. The inserts leave out what
    /// belongs to erased accounts; that the broker has it is noted before the
    /// ack, so that it is purged there, whoever dies.
    async fn store_chunk(&self, chunk: &[&Pulled], pause: Duration) -> Result<(), Trouble> {
        crash_point("archive.pulled");
        if chassis::mutant("archive_ack_before_commit") {
            for pulled in chunk {
                pulled.ack().await;
            }
        }
        let mut rows = Rows::default();
        let read =
            |(number, pulled): (usize, &&Pulled)| rows.read(self.source, number, pulled.payload());
        let unread: Vec<Unread> = chunk.iter().enumerate().flat_map(read).collect();
        let written = self.write(&rows, chunk, &unread).await;
        // With the database in trouble all of it comes again, and is told then.
        if let Ok(refused) = &written {
            crash_point("archive.committed");
            self.tell(chunk, &unread, refused);
        }
        for pulled in chunk {
            match &written {
                Ok(_) => pulled.ack().await,
                Err(_) if chassis::mutant("archive_acks_what_failed") => pulled.ack().await,
                Err(_) => pulled.nak(pause).await,
            }
        }
        written.map(drop).map_err(|error| Trouble::Database(error.to_string()))
    }

    async fn write(
        &self,
        rows: &Rows,
        chunk: &[&Pulled],
        unread: &[Unread],
    ) -> Result<Vec<Refused>, StoreError> {
        let refused = rows.write(&self.store, &self.days).await?;
        let unread = unread.iter().map(|Unread { message, payload, flaw }| {
            self.unread(chunk[*message], payload, flaw.is_newer(), flaw)
        });
        let refused_rows = refused.iter().map(|Refused { message, error }| {
            self.unread(chunk[*message], chunk[*message].payload(), false, error)
        });
        let kept: Vec<UnreadRow> = unread.chain(refused_rows).collect();
        self.store.insert_unread(&kept).await?;
        self.store.note_late_messages(&accounts(chunk)).await?;
        Ok(refused)
    }

    /// A message as it is kept by who cannot read it.
    fn unread(
        &self,
        pulled: &Pulled,
        payload: &[u8],
        is_newer: bool,
        reason: &dyn std::fmt::Display,
    ) -> UnreadRow {
        let account = pulled.subject().rsplit('.').next().unwrap_or_default();
        UnreadRow {
            stream: self.source.as_str().to_owned(),
            sequence: pulled.stream_sequence(),
            account_id: account.to_owned(),
            stored_at: self.clock.now(),
            is_newer,
            reason: reason.to_string(),
            payload: payload.to_vec(),
        }
    }

    /// Sets a message aside that was tried alone, again and again, and was never answered:
    /// it takes too long, or kills its process. It is not looked into any more. Only when its
    /// bytes are stored it is acked, so that a database that stores nothing loses nothing.
    async fn give_up(&self, pulled: &Pulled, pause: Duration) -> Result<(), Trouble> {
        let row = self.unread(pulled, pulled.payload(), false, &GivenUp);
        match self.store.insert_unread(&[row]).await {
            Ok(()) => {
                self.set_aside(pulled, &GivenUp);
                pulled.ack().await;
                Ok(())
            }
            Err(error) => {
                pulled.nak(pause).await;
                Err(Trouble::Database(error.to_string()))
            }
        }
    }

    /// Tells of everything in these messages that is not in history now.
    fn tell(&self, chunk: &[&Pulled], unread: &[Unread], refused: &[Refused]) {
        for row in refused {
            self.set_aside(chunk[row.message], &row.error);
        }
        let (newer, broken): (Vec<&Unread>, _) =
            unread.iter().partition(|unread| unread.flaw.is_newer());
        for unread in broken {
            self.set_aside(chunk[unread.message], &unread.flaw);
        }
        let Some(Unread { flaw, .. }) = newer.first() else { return };
        let (stream, count) = (self.source.as_str(), newer.len());
        metrics::counter!("postrider_archive_newer_total", "stream" => stream)
            .increment(count as u64);
        tracing::warn!(
            %flaw,
            stream,
            count,
            "a newer version wrote what this one cannot read: it is kept until archive is upgraded"
        );
    }

    /// Gives an event or one outcome up. It stays in its stream, in the message with this
    /// sequence, until that is trimmed, and in the table of unread messages for much longer.
    fn set_aside(&self, pulled: &Pulled, error: &dyn std::error::Error) {
        let stream = self.source.as_str();
        metrics::counter!("postrider_archive_set_aside_total", "stream" => stream).increment(1);
        tracing::error!(
            %error,
            stream,
            subject = pulled.subject(),
            sequence = pulled.stream_sequence(),
            "history lacks something that cannot be stored"
        );
    }
}

/// How many messages are stored together of as many that were handed out so often.
fn together(messages: usize, times_handed_out: u64) -> usize {
    let again = u32::try_from(times_handed_out.saturating_sub(1)).unwrap_or(u32::MAX);
    messages.checked_shr(again).unwrap_or(0).max(1)
}

/// How long a message waits that has failed alone.
fn patience(times_handed_out: u64) -> Duration {
    let doubled = u32::try_from(times_handed_out).unwrap_or(u32::MAX).min(8);
    (FIRST_PAUSE * 2_u32.pow(doubled)).min(LONGEST_PAUSE)
}

/// Whose these messages are. It stands at the end of every subject, also of
/// messages that cannot be read.
fn accounts<'a>(chunk: &[&'a Pulled]) -> Vec<&'a str> {
    let accounts = chunk.iter().filter_map(|pulled| pulled.subject().rsplit('.').next());
    // Of which none is an account's that the database cannot hold.
    let accounts = accounts.filter(|account| !account.contains('\0'));
    accounts.collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_falls_apart_in_a_few_rounds() {
        let sizes: Vec<usize> = (1..)
            .scan(1000, |messages, times| {
                *messages = together(*messages, times);
                Some(*messages)
            })
            .take(5)
            .collect();
        assert_eq!(sizes, [1000, 500, 125, 15, 1]);
        assert_eq!(together(1000, u64::MAX), 1);
        assert_eq!(patience(u64::MAX), LONGEST_PAUSE);
    }
}
