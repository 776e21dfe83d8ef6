//! One answer from several projections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chassis::Readiness;

use crate::READINESS;

/// Ready while every part is.
pub(crate) struct Health {
    readiness: Readiness,
    parts: Arc<[AtomicBool]>,
}

/// What one projection says of itself.
pub(crate) struct Part {
    health: Health,
    number: usize,
}

impl Health {
    pub(crate) fn new(readiness: Readiness, parts: usize) -> Self {
        Self { readiness, parts: (0..parts).map(|_| AtomicBool::new(false)).collect() }
    }

    /// The part of this number.
    pub(crate) fn part(&self, number: usize) -> Part {
        let (readiness, parts) = (self.readiness.clone(), Arc::clone(&self.parts));
        Part { health: Self { readiness, parts }, number }
    }
}

impl Part {
    /// Says whether this part can do its work now.
    pub(crate) fn set(&self, ready: bool) {
        let parts = &self.health.parts;
        if let Some(part) = parts.get(self.number) {
            part.store(ready, Ordering::SeqCst);
        }
        let all = parts.iter().all(|part| part.load(Ordering::SeqCst));
        self.health.readiness.set(READINESS, all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_that_cannot_work_is_enough() {
        let readiness = Readiness::default();
        let health = Health::new(readiness.clone(), 2);
        health.part(0).set(true);
        assert_eq!(readiness.missing(), [READINESS]);
        health.part(1).set(true);
        assert!(readiness.missing().is_empty());
        health.part(0).set(false);
        assert_eq!(readiness.missing(), [READINESS]);
    }
}
