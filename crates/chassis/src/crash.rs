//! Crash points, at which tests end the process, and mutants, by which they break it.
//!
//! Without the feature `failpoints` both are nothing. With it, the environment
//! variable `FAILPOINTS` says which crash points are armed, in the syntax of the `fail`
//! crate: `dispatcher.answered=20*off->return` dies on the 21st visit. `MUTANT` names the
//! one mutant that is switched on: `MUTANT=keep_no_lease` is a build with that one-line
//! bug in it. It is a variable of its own so that a test can be run with it from outside.

/// Stops the process of this number, and ends when all of its threads stand: a signal from
/// outside reaches one of them first, and another one would go on meanwhile.
#[cfg(feature = "failpoints")]
const STOP: &str = r#"kill -STOP "$1"
while grep -h '^State:' "/proc/$1/task/"*/status | grep -qv stopped; do :; done
echo "crash point $0 reached, and stopped there" >&2"#;

/// Ends this process on the spot, as `kill -9` would, when this point is armed; with
/// `return(stop)` it freezes it there, until somebody lets it go on.
#[cfg(feature = "failpoints")]
pub fn crash_point(name: &'static str) {
    fail::eval(name, |what| {
        if what.as_deref() == Some("stop") {
            let pid = std::process::id().to_string();
            let stopped = std::process::Command::new("sh").args(["-c", STOP, name, &pid]).status();
            return stopped.map_or((), drop);
        }
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

/// As [`crash_point`], only for what has the armed text in it:
/// `FAILPOINTS=dispatcher.before_post_to=return(/kills)`.
#[cfg(feature = "failpoints")]
pub fn crash_point_at(name: &'static str, what: &str) {
    let is_meant = |text: Option<String>| text.is_some_and(|text| what.contains(&text));
    if fail::eval(name, is_meant) == Some(true) {
        eprintln!("crash point {name} reached");
        std::process::abort()
    }
}

/// As [`crash_point`], only for what has the armed text in it.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn crash_point_at(_name: &'static str, _what: &str) {}

/// Arms the crash points that the environment names. The guard keeps them armed.
#[cfg(feature = "failpoints")]
pub fn arm_crash_points() -> impl Sized {
    fail::FailScenario::setup()
}

/// Arms the crash points that the environment names: none, in this build.
#[cfg(not(feature = "failpoints"))]
pub fn arm_crash_points() -> impl Sized {}

/// Whether the bug of this name is switched on. A mutant is a bug of one line at a place
/// that keeps a promise: the tests and `cargo xtask chaos` have to find each of them.
#[cfg(feature = "failpoints")]
pub fn mutant(name: &'static str) -> bool {
    #[expect(clippy::disallowed_methods, reason = "a setting of tests, not of the product")]
    static ON: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("MUTANT").ok());
    ON.as_deref() == Some(name)
}

/// Whether the bug of this name is switched on: never, in this build.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub const fn mutant(_name: &'static str) -> bool {
    false
}

/// How many seconds this process's clock is wrong by: `FAILPOINTS=clock.offset=return(3600)`.
#[cfg(feature = "failpoints")]
pub(crate) fn clock_offset_s() -> i64 {
    fail::eval("clock.offset", |offset| offset.and_then(|text| text.parse().ok()))
        .flatten()
        .unwrap_or(0)
}

/// How many seconds this process's clock is wrong by: none, in this build.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) const fn clock_offset_s() -> i64 {
    0
}
