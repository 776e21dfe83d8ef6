//! Whether the streams are there that the roles of this process work with.
//!
//! A role without its streams is not ready and says which. They are made again as at the
//! start, by a role that makes streams; settings-api looks for those of all roles. Not at
//! once: a broker that is being put back together, or restored by somebody, must not find
//! empty streams in the place of those that it still has. What was in a stream that is lost
//! does not come back, which is told loudly; what was in the bucket of settings is published
//! anew by settings-api.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bus::{Bus, Needed};
use chassis::{Clock, Readiness};

use crate::roles::Role;

/// How often to look.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How many looks in a row have to miss a stream before it is made again.
const LOOKS: u32 = 6;

/// Looks until the process ends.
pub(crate) async fn watch(bus: Bus, roles: Vec<Role>, readiness: Readiness, clock: Clock) {
    let needed: BTreeSet<Needed> = roles.iter().flat_map(|role| role.needs()).copied().collect();
    let makes_all = bus.makes_streams() && roles.contains(&Role::SettingsApi);
    let watched = if makes_all { Needed::ALL.into() } else { needed.clone() };
    let mut missed: BTreeMap<Needed, u32> = BTreeMap::new();
    loop {
        for stream in &watched {
            let name = stream.as_str();
            let is_there = match bus.has(*stream).await {
                Ok(is_there) => is_there,
                // Whether the broker answers, the connection tells.
                Err(error) => {
                    tracing::debug!(%error, stream = name, "cannot be looked for");
                    continue;
                }
            };
            if needed.contains(stream) {
                readiness.set(name, is_there);
            }
            if is_there {
                if missed.remove(stream).is_some() {
                    tracing::info!(stream = name, "it is there again");
                }
            } else {
                let looks = missed.entry(*stream).or_default();
                *looks += 1;
                if *looks == 1 && needed.contains(stream) {
                    tell_lost(*stream);
                }
            }
        }
        // Nobody restores a bucket that is in memory alone.
        let is_over = |(stream, looks): (&Needed, &u32)| {
            *looks >= LOOKS || *stream == Needed::Targets && missed.len() == 1
        };
        if bus.makes_streams() && missed.iter().any(is_over) {
            match bus.make_missing().await {
                Ok(()) => tracing::warn!("the missing streams were made again, and are empty"),
                Err(error) => tracing::error!(%error, "the missing streams cannot be made again"),
            }
        }
        clock.sleep(LOOK_EVERY).await;
    }
}

fn tell_lost(needed: Needed) {
    let name = needed.as_str();
    metrics::counter!("postrider_streams_lost_total", "stream" => name).increment(1);
    match needed.takes_along() {
        Some(lost) => tracing::error!(stream = name, lost, "the broker has lost a stream"),
        None => tracing::error!(stream = name, "the broker has lost it; it is filled anew"),
    }
}
