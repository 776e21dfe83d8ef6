//! Settings documents: written by settings-api, watched by everybody on the
//! path, and fenced, so that an event accepted after a 2xx sees the change.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant};

use async_nats::jetstream::kv::{Entry, Operation, Store, UpdateErrorKind};
use bytes::Bytes;
use chassis::Tasks;
use futures_util::StreamExt as _;
use model::domain_id;
use prost::Message as _;
use protocol::v1::{AccountDocument, DomainDocument};
use tokio::sync::{Mutex, watch};

use crate::bucket::{COMPLETE, created_ms};
use crate::{Bus, BusError};

/// The least time between two questions to the leader.
const FENCE_PACE: Duration = Duration::from_millis(2);
/// What a put has besides the document, in bytes, at most.
const HEADERS: usize = 512;
/// How often the watch looks whether the bucket is still the one that it has loaded.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How often a document is put on top of what somebody else has just put.
const PUT_TRIES: usize = 8;
/// How long the fence waits for the watch before it asks for a new watch.
const FENCE_PATIENCE: Duration = Duration::from_secs(3);

/// What became of a document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Put {
    /// The bucket has it.
    Done,
    /// A newer one is there, of this version, and stays.
    Newer(u64),
}

impl Bus {
    /// Puts an account's document, unless a newer one is there.
    pub async fn put_account(&self, document: &AccountDocument) -> Result<Put, BusError> {
        let version_of = |value| AccountDocument::decode(value).map(|there| there.version);
        let key = format!("account.{}", document.account_id);
        self.put(key, document.version, document.encode_to_vec().into(), version_of).await
    }

    /// Puts a domain's document, unless a newer one is there.
    pub async fn put_domain(&self, document: &DomainDocument) -> Result<Put, BusError> {
        let version_of = |value| DomainDocument::decode(value).map(|there| there.version);
        let key = format!("domain.{}", document.domain_id);
        self.put(key, document.version, document.encode_to_vec().into(), version_of).await
    }

    /// Writes on top of the revision that was looked at. A put that was given up
    /// as lost may still arrive, after a newer one: then it finds another
    /// revision than it expects, and the broker refuses it.
    async fn put(
        &self,
        key: String,
        version: u64,
        document: Bytes,
        version_of: impl Fn(Bytes) -> Result<u64, prost::DecodeError>,
    ) -> Result<Put, BusError> {
        if !self.is_connected() {
            return Err(BusError::Unavailable("not connected".into()));
        }
        // The client says of it that the broker did not answer.
        if document.len() + HEADERS > self.max_payload_bytes() {
            return Err(BusError::TooLarge);
        }
        let backwards = chassis::mutant("outbox_put_backwards");
        let bucket = self.settings_bucket().await?;
        for _ in 0..PUT_TRIES {
            let there = bucket.entry(&key).await.map_err(BusError::unavailable)?;
            let revision = match there {
                Some(there) if there.operation == Operation::Put => {
                    // One that cannot be read is replaced.
                    if let Ok(newer) = version_of(there.value)
                        && newer > version
                        && !backwards
                    {
                        return Ok(Put::Newer(newer));
                    }
                    there.revision
                }
                Some(there) => there.revision,
                None => 0,
            };
            match bucket.update(&key, document.clone(), revision).await {
                Ok(_) => return Ok(Put::Done),
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {}
                Err(error) => return Err(BusError::unavailable(error)),
            }
        }
        Err(BusError::Unavailable(format!("{key} is being written by others all the time")))
    }

    pub(crate) async fn settings_bucket(&self) -> Result<Store, BusError> {
        let name = self.0.config.names.settings_bucket();
        self.0.jetstream.get_key_value(name).await.map_err(BusError::unavailable)
    }
}

/// The documents as of one revision of the bucket.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// What the bucket says of its being complete, if anything.
    complete: Option<bool>,
    /// They are laid over what was in force before, until the bucket is complete.
    is_mended: bool,
    accounts: HashMap<String, Arc<AccountDocument>>,
    account_ids: HashMap<String, String>,
    domains: HashMap<String, Arc<DomainDocument>>,
}

impl Documents {
    /// Whether these are all documents that there are. As long as they are not, what is
    /// not found is not known to be missing.
    pub fn is_complete(&self) -> bool {
        // An older settings-api says nothing of it; a lost bucket is empty.
        !self.is_mended && self.complete.unwrap_or(!self.is_empty())
    }

    /// Whether there is nothing at all.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.domains.is_empty()
    }

    /// Takes the place of what was in force, if these are complete. If they are not, what
    /// was in force stays, with these laid over it; and a process that has just started has
    /// none at all: half of them would suppress what only the other half asks for.
    fn succeed(mut self, before: &Self) -> Self {
        if before.complete.is_some() {
            // Whoever writes here says it: a bucket that says nothing is one that was lost.
            self.complete.get_or_insert(false);
        }
        if self.is_complete() {
            return self;
        }
        let mut mended = before.clone();
        mended.is_mended = true;
        mended.complete = self.complete;
        if !before.is_empty() {
            for account in self.accounts.into_values() {
                mended.apply_account(account);
            }
            mended.domains.extend(self.domains);
        }
        mended
    }

    /// An account by its id.
    pub fn account(&self, account_id: &str) -> Option<&Arc<AccountDocument>> {
        self.accounts.get(account_id)
    }

    /// An account by its name or its id.
    pub fn account_named(&self, name_or_id: &str) -> Option<&Arc<AccountDocument>> {
        let id = self.account_ids.get(name_or_id).map_or(name_or_id, String::as_str);
        self.accounts.get(id)
    }

    /// A domain by its id, deleted ones too.
    pub fn domain(&self, domain_id: &str) -> Option<&Arc<DomainDocument>> {
        self.domains.get(domain_id)
    }

    /// A domain by its name, unless it was deleted.
    pub fn domain_named(&self, name: &str) -> Option<&Arc<DomainDocument>> {
        self.domains.get(&domain_id(name)).filter(|domain| !domain.deleted)
    }

    fn apply(&mut self, key: &str, value: &[u8]) -> Result<(), BusError> {
        let malformed = |error: prost::DecodeError| BusError::Malformed(format!("{key}: {error}"));
        if key == COMPLETE {
            self.complete = Some(!value.is_empty());
        } else if key.starts_with("account.") {
            let account = AccountDocument::decode(value).map_err(malformed)?;
            self.apply_account(Arc::new(account));
        } else if key.starts_with("domain.") {
            let domain = DomainDocument::decode(value).map_err(malformed)?;
            self.domains.insert(domain.domain_id.clone(), Arc::new(domain));
        }
        Ok(())
    }

    /// A document is gone: operators have deleted it, because its account or domain is none.
    fn remove(&mut self, key: &str) {
        if let Some(account_id) = key.strip_prefix("account.") {
            let Some(account) = self.accounts.remove(account_id) else { return };
            if self.account_ids.get(&account.name).is_some_and(|id| id == account_id) {
                self.account_ids.remove(&account.name);
            }
        } else if let Some(domain_id) = key.strip_prefix("domain.") {
            self.domains.remove(domain_id);
        } else if key == COMPLETE {
            self.complete = None;
        }
    }

    fn apply_account(&mut self, account: Arc<AccountDocument>) {
        // An account that was erased has given its name up, and another one may have
        // taken it since.
        if let Some(old) = self.accounts.get(&account.account_id)
            && self.account_ids.get(&old.name) == Some(&account.account_id)
        {
            self.account_ids.remove(&old.name);
        }
        self.account_ids.insert(account.name.clone(), account.account_id.clone());
        self.accounts.insert(account.account_id.clone(), account);
    }
}

/// All settings documents, kept up to date by a watch. Cheap to clone.
#[derive(Clone)]
pub struct Settings(Arc<Watched>);

struct Watched {
    bus: Bus,
    documents: RwLock<Documents>,
    /// Sequence of the bucket up to which `documents` is complete.
    applied: watch::Sender<u64>,
    /// When the bucket was made that is watched; 0 before the first watch.
    loaded_ms: AtomicI64,
    /// Entries that have come in, in all: whether the watch gets on.
    progress: AtomicU64,
    /// Raised to have the watch begin anew.
    restart: watch::Sender<u64>,
    /// When the last fence was begun, and what it found.
    last_fence: Mutex<Option<(Instant, Result<u64, BusError>)>>,
}

impl Settings {
    /// Loads all documents and keeps watching. Returns once the first load is complete.
    pub async fn watch(bus: Bus, tasks: &Tasks) -> Result<Self, BusError> {
        let settings = Self(Arc::new(Watched {
            bus,
            documents: RwLock::default(),
            applied: watch::channel(0).0,
            loaded_ms: AtomicI64::new(0),
            progress: AtomicU64::new(0),
            restart: watch::channel(0).0,
            last_fence: Mutex::new(None),
        }));
        // In the background: attempts in flight read settings until the end of the drain.
        let watching = settings.clone();
        tasks.background(async move { watching.keep_watching().await });
        loop {
            let Err(error) = settings.fence().await else { return Ok(settings) };
            tracing::warn!(%error, "the settings are not loaded yet");
            tokio::select! {
                () = settings.0.bus.0.clock.sleep(Duration::from_millis(500)) => {}
                () = tasks.stopping() => return Err(error),
            }
        }
    }

    /// Waits until this process has seen every change that was made before now,
    /// by the leader's word. Returns the revision of the bucket that is in force.
    ///
    /// Under load, those who ask within the same moment share one question to the
    /// leader, and questions are a moment apart, so that batches fill up.
    pub async fn fence(&self) -> Result<u64, BusError> {
        let asked = Instant::now();
        let mut last = self.0.last_fence.lock().await;
        match &*last {
            // Begun after this call, by somebody else, whose failure is ours too: to ask
            // one after the other would take each of them that long again.
            Some((begun, found)) if *begun >= asked => return found.clone(),
            Some((begun, _)) => {
                let rest = FENCE_PACE.saturating_sub(begun.elapsed());
                // Sleeping for no time at all still costs a tick.
                if !rest.is_zero() {
                    self.0.bus.0.clock.sleep(rest).await;
                }
            }
            None => {}
        }
        let begun = Instant::now();
        let found = self.ask_and_wait().await;
        *last = Some((begun, found.clone()));
        found
    }

    async fn ask_and_wait(&self) -> Result<u64, BusError> {
        for _ in 0..2 {
            let before = *self.0.applied.borrow();
            let (created_ms, last) = self.bucket_state().await?;
            let loaded_ms = self.0.loaded_ms.load(Ordering::Relaxed);
            if last < before || (loaded_ms != 0 && created_ms != loaded_ms) {
                // The bucket was made anew or restored: what was loaded says nothing.
                self.0.applied.send_replace(0);
                self.begin_anew();
            }
            let mut applied = self.0.applied.subscribe();
            let mut progress = self.0.progress.load(Ordering::Relaxed);
            loop {
                let seen = applied.wait_for(|applied| *applied >= last);
                if let Ok(Ok(seen)) = tokio::time::timeout(FENCE_PATIENCE, seen).await {
                    return Ok(*seen);
                }
                // A large bucket takes its time to load; only one that stands still is stuck.
                let now = self.0.progress.load(Ordering::Relaxed);
                if now == progress {
                    break;
                }
                progress = now;
            }
            self.begin_anew();
        }
        Err(BusError::Unavailable("the settings watch does not catch up".into()))
    }

    fn begin_anew(&self) {
        self.0.restart.send_modify(|times| *times += 1);
    }

    /// Reads the documents. Keep it short: the watch waits meanwhile.
    pub fn read<T>(&self, read: impl FnOnce(&Documents) -> T) -> T {
        read(&self.0.documents.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether all documents are loaded that there are, see [`Documents::is_complete`].
    pub fn is_complete(&self) -> bool {
        self.read(Documents::is_complete)
    }

    /// When the bucket was made, and its last sequence.
    async fn bucket_state(&self) -> Result<(i64, u64), BusError> {
        let names = &self.0.bus.0.config.names;
        let stream = format!("KV_{}", names.settings_bucket());
        let stream = self.0.bus.0.jetstream.get_stream_no_info(stream).await;
        let info = stream.map_err(BusError::unavailable)?.get_info().await;
        let info = info.map_err(BusError::unavailable)?;
        Ok((created_ms(&info), info.state.last_sequence))
    }

    /// Ends when the bucket is another one than this: a watch of one that is gone stands
    /// still, or goes on in the middle of the new one.
    async fn is_made_anew(&self, created_ms: i64) {
        loop {
            self.0.bus.0.clock.sleep(LOOK_EVERY).await;
            if self.bucket_state().await.is_ok_and(|(now, _)| now != created_ms) {
                return;
            }
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, Documents> {
        self.0.documents.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, documents: Documents) {
        let mut in_force = self.write();
        *in_force = documents.succeed(&in_force);
    }

    async fn keep_watching(&self) {
        loop {
            let error = match self.watch_once().await {
                Ok(()) => "ended".to_owned(),
                Err(error) => error.to_string(),
            };
            tracing::warn!(error, "the settings watch begins again");
            self.0.bus.0.clock.sleep(Duration::from_millis(200)).await;
        }
    }

    /// Loads everything, then follows. What it loads replaces what was there, so
    /// that a bucket which was restored to an older state is taken as it is.
    async fn watch_once(&self) -> Result<(), BusError> {
        let mut restart = self.0.restart.subscribe();
        // Asked before the load: the load covers at least this.
        let (created_ms, at_start) = self.bucket_state().await?;
        self.0.loaded_ms.store(created_ms, Ordering::Relaxed);
        let bucket = self.0.bus.settings_bucket().await?;
        let mut entries = bucket.watch_with_history(">").await.map_err(BusError::unavailable)?;
        let mut loading = Some(Documents::default());
        if at_start == 0 {
            // An empty bucket has no entry that could end the load.
            self.take(Documents::default());
            loading = None;
        }
        let made_anew = self.is_made_anew(created_ms);
        tokio::pin!(made_anew);
        loop {
            let entry = tokio::select! {
                entry = entries.next() => entry,
                _ = restart.changed() => return Ok(()),
                () = &mut made_anew => return Ok(()),
            };
            self.0.progress.fetch_add(1, Ordering::Relaxed);
            let Some(entry) = entry else { return Ok(()) };
            let entry = entry.map_err(BusError::unavailable)?;
            let apply = |documents: &mut Documents| {
                if entry.operation != Operation::Put {
                    documents.remove(&entry.key);
                } else if let Err(error) = documents.apply(&entry.key, &entry.value) {
                    tracing::error!(%error, "a settings document cannot be read");
                }
            };
            match &mut loading {
                Some(documents) => apply(documents),
                None => {
                    let mut documents = self.write();
                    let is_marker = entry.key == COMPLETE;
                    // All of it is loaded once more when it may be complete; before that, a
                    // process that has nothing takes nothing.
                    let may_be_complete =
                        says_complete(&entry) || (!is_marker && documents.complete.is_none());
                    if documents.is_mended && may_be_complete {
                        return Ok(());
                    }
                    if is_marker || !documents.is_mended || !documents.is_empty() {
                        apply(&mut documents);
                    }
                }
            }
            if entry.delta > 0 && loading.is_some() {
                continue;
            }
            let mut complete_to = entry.revision;
            if let Some(documents) = loading.take() {
                self.take(documents);
                complete_to = complete_to.max(at_start);
            }
            self.0.applied.send_replace(complete_to);
        }
    }
}

fn says_complete(entry: &Entry) -> bool {
    entry.key == COMPLETE && entry.operation == Operation::Put && !entry.value.is_empty()
}

#[cfg(test)]
mod tests;
