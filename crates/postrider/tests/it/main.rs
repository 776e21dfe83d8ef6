//! Whole-system tests: real processes, real servers, a real receiver, and the
//! public doors only.

mod crash;
mod events;
mod outages;
mod retries;
mod routing;
mod settings;
mod system;
mod traps;
