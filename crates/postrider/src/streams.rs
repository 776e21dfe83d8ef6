//! Whether the streams are there that the roles of this process work with.
//!
//! A role without its streams is not ready and says which. They are made again as at the
//! start of any process, but not at once: a broker that is being put back together, or
//! restored by somebody, must not find empty streams in the place of those that it still
//! has. What was in a stream that is lost does not come back, which is told loudly; what
//! was in the bucket of settings is published anew by settings-api.

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
    let mut missed: BTreeMap<Needed, u32> = BTreeMap::new();
    loop {
        for needed in &needed {
            let name = needed.as_str();
            match bus.has(*needed).await {
                Ok(true) => {
                    readiness.set(name, true);
                    if missed.remove(needed).is_some() {
                        tracing::info!(stream = name, "it is there again");
                    }
                }
                Ok(false) => {
                    readiness.set(name, false);
                    let looks = missed.entry(*needed).or_default();
                    *looks += 1;
                    if *looks == 1 {
                        tell_lost(*needed);
                    }
                }
                // Whether the broker answers, the connection tells.
                Err(error) => tracing::debug!(%error, stream = name, "cannot be looked for"),
            }
        }
        if missed.values().any(|looks| *looks >= LOOKS) {
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
