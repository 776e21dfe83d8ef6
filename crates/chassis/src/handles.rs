//! Handles of metrics that are counted for every event.

use std::sync::OnceLock;

/// The handles of one metric, one for each of its label sets, which are numbered. Each is
/// looked up when it is first used: looking one up by its name and labels costs several
/// times what counting does.
#[derive(Debug)]
pub struct Handles<M, const N: usize> {
    handles: [OnceLock<M>; N],
    look_up: fn(usize) -> M,
}

impl<M, const N: usize> Handles<M, N> {
    /// None is looked up yet.
    pub const fn new(look_up: fn(usize) -> M) -> Self {
        Self { handles: [const { OnceLock::new() }; N], look_up }
    }

    /// The handle of a label set, by its number.
    ///
    /// # Panics
    /// When there is no label set of this number.
    pub fn of(&self, number: usize) -> &M {
        self.handles[number].get_or_init(|| (self.look_up)(number))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_handle_is_looked_up_once() {
        static LOOKED_UP: AtomicUsize = AtomicUsize::new(0);
        static HANDLES: Handles<usize, 3> = Handles::new(|number| {
            LOOKED_UP.fetch_add(1, Ordering::Relaxed);
            number * 10
        });
        assert_eq!([2, 0, 2, 2].map(|number| *HANDLES.of(number)), [20, 0, 20, 20]);
        assert_eq!(LOOKED_UP.load(Ordering::Relaxed), 2);
    }
}
