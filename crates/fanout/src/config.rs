//! Settings of fanout.

use chassis::Env;

/// How fanout works.
#[derive(Clone, Debug)]
pub struct FanoutConfig {
    /// Events in work at once in this process.
    pub slots: usize,
    /// Events asked for in one pull.
    pub batch: usize,
    /// Deliveries waiting above which no more are made.
    pub high_water: u64,
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
