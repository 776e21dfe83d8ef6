//! How far a consumer is behind its stream.

use async_nats::jetstream::stream::RawMessageErrorKind;
use chrono::{DateTime, Utc};

use crate::floors::moment;
use crate::{Bus, BusError, Consumer};

/// What of a stream a consumer has not done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Lag {
    /// Messages that were not handed out yet.
    pub pending: u64,
    /// Messages that were handed out and not acked.
    pub unacked: u64,
    /// When the broker stored the oldest message of both kinds; `None` when there is none.
    pub oldest: Option<DateTime<Utc>>,
}

impl Lag {
    /// How old the oldest of these messages is, in seconds; 0 when there is none.
    pub fn age_seconds(&self, now: DateTime<Utc>) -> f64 {
        // The two clocks may differ a little; nothing is from the future.
        self.oldest.map_or(0.0, |at| (now - at).as_seconds_f64().max(0.0))
    }
}

impl Consumer {
    /// Asks the broker how far all that share this consumer are behind.
    ///
    /// # Errors
    /// [`BusError::Unavailable`], also while nobody has made the consumer.
    pub async fn lag(&self) -> Result<Lag, BusError> {
        let name = self.config.durable_name.as_deref().unwrap_or_default();
        self.bus.lag_of(&self.stream, name).await
    }
}

impl Bus {
    /// Up to which message of the stream of outcomes history has everything.
    ///
    /// # Errors
    /// [`BusError::Unavailable`], also while archive has never been there.
    pub async fn outcomes_archived_to(&self) -> Result<u64, BusError> {
        let names = &self.0.config.names;
        let stream = self.0.jetstream.get_stream_no_info(names.outcomes_stream()).await;
        let stream = stream.map_err(BusError::unavailable)?;
        // It takes all kinds, so that its floor is that of the stream. Asked of its leader:
        // what is acked there was committed before.
        let info = stream.consumer_info(names.consumer("archive")).await;
        Ok(info.map_err(BusError::unavailable)?.ack_floor.stream_sequence)
    }

    /// As [`Consumer::lag`], by the names of stream and consumer.
    pub(crate) async fn lag_of(&self, stream: &str, consumer: &str) -> Result<Lag, BusError> {
        let stream = self.0.jetstream.get_stream_no_info(stream).await;
        let stream = stream.map_err(BusError::unavailable)?;
        let info = stream.consumer_info(consumer).await.map_err(BusError::unavailable)?;
        let unacked = u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX);
        let mut lag = Lag { pending: info.num_pending, unacked, oldest: None };
        if lag.pending == 0 && lag.unacked == 0 {
            return Ok(lag);
        }
        // Everything up to the floor is done. What follows may have gone since.
        let behind = info.ack_floor.stream_sequence + 1;
        let mut filters = info.config.filter_subjects;
        filters.extend(Some(info.config.filter_subject).filter(|filter| !filter.is_empty()));
        if filters.is_empty() {
            filters.push(">".to_owned());
        }
        for filter in filters {
            match stream.get_first_raw_message_by_subject(filter, behind).await {
                Ok(message) => {
                    let at = Some(moment(message.time));
                    lag.oldest = [lag.oldest, at].into_iter().flatten().min();
                }
                Err(error) if matches!(error.kind(), RawMessageErrorKind::NoMessageFound) => {}
                Err(error) => return Err(BusError::unavailable(error)),
            }
        }
        Ok(lag)
    }
}
