//! Settings of fanout.

use std::time::Duration;

use chassis::Env;
use chassis::config::{duration, size_bytes};

/// How fanout works.
#[derive(Clone, Debug)]
pub struct FanoutConfig {
    /// Events in work at once in this process.
    pub slots: usize,
    /// Bytes of events in work at once in this process.
    pub bytes: u64,
    /// Events asked for in one pull.
    pub batch: usize,
    /// Deliveries waiting above which no more are made.
    pub high_water: u64,
    /// What may wait to be routed, and for how long.
    pub unrouted: UnroutedLimits,
}

/// Limits of what cannot be routed.
#[derive(Clone, Debug)]
pub struct UnroutedLimits {
    /// How long an event waits for the settings of its account.
    pub patience: Duration,
    /// How long an event of an unknown kind waits for a fanout that knows it.
    pub kind_patience: Duration,
    /// Events of one account.
    pub account_events: u64,
    /// Size of the events of one account.
    pub account_bytes: u64,
    /// Size of all events.
    pub bytes: u64,
}

impl FanoutConfig {
    /// Reads the settings.
    pub fn read(env: &mut Env) -> Self {
        let config = Self {
            slots: env.read(
                "POSTRIDER_FANOUT_SLOTS",
                "1024",
                "Events that one fanout process works on at once.",
            ),
            bytes: env.read_with(
                "POSTRIDER_FANOUT_BYTES",
                "32MiB",
                "Bytes of events that one fanout process works on at once; each takes its size again for each delivery that is being written.",
                size_bytes,
            ),
            batch: env.read(
                "POSTRIDER_FANOUT_BATCH",
                "256",
                "Events that fanout asks for in one pull.",
            ),
            high_water: env.read(
                "POSTRIDER_DELIVERIES_HIGH_WATER",
                "5000000",
                "Deliveries waiting, due and scheduled, above which fanout makes no more.",
            ),
            unrouted: UnroutedLimits {
                patience: env.read_with(
                    "POSTRIDER_UNROUTED_PATIENCE",
                    "1h",
                    "How long an event waits for the settings of its account, if they are missing, before it is given up: long enough for operators to publish them again.",
                    duration,
                ),
                kind_patience: env.read_with(
                    "POSTRIDER_UNROUTED_KIND_PATIENCE",
                    "24h",
                    "How long an event of a kind that fanout does not know waits for its upgrade before it is given up.",
                    duration,
                ),
                account_events: env.read(
                    "POSTRIDER_UNROUTED_ACCOUNT_EVENTS",
                    "10000",
                    "Events of one account that may wait to be routed; further ones are given up at once.",
                ),
                account_bytes: env.read_with(
                    "POSTRIDER_UNROUTED_ACCOUNT_BYTES",
                    "64MiB",
                    "Size of the events of one account that may wait to be routed.",
                    size_bytes,
                ),
                bytes: env.read_with(
                    "POSTRIDER_UNROUTED_BYTES",
                    "1GiB",
                    "Size of all events that may wait to be routed.",
                    size_bytes,
                ),
            },
        };
        env.check((1..=100_000).contains(&config.slots), || {
            format!("POSTRIDER_FANOUT_SLOTS: expected 1 to 100000, found {}", config.slots)
        });
        env.check((1..=10_000).contains(&config.batch), || {
            format!("POSTRIDER_FANOUT_BATCH: expected 1 to 10000, found {}", config.batch)
        });
        config
    }
}
