//! The bucket of settings as a whole: whether it is there, and whether it is complete.
//!
//! A document that is missing looks like one that never was. So the bucket says itself
//! whether it has all of them: its key [`COMPLETE`] holds the id of the database whose
//! documents they are, and nothing while these are still being published. Readers go by
//! that alone, whatever they have found so far.
//!
//! A version that knows no such key writes documents without it. Then a bucket with any
//! document counts as complete, as it always has, so that new readers work beside an old
//! writer; an empty one never does, because a lost bucket is empty too.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::kv::{CreateErrorKind, Operation, UpdateErrorKind};
use async_nats::jetstream::stream::{Info, Stream};
use prost::Message as _;
use protocol::v1::{AccountDocument, DomainDocument};

use crate::{Bus, BusError};

/// The key that says whether all documents are there.
pub(crate) const COMPLETE: &str = "complete";

/// The bucket of settings, as its leader knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BucketState {
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// How far it has come.
    pub last_sequence: u64,
    /// Whether nothing is in it.
    pub is_empty: bool,
    /// Whose documents are all in it: empty while they are being published, `None`
    /// where nobody has said anything.
    pub complete: Option<String>,
}

/// What the bucket has of one document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InBucket {
    /// Nothing, or it was deleted.
    Missing,
    /// Bytes that are no such document.
    Unreadable,
    /// This version.
    Version(u64),
}

impl Bus {
    /// Looks at the bucket of settings. `None` when the broker does not have it.
    ///
    /// # Errors
    /// [`BusError::Unavailable`].
    pub async fn settings_state(&self) -> Result<Option<BucketState>, BusError> {
        let name = format!("KV_{}", self.0.config.names.settings_bucket());
        let Some(stream) = self.stream_if_there(&name).await? else { return Ok(None) };
        let info = stream.cached_info();
        let entry = self.settings_bucket().await?.entry(COMPLETE).await;
        let entry = entry.map_err(BusError::unavailable)?;
        let entry = entry.filter(|entry| entry.operation == Operation::Put);
        Ok(Some(BucketState {
            created_ms: created_ms(info),
            last_sequence: info.state.last_sequence,
            is_empty: info.state.messages == 0,
            complete: entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned()),
        }))
    }

    /// Says that the documents are being published. Returns the revision of that, for
    /// [`Self::complete_settings`].
    ///
    /// # Errors
    /// [`BusError::Unavailable`].
    pub async fn begin_settings(&self) -> Result<u64, BusError> {
        let bucket = self.settings_bucket().await?;
        bucket.put(COMPLETE, Vec::new().into()).await.map_err(BusError::unavailable)
    }

    /// The same of a bucket in which nothing is yet. To be asked before a document is
    /// put: the first one in a bucket that was lost must not make it look complete.
    ///
    /// # Errors
    /// [`BusError::Unavailable`].
    pub async fn begin_empty_settings(&self) -> Result<(), BusError> {
        let bucket = self.settings_bucket().await?;
        if bucket.stream.cached_info().state.messages > 0 {
            return Ok(());
        }
        match bucket.create(COMPLETE, Vec::new().into()).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(BusError::unavailable(error)),
        }
    }

    /// Says that all documents of this database are there, where nobody has said
    /// anything since this revision; 0 where nobody has at all. Says whether it was so.
    ///
    /// # Errors
    /// [`BusError::Unavailable`].
    pub async fn complete_settings(&self, database_id: &str, since: u64) -> Result<bool, BusError> {
        let bucket = self.settings_bucket().await?;
        match bucket.update(COMPLETE, database_id.to_owned().into(), since).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(false),
            Err(error) => Err(BusError::unavailable(error)),
        }
    }

    /// What the bucket has under the key of a document.
    ///
    /// # Errors
    /// [`BusError::Unavailable`].
    pub async fn settings_version(&self, key: &str) -> Result<InBucket, BusError> {
        let entry = self.settings_bucket().await?.entry(key).await;
        let entry = entry.map_err(BusError::unavailable)?;
        let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else {
            return Ok(InBucket::Missing);
        };
        let version = if key.starts_with("account.") {
            AccountDocument::decode(entry.value).map(|document| document.version)
        } else {
            DomainDocument::decode(entry.value).map(|document| document.version)
        };
        Ok(version.map_or(InBucket::Unreadable, InBucket::Version))
    }

    /// Deletes a document. Those who watch the bucket hear of it.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]. Doing it again does no harm.
    pub async fn delete_document(&self, key: &str) -> Result<(), BusError> {
        let bucket = self.settings_bucket().await?;
        bucket.purge(key).await.map_err(BusError::unavailable)
    }

    /// Removes what tells of a deleted document. Says whether it was deleted: one that has
    /// come back stays.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]. Doing it again does no harm.
    pub async fn remove_deleted(&self, key: &str) -> Result<bool, BusError> {
        if self.settings_version(key).await? != InBucket::Missing {
            return Ok(false);
        }
        let bucket = self.0.config.names.settings_bucket();
        let stream = self.0.jetstream.get_stream_no_info(format!("KV_{bucket}")).await;
        let stream = stream.map_err(BusError::unavailable)?;
        let purged = stream.purge().filter(format!("$KV.{bucket}.{key}")).await;
        purged.map_err(BusError::unavailable)?;
        Ok(true)
    }

    /// A stream with what its leader says of it; `None` when the broker has none of
    /// this name.
    pub(crate) async fn stream_if_there(&self, name: &str) -> Result<Option<Stream>, BusError> {
        match self.0.jetstream.get_stream(name).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(refusal)
                    if refusal.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(BusError::unavailable(format!("stream {name}: {error}"))),
            },
        }
    }
}

/// When a stream was made, in milliseconds since 1970.
pub(crate) fn created_ms(info: &Info) -> i64 {
    i64::try_from(info.created.unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
}
