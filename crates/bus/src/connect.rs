//! The connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{ConnectOptions, Event};
use chassis::{Clock, Tasks};
use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::{BusConfig, BusError};

/// The oldest server whose message schedules are right. They came with 2.12, and until here
/// a schedule could get lost in a recovery or stay in flight for ever: a lost delivery.
const OLDEST_SERVER: (u32, u32, u32) = (2, 15, 1);

/// A connection to the broker with all streams in place. Cheap to clone.
#[derive(Clone)]
pub struct Bus(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) client: async_nats::Client,
    pub(crate) jetstream: async_nats::jetstream::Context,
    pub(crate) config: BusConfig,
    pub(crate) clock: Clock,
    /// When the connection was last made, the first time included.
    pub(crate) connected: watch::Receiver<DateTime<Utc>>,
}

impl Bus {
    /// Connects, waiting for a broker that is not there yet, and makes or
    /// updates the streams. Ends with an error when the broker is unsuitable,
    /// or when a stop is asked for meanwhile.
    pub async fn connect(config: BusConfig, clock: Clock, tasks: &Tasks) -> Result<Self, BusError> {
        let mut wait = Duration::from_millis(100);
        loop {
            let error = match Self::try_connect(&config, &clock).await {
                Ok(bus) => return Ok(bus),
                Err(error @ BusError::Unsuitable(_)) => return Err(error),
                Err(error) => error,
            };
            tracing::warn!(%error, retry_in_ms = wait.as_millis(), "the broker is not there yet");
            tokio::select! {
                () = clock.sleep(wait) => {}
                () = tasks.stopping() => return Err(error),
            }
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }

    async fn try_connect(config: &BusConfig, clock: &Clock) -> Result<Self, BusError> {
        let (connects, connected) = watch::channel(clock.now());
        let connect_clock = clock.clone();
        let mut options = ConnectOptions::new()
            .name("postrider")
            .ping_interval(Duration::from_secs(10))
            .request_timeout(Some(Duration::from_secs(5)))
            // Reconnecting is quick at first and never gives up.
            .reconnect_delay_callback(|attempts| {
                Duration::from_millis(50 * (1 << attempts.min(6)) as u64)
            })
            .event_callback(move |event| {
                match event {
                    Event::Connected => {
                        connects.send_replace(connect_clock.now());
                        tracing::info!("connected to the broker");
                    }
                    Event::Disconnected => tracing::warn!("lost the connection to the broker"),
                    other => tracing::warn!(event = %other, "broker connection"),
                }
                std::future::ready(())
            });
        if let Some(path) = &config.credentials {
            options = options.credentials_file(path).await.map_err(|error| {
                BusError::Unsuitable(format!("POSTRIDER_NATS_CREDENTIALS: {error}"))
            })?;
        }
        if let Some((user, password)) = config.url.login() {
            if is_token(&user) {
                // Users who may hear no more than their own inboxes read nothing of each other.
                options = options.custom_inbox_prefix(format!("_INBOX.{user}"));
            }
            options = options.user_and_password(user, password);
        }
        let client = options.connect(config.url.servers()).await.map_err(BusError::unavailable)?;
        let info = client.server_info();
        check_version(&info.version)?;
        let jetstream = ContextBuilder::new()
            .timeout(Duration::from_secs(5))
            .ack_timeout(config.ack_timeout)
            .max_ack_inflight(16_384)
            .backpressure_on_inflight(true)
            .build(client.clone());
        let (config, clock) = (config.clone(), clock.clone());
        let inner = Inner { client, jetstream, config, clock, connected };
        let bus = Self(Arc::new(inner));
        bus.ensure_streams().await?;
        Ok(bus)
    }

    /// When the present connection to the broker was made, or the last one was.
    pub fn connected_since(&self) -> DateTime<Utc> {
        *self.0.connected.borrow()
    }

    /// How many connections there have been, this one included.
    pub(crate) fn connection(&self) -> u64 {
        self.0.client.statistics().connects.load(Ordering::Relaxed)
    }

    /// Whether the connection stands at this moment.
    pub fn is_connected(&self) -> bool {
        self.0.client.connection_state() == State::Connected
    }

    /// The largest message that the broker takes, in bytes.
    pub fn max_payload_bytes(&self) -> usize {
        self.0.client.server_info().max_payload
    }

    /// How this bus was configured.
    pub fn config(&self) -> &BusConfig {
        &self.0.config
    }

    /// Sends what is buffered, acknowledgements above all, before a stop.
    pub async fn flush(&self) {
        let flushed = tokio::time::timeout(Duration::from_secs(2), self.0.client.flush()).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::warn!("the last acknowledgements may not have reached the broker");
        }
    }
}

/// Whether a name can be a part of a subject.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

fn check_version(version: &str) -> Result<(), BusError> {
    let mut parts = version.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    let found = (next(), next(), next());
    if found >= OLDEST_SERVER {
        return Ok(());
    }
    Err(BusError::Unsuitable(format!(
        "this NATS server is {version}; Postrider needs {}.{}.{} or newer, because retries are \
         message schedules, which older servers do not have or may lose",
        OLDEST_SERVER.0, OLDEST_SERVER.1, OLDEST_SERVER.2
    )))
}

#[cfg(test)]
mod tests {
    use super::check_version;

    #[test]
    fn servers_that_lose_schedules_are_refused() {
        for fits in ["2.15.1", "2.15.2", "2.16.0-RC.1", "3.0.0"] {
            assert!(check_version(fits).is_ok(), "{fits}");
        }
        for old in ["2.15.0", "2.14.9", "2.12.0", "2.11.9", "1.4.1", "", "nonsense"] {
            let error = check_version(old).expect_err(old).to_string();
            assert!(error.contains("2.15.1"), "{error}");
        }
    }
}
