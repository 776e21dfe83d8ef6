//! Whether the streams are there that a role works with.

use crate::{Bus, BusError, StreamsBy};

/// What a role works with.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Needed {
    /// The stream of accepted events.
    Events,
    /// The delivery streams, all of them.
    Deliveries,
    /// The stream of outcomes.
    Outcomes,
    /// The bucket of settings.
    Settings,
    /// The bucket of targets in trouble, which a broker that starts again has lost.
    Targets,
}

impl Needed {
    /// All that there is.
    pub const ALL: [Self; 5] =
        [Self::Events, Self::Deliveries, Self::Outcomes, Self::Settings, Self::Targets];

    /// Its name, in `/readyz` and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "stream EVENTS",
            Self::Deliveries => "stream DELIVERIES",
            Self::Outcomes => "stream OUTCOMES",
            Self::Settings => "bucket settings",
            Self::Targets => "bucket targets",
        }
    }

    /// What is lost along with it; `None` where everything can be had from elsewhere.
    pub const fn takes_along(self) -> Option<&'static str> {
        match self {
            Self::Events => Some("events that were accepted and not routed yet"),
            Self::Deliveries => Some("deliveries that had not ended"),
            Self::Outcomes => Some("what history did not have yet"),
            Self::Settings | Self::Targets => None,
        }
    }
}

impl Bus {
    /// Whether the broker has all streams of this kind.
    ///
    /// # Errors
    /// [`BusError::Unavailable`], when it cannot be told.
    pub async fn has(&self, needed: Needed) -> Result<bool, BusError> {
        let config = &self.0.config;
        let names = match needed {
            Needed::Events => vec![config.names.events_stream()],
            Needed::Outcomes => vec![config.names.outcomes_stream()],
            Needed::Settings => vec![format!("KV_{}", config.names.settings_bucket())],
            Needed::Targets => vec![format!("KV_{}", config.names.targets_bucket())],
            Needed::Deliveries => {
                (0..config.shards).map(|shard| config.names.deliveries_stream(shard)).collect()
            }
        };
        for name in names {
            if self.stream_if_there(&name).await?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether this process makes streams that are missing.
    pub fn makes_streams(&self) -> bool {
        self.0.config.streams_by == StreamsBy::Us
    }

    /// Makes again what streams and buckets are missing, as at the start. What was in
    /// them does not come back.
    ///
    /// # Errors
    /// As with [`Bus::connect`].
    pub async fn make_missing(&self) -> Result<(), BusError> {
        self.ensure_streams().await
    }
}
