//! Settings of archive.

use chassis::Env;
use store::StoreConfig;

/// How history is kept.
#[derive(Clone, Debug)]
pub struct ArchiveConfig {
    /// The database.
    pub store: StoreConfig,
    /// Messages that are pulled, and stored in one transaction, at most.
    pub batch: usize,
}

impl ArchiveConfig {
    /// Reads the settings.
    pub fn read(env: &mut Env) -> Self {
        let config = Self {
            store: StoreConfig::read(env),
            batch: env.read(
                "POSTRIDER_ARCHIVE_BATCH",
                "1000",
                "Events, or batches of outcomes, that archive stores at once. With large events, a smaller number saves memory.",
            ),
        };
        env.check((1..=10_000).contains(&config.batch), || {
            format!("POSTRIDER_ARCHIVE_BATCH: expected 1 to 10000, found {}", config.batch)
        });
        config
    }
}
