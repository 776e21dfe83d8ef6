//! History: what was accepted, decided, tried and ended.
//!
//! Each insert takes a batch, is atomic and can be repeated. Rows are sorted
//! by their key, so that two replicas which insert overlapping batches wait
//! for each other rather than for ever.

mod attempts;
mod ends;
mod events;
mod routings;

pub use attempts::AttemptRow;
pub use ends::EndRow;
pub use events::EventRow;
pub use routings::{DecisionRow, RoutedRow};

/// Text that PostgreSQL takes. It has no place for the character NUL, which a
/// receiver's answer or a caller's id may hold.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn clean_option(text: Option<&str>) -> Option<String> {
    text.map(clean)
}
