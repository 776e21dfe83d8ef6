//! Crash points: named places at which the crash tests end the process.
//!
//! Without the feature `failpoints` they are nothing. With it, the environment
//! variable `FAILPOINTS` says where to die, in the syntax of the `fail` crate:
//! `dispatcher.answered=20*off->return` dies on the 21st visit.

/// Ends this process on the spot, as `kill -9` would, when this point is armed.
#[cfg(feature = "failpoints")]
pub fn crash_point(name: &'static str) {
    fail::eval(name, |_| {
        // No destructor runs, no buffer is flushed, no connection is closed in order.
        eprintln!("crash point {name} reached");
        std::process::abort()
    })
    .unwrap_or(())
}

/// Ends this process on the spot, as `kill -9` would, when this point is armed.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn crash_point(_name: &'static str) {}

/// Arms the crash points that the environment names. The guard keeps them armed.
#[cfg(feature = "failpoints")]
pub fn arm_crash_points() -> impl Sized {
    fail::FailScenario::setup()
}

/// Arms the crash points that the environment names: none, in this build.
#[cfg(not(feature = "failpoints"))]
pub fn arm_crash_points() -> impl Sized {}
