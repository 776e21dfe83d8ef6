//! From one stream into the database: pull, decode, commit, ack.

use std::collections::BTreeSet;
use std::time::Duration;

use bus::{BusError, Consumer, Pull, Pulled};
use chassis::{Clock, Tasks, crash_point};
use store::Store;

use crate::health::Part;
use crate::rows::{Flaw, Rows};
use crate::table::Refused;

/// First pause after a failure; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// How long what a newer version wrote waits for the upgrade of this one, before
/// it is looked at again. It counts as handed out all the while; the broker goes
/// on handing out others up to the consumer's limit, sixteen full batches.
const NEWER_PAUSE: Duration = Duration::from_secs(30);

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
}

/// One stream on its way into the database.
pub(crate) struct Projection {
    pub(crate) source: Source,
    pub(crate) consumer: Consumer,
    pub(crate) batch: usize,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) health: Part,
    pub(crate) tasks: Tasks,
}

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
        let mut pull = self.consumer.pull(self.batch).await?;
        loop {
            let chunk = tokio::select! {
                chunk = pull.next() => chunk,
                () = self.tasks.stopping() => {
                    pull.release().await;
                    return Ok(());
                }
            };
            let Some(chunk) = chunk.transpose()? else { return Ok(()) };
            let chunk = self.gather(&mut pull, chunk).await;
            if let Err(error) = self.store_chunk(&chunk, *pause).await {
                pull.release().await;
                return Err(error);
            }
            *pause = FIRST_PAUSE;
        }
    }

    /// Waits a moment for more to go into the same transaction.
    async fn gather(&self, pull: &mut Pull, mut chunk: Vec<Pulled>) -> Vec<Pulled> {
        let enough = self.clock.sleep(LINGER);
        tokio::pin!(enough);
        while chunk.len() < self.batch {
            tokio::select! {
                more = pull.next() => match more {
                    Some(Ok(more)) => chunk.extend(more),
                    // What is here is stored; the next pull meets the error again.
                    Some(Err(_)) | None => break,
                },
                () = &mut enough => break,
                () = self.tasks.stopping() => break,
            }
        }
        chunk
    }

    /// Stores what these messages hold, then answers each of them.
    ///
    /// Dying before the commit leaves nothing behind, dying after it and before
    /// the acks repeats inserts that then do nothing. The inserts leave out what
    /// belongs to erased accounts; that the broker has it is noted before the
    /// ack, so that it is purged there, whoever dies.
    async fn store_chunk(&self, chunk: &[Pulled], pause: Duration) -> Result<(), Trouble> {
        crash_point("archive.pulled");
        let mut rows = Rows::default();
        let read =
            |(number, pulled): (usize, &Pulled)| rows.read(self.source, number, pulled.payload());
        let flaws: Vec<Vec<Flaw>> = chunk.iter().enumerate().map(read).collect();
        let written = match rows.write(&self.store).await {
            Ok(refused) => self.store.note_late_messages(&accounts(chunk)).await.map(|()| refused),
            Err(error) => Err(error),
        };
        // With the database in trouble all of it comes again, and is told then.
        if let Ok(refused) = &written {
            crash_point("archive.committed");
            self.tell(chunk, &flaws, refused);
        }
        for (pulled, flaws) in chunk.iter().zip(&flaws) {
            match &written {
                Ok(_) if flaws.iter().any(Flaw::is_newer) => pulled.nak(NEWER_PAUSE).await,
                Ok(_) => pulled.ack().await,
                Err(_) => pulled.nak(pause).await,
            }
        }
        written.map(drop).map_err(|error| Trouble::Database(error.to_string()))
    }

    /// Tells of everything in these messages that is not in the database now.
    fn tell(&self, chunk: &[Pulled], flaws: &[Vec<Flaw>], refused: &[Refused]) {
        for row in refused {
            self.set_aside(&chunk[row.message], &row.error);
        }
        let mut newer = None;
        let mut waiting = 0;
        for (pulled, flaws) in chunk.iter().zip(flaws) {
            for flaw in flaws.iter().filter(|flaw| !flaw.is_newer()) {
                self.set_aside(pulled, flaw);
            }
            let found = flaws.iter().find(|flaw| flaw.is_newer());
            waiting += u64::from(found.is_some());
            newer = newer.or(found);
        }
        let Some(flaw) = newer else { return };
        // Meanwhile their stream cannot be trimmed beyond them.
        let stream = self.source.as_str();
        metrics::counter!("postrider_archive_newer_total", "stream" => stream).increment(waiting);
        tracing::warn!(
            %flaw,
            stream,
            messages = waiting,
            retry_in_ms = NEWER_PAUSE.as_millis(),
            "a newer version wrote what this one cannot store: upgrade archive"
        );
    }

    /// Gives an event or one outcome up. It stays in its stream, in the message
    /// with this sequence, until that is trimmed; long enough to look into it.
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

/// Whose these messages are. It stands at the end of every subject, also of
/// messages that cannot be read.
fn accounts(chunk: &[Pulled]) -> Vec<&str> {
    let accounts = chunk.iter().filter_map(|pulled| pulled.subject().rsplit('.').next());
    // Of which none is an account's that the database cannot hold.
    let accounts = accounts.filter(|account| !account.contains('\0'));
    accounts.collect::<BTreeSet<_>>().into_iter().collect()
}
