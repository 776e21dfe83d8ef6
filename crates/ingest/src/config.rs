//! Settings of the two doors.

use std::net::SocketAddr;
use std::time::Duration;

use chassis::config::{duration, size_bytes};
use chassis::{Door, Env, door};

/// How events are taken.
#[derive(Clone, Debug)]
pub struct IngestConfig {
    /// Where the gRPC service listens.
    pub grpc_addr: SocketAddr,
    /// Where its HTTP/JSON twin listens.
    pub http_addr: SocketAddr,
    /// Who may come in, at both.
    pub door: Door,
    /// Largest event, as it is stored.
    pub max_event_bytes: usize,
    /// Largest request, with all of its events.
    pub max_request_bytes: usize,
    /// Events that may wait for the broker's ack at once, over all callers.
    pub concurrency: usize,
    /// Events of one customer that this process takes in a second; 0 for no limit.
    pub events_per_second: u32,
    /// How many seconds' worth of them may come at once.
    pub events_burst: Duration,
}

impl IngestConfig {
    /// Reads the settings.
    pub fn read(env: &mut Env) -> Self {
        let bytes = |text: &str| {
            usize::try_from(size_bytes(text)?)
                .map_err(|_| format!("{text} is more than this machine can address"))
        };
        let config = Self {
            grpc_addr: env.read(
                "POSTRIDER_INGEST_GRPC_ADDR",
                "127.0.0.1:9090",
                "Where ingest listens for gRPC. Internal: never make it public.",
            ),
            http_addr: env.read(
                "POSTRIDER_INGEST_HTTP_ADDR",
                "127.0.0.1:9091",
                "Where ingest listens for HTTP (`POST /v1/events`). Internal: never make it public.",
            ),
            door: Door::read(env, &door::INGEST),
            max_event_bytes: env.read_with(
                "POSTRIDER_MAX_EVENT_BYTES",
                "256KiB",
                "Largest event that is taken. At most half of the broker's `max_payload`, because what is made of an event carries it along.",
                bytes,
            ),
            max_request_bytes: env.read_with(
                "POSTRIDER_INGEST_MAX_REQUEST_BYTES",
                "64MiB",
                "Largest request to ingest, with all of its events (1,000 at most).",
                bytes,
            ),
            concurrency: env.read(
                "POSTRIDER_INGEST_CONCURRENCY",
                "4096",
                "Events of one process that may wait for the broker's confirmation at once.",
            ),
            events_per_second: env.read(
                "POSTRIDER_ACCOUNT_EVENTS_PER_SECOND",
                "0",
                "Events of one account and its subaccounts that one process takes in a second; 0 for no limit. `postrider admin account update` gives an account a number of its own.",
            ),
            events_burst: env.read_with(
                "POSTRIDER_ACCOUNT_EVENTS_BURST",
                "10s",
                "How many seconds' worth of these an account that was quiet may send at once.",
                duration,
            ),
        };
        env.check(config.events_burst <= Duration::from_secs(3600), || {
            "POSTRIDER_ACCOUNT_EVENTS_BURST: expected at most 1h".into()
        });
        env.check(config.max_event_bytes >= 1024, || {
            "POSTRIDER_MAX_EVENT_BYTES: expected at least 1KiB".into()
        });
        env.check(config.max_request_bytes >= 2 * config.max_event_bytes, || {
            "POSTRIDER_INGEST_MAX_REQUEST_BYTES: must be at least twice POSTRIDER_MAX_EVENT_BYTES"
                .into()
        });
        // Above this the broker client would be the one that waits.
        env.check((1..=16_384).contains(&config.concurrency), || {
            format!(
                "POSTRIDER_INGEST_CONCURRENCY: expected 1 to 16384, found {}",
                config.concurrency
            )
        });
        config
    }

    /// Refuses a limit that the broker could not keep further down the way: a
    /// delivery carries its event, and the record of its end carries the delivery.
    pub(crate) fn check_against(&self, max_payload_bytes: usize) -> anyhow::Result<()> {
        let most = max_payload_bytes / 2;
        anyhow::ensure!(
            self.max_event_bytes <= most,
            "POSTRIDER_MAX_EVENT_BYTES is {} bytes, but the broker's max_payload of \
             {max_payload_bytes} bytes allows {most} at most: lower the one or raise the other",
            self.max_event_bytes
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<IngestConfig, String> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let mut env = Env::from_pairs(pairs);
        let config = IngestConfig::read(&mut env);
        let known = env.settings().to_vec();
        env.finish(&known).map(|()| config).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_fit_each_other_and_the_brokers_default() {
        let config = read(&[]).expect("defaults are right");
        assert_eq!(config.max_event_bytes, 262_144);
        config.check_against(1024 * 1024).expect("256KiB fits into NATS's default of 1MiB");
    }

    #[test]
    fn an_event_that_could_not_travel_on_is_refused_at_start() {
        let config = read(&[("POSTRIDER_MAX_EVENT_BYTES", "512KiB")]).expect("in itself right");
        assert!(config.check_against(1024 * 1024).is_ok());
        let error = config.check_against(1024 * 1024 - 2).expect_err("one byte too many");
        assert!(error.to_string().contains("max_payload"), "{error}");
    }

    #[test]
    fn limits_that_contradict_each_other_are_refused() {
        let error = read(&[
            ("POSTRIDER_INGEST_MAX_REQUEST_BYTES", "300KiB"),
            ("POSTRIDER_INGEST_CONCURRENCY", "0"),
        ])
        .expect_err("two problems");
        assert!(error.contains("POSTRIDER_INGEST_MAX_REQUEST_BYTES"), "{error}");
        assert!(error.contains("POSTRIDER_INGEST_CONCURRENCY"), "{error}");
    }
}
