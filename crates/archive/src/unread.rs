//! What an earlier version could not read, and has kept for this one.
//!
//! A page is read into history like messages of the broker, by inserts that can be repeated, and is
//! taken away afterwards: dying between the two repeats the inserts. What this version
//! cannot read either stays for the next one, until it is as old as unread messages are kept.

use std::time::Duration;

use chassis::Clock;
use prost::bytes::Bytes;
use store::{Store, StoreError};

use crate::days::Days;
use crate::projection::Source;
use crate::rows::Rows;

/// How often to look for what an earlier version has kept: some of them may still run.
const EVERY: Duration = Duration::from_secs(300);
/// How soon to look again when the database could not do it.
const AGAIN: Duration = Duration::from_secs(15);

/// Reads what was kept.
pub(crate) struct UnreadMessages {
    store: Store,
    days: Days,
    clock: Clock,
    /// Up to here all has been tried.
    tried: i64,
}

impl UnreadMessages {
    pub(crate) fn new(store: Store, days: Days, clock: Clock) -> Self {
        Self { store, days, clock, tried: 0 }
    }

    /// Looks again and again, until the process ends.
    pub(crate) async fn read(mut self) {
        loop {
            let pause = match self.pages().await {
                Ok(()) => EVERY,
                Err(error) => {
                    tracing::warn!(%error, "what an earlier version has kept cannot be read");
                    AGAIN
                }
            };
            self.clock.sleep(pause).await;
        }
    }

    async fn pages(&mut self) -> Result<(), StoreError> {
        loop {
            let page = self.store.unread_after(self.tried).await?;
            let Some(last) = page.last() else { return Ok(()) };
            let last = last.id;
            let mut rows = Rows::default();
            let mut flawed = Vec::new();
            for (number, kept) in page.iter().enumerate() {
                let Some(source) = Source::parse(&kept.stream) else { continue };
                let payload = Bytes::copy_from_slice(&kept.payload);
                if !rows.read(source, number, &payload).is_empty() {
                    flawed.push(number);
                }
            }
            for refused in rows.write(&self.store, &self.days).await? {
                let kept = &page[refused.message];
                tracing::error!(
                    error = %refused.error,
                    stream = kept.stream,
                    sequence = kept.sequence,
                    "history lacks something that cannot be stored"
                );
                flawed.push(refused.message);
            }
            let read = page.iter().enumerate().filter(|(number, _)| !flawed.contains(number));
            let read: Vec<i64> = read.map(|(_, kept)| kept.id).collect();
            // Dying here reads them once more, which changes nothing.
            self.store.delete_unread(&read).await?;
            if !read.is_empty() {
                tracing::info!(
                    messages = read.len(),
                    "what an earlier version could not read is in history now"
                );
            }
            self.tried = last;
        }
    }
}
