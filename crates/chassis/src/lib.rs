//! What every service needs: configuration, clock, telemetry, health, metrics,
//! shutdown, crash points, and doors that know who calls.
//!
//! What must always hold: a wrong setting ends the process before a port is
//! bound; everything that runs is known to [`Tasks`], so that a stop waits for
//! it; the wall clock and chance are read here and nowhere else.
//!
//! Deliberately absent: anything that knows what the services do.

pub mod clock;
pub mod config;
mod crash;
pub mod door;
pub mod entropy;
mod handles;
pub mod ops;
mod tasks;
pub mod telemetry;
pub mod trace;

pub use clock::Clock;
pub use config::Env;
pub use crash::{arm_crash_points, crash_point, crash_point_at, mutant};
pub use door::Door;
pub use handles::Handles;
pub use ops::Readiness;
pub use tasks::Tasks;
