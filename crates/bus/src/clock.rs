//! The broker's clock, by which retries are fired.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;

use crate::{Bus, BusError};

/// An answer that took longer says nothing about the clock.
const SLOWEST: TimeDelta = TimeDelta::seconds(2);

/// What matters here of the description of a stream.
#[derive(Deserialize)]
struct Described {
    /// When the stream's leader wrote it.
    ts: String,
}

impl Bus {
    /// How far the clock of this process is ahead of that of the node which fires retries;
    /// less than nothing if it is behind. Right to half of what the answer took.
    ///
    /// # Errors
    /// When there was no answer, or it took too long.
    pub async fn ahead_of_broker(&self) -> Result<TimeDelta, BusError> {
        let stream = self.0.config.names.deliveries_stream(0);
        let asked_at = self.0.clock.now();
        let described = self.0.jetstream.request(format!("STREAM.INFO.{stream}"), &()).await;
        let took = self.0.clock.now() - asked_at;
        let Described { ts } = described.map_err(BusError::unavailable)?;
        let ts: DateTime<Utc> =
            ts.parse().map_err(|_| BusError::Malformed(format!("{ts} is no moment")))?;
        if took > SLOWEST {
            return Err(BusError::Unavailable("the broker was slow to tell its time".into()));
        }
        Ok(asked_at + took / 2 - ts)
    }
}
