//! Rules for every parser that a stranger reaches: a target for each, which fuzzing
//! calls with bytes of its own and the test `corpus` with those that fuzzing has kept.
//!
//! Of each must always hold: no panic, whatever the bytes are; no more memory than a
//! stated multiple of them; no more time than a bound on 64 KiB of them; and what is said
//! beside each target, such as that what was parsed and is printed again parses to the same,
//! or that a second implementation, which is naive and independent, agrees.
//!
//! Deliberately absent: how inputs are made. `crates/fuzz` does that, by libFuzzer.

mod addresses;
mod answers;
mod bounds;
mod console_forms;
mod events;
mod filters;
mod forms;
mod headers;
mod json_bodies;
mod mailboxes;
mod queries;
mod redaction;
mod relay;
mod request_bins;
mod seals;
mod urls;

use bounds::{is_chosen, stretched};

/// A parser, and what must hold of it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of its corpus and of its binary.
    pub name: &'static str,
    /// Panics when something does not hold for these bytes.
    check: fn(&[u8]),
    /// Whether its inputs may be made long: not where sockets are involved.
    stretches: bool,
}

const fn target(name: &'static str, check: fn(&[u8])) -> Target {
    Target { name, check, stretches: true }
}

/// All of them.
pub const TARGETS: [Target; 17] = [
    target("forms", forms::encoded),
    target("multipart", forms::multipart),
    target("json_bodies", json_bodies::check),
    target("queries", queries::check),
    target("filters", filters::check),
    target("seals", seals::check),
    target("urls", urls::check),
    target("addresses", addresses::check),
    target("event_json", events::json),
    target("event_protobuf", events::protobuf),
    target("redaction", redaction::check),
    target("mailboxes", mailboxes::check),
    target("headers", headers::check),
    target("console_forms", console_forms::check),
    target("request_bins", request_bins::check),
    Target { stretches: false, ..target("answers", answers::check) },
    Target { stretches: false, ..target("relay", relay::check) },
];

impl Target {
    /// The target of this name.
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.name == name)
    }

    /// Checks these bytes, and some of them once more as 64 KiB that repeat a part of them:
    /// which of them, the bytes decide, so that the same input always has the same result.
    ///
    /// # Panics
    /// When something does not hold that must hold.
    pub fn run(self, input: &[u8]) {
        (self.check)(input);
        if self.stretches && is_chosen(input) {
            (self.check)(&stretched(input));
        }
    }
}

/// Checks these bytes by the target of this name.
///
/// # Panics
/// When something does not hold that must hold, and when there is no such target.
pub fn run(name: &str, input: &[u8]) {
    Target::named(name).unwrap_or_else(|| panic!("there is no target {name}")).run(input);
}
