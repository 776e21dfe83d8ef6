//! Settings of archive.

use chassis::Env;
use store::StoreConfig;
use store::history::Retention;

/// How history is kept.
#[derive(Clone, Debug)]
pub struct ArchiveConfig {
    /// The database.
    pub store: StoreConfig,
    /// Messages that are pulled, and stored in one transaction, at most.
    pub batch: usize,
    /// How many days are kept.
    pub retention: Retention,
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
            retention: retention(env),
        };
        env.check((1..=10_000).contains(&config.batch), || {
            format!("POSTRIDER_ARCHIVE_BATCH: expected 1 to 10000, found {}", config.batch)
        });
        config
    }
}

fn retention(env: &mut Env) -> Retention {
    let retention = Retention {
        events_days: env.read(
            "POSTRIDER_RETENTION_EVENTS_DAYS",
            "30",
            "Days for which accepted events are kept: for the Events API, the logs and journeys.",
        ),
        routings_days: env.read(
            "POSTRIDER_RETENTION_ROUTINGS_DAYS",
            "30",
            "Days for which it is kept who was to get an event, and who was not.",
        ),
        attempts_days: env.read(
            "POSTRIDER_RETENTION_ATTEMPTS_DAYS",
            "30",
            "Days for which tries at receivers are kept, for failure logs and journeys.",
        ),
        ends_days: env.read(
            "POSTRIDER_RETENTION_ENDS_DAYS",
            "30",
            "Days for which it is kept how deliveries ended.",
        ),
        undelivered_days: env.read(
            "POSTRIDER_RETENTION_UNDELIVERED_DAYS",
            "30",
            "Days for which the bodies of what was not delivered are kept, to be sent again; no more than how deliveries ended.",
        ),
        statistics_days: env.read(
            "POSTRIDER_RETENTION_STATISTICS_DAYS",
            "90",
            "Days for which statistics are kept: how much was tried and delivered, and how long answers took.",
        ),
    };
    let Retention {
        events_days,
        routings_days,
        attempts_days,
        ends_days,
        undelivered_days,
        statistics_days,
    } = retention;
    for (name, days) in [
        ("EVENTS", events_days),
        ("ROUTINGS", routings_days),
        ("ATTEMPTS", attempts_days),
        ("ENDS", ends_days),
        ("UNDELIVERED", undelivered_days),
        ("STATISTICS", statistics_days),
    ] {
        env.check((1..=3_650).contains(&days), || {
            format!("POSTRIDER_RETENTION_{name}_DAYS: expected 1 to 3650, found {days}")
        });
    }
    // Nobody could say of such a body why it was not delivered.
    env.check(undelivered_days <= ends_days, || {
        format!(
            "POSTRIDER_RETENTION_UNDELIVERED_DAYS: expected at most POSTRIDER_RETENTION_ENDS_DAYS, \
             which is {ends_days}, found {undelivered_days}"
        )
    });
    retention
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_body_outlives_the_reason_why_it_is_kept() {
        let problems = |pairs: &[(&str, &str)]| {
            let url =
                ("POSTRIDER_DATABASE_URL", "postgres://postrider:secret@db.example:5432/postrider");
            let pairs = pairs.iter().chain([&url]);
            let mut env = Env::from_pairs(pairs.map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
            ArchiveConfig::read(&mut env);
            let known = env.settings().to_vec();
            env.finish(&known).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(problems(&[]), "");
        assert_eq!(problems(&[("POSTRIDER_RETENTION_UNDELIVERED_DAYS", "7")]), "");
        for (name, days) in [
            ("POSTRIDER_RETENTION_ENDS_DAYS", "7"),
            ("POSTRIDER_RETENTION_UNDELIVERED_DAYS", "31"),
            ("POSTRIDER_RETENTION_EVENTS_DAYS", "0"),
            ("POSTRIDER_RETENTION_ATTEMPTS_DAYS", "4000"),
        ] {
            assert!(problems(&[(name, days)]).contains("POSTRIDER_RETENTION_"), "{name}");
        }
    }
}
