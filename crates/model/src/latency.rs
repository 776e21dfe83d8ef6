//! How long receivers take to answer, counted in steps.

/// Where the steps begin, in milliseconds. Each is at most twice the one before,
/// mostly about one and a half times: so a quantile is right to a fourth.
pub const STEPS_MS: [u32; 28] = [
    1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1_000, 1_500, 2_000,
    3_000, 5_000, 7_000, 10_000, 15_000, 20_000, 30_000, 60_000,
];

/// How many answers took how long. Two of these can be added, whatever they are of.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Latencies([u64; STEPS_MS.len() + 1]);

impl Latencies {
    /// As it was stored: from the fastest answers, below the first step, to the
    /// slowest. What is missing counts as nothing.
    pub fn of(counts: impl IntoIterator<Item = u64>) -> Self {
        let mut latencies = Self::default();
        for (ours, theirs) in latencies.0.iter_mut().zip(counts) {
            *ours = theirs;
        }
        latencies
    }

    /// From the fastest to the slowest.
    pub fn counts(&self) -> &[u64] {
        &self.0
    }

    /// Counts an answer.
    pub fn record(&mut self, duration_ms: u32) {
        let step = STEPS_MS.partition_point(|begin| *begin <= duration_ms);
        self.0[step] += 1;
    }

    /// Adds what another one has counted.
    pub fn add(&mut self, other: &Self) {
        for (ours, theirs) in self.0.iter_mut().zip(&other.0) {
            *ours = ours.saturating_add(*theirs);
        }
    }

    /// How many answers were counted.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The time within which so many of a hundred answers came, in milliseconds;
    /// `None` without any. Between two steps it is taken as if answers were spread
    /// evenly; above the last one it is that one.
    pub fn percentile_ms(&self, of_a_hundred: u32) -> Option<u32> {
        let total = self.total();
        // The first answer at least, the last one at most.
        let rank = (u128::from(total) * u128::from(of_a_hundred)).div_ceil(100).max(1);
        let mut before = 0;
        for (step, count) in self.0.iter().enumerate() {
            let count = u128::from(*count);
            if before + count < rank {
                before += count;
                continue;
            }
            let begin = step.checked_sub(1).map_or(0, |step| STEPS_MS[step]);
            let end = STEPS_MS.get(step).copied().unwrap_or(begin);
            let within = u128::from(end - begin) * (rank - before) / count;
            return Some(begin.saturating_add(u32::try_from(within).unwrap_or(u32::MAX)));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(durations: &[u32]) -> Latencies {
        let mut latencies = Latencies::default();
        for duration_ms in durations {
            latencies.record(*duration_ms);
        }
        latencies
    }

    #[test]
    fn nothing_has_no_percentile_and_the_slowest_are_those_of_the_last_step() {
        assert_eq!(of(&[]).percentile_ms(50), None);
        assert_eq!(of(&[0, 0, 0]).percentile_ms(99), Some(1));
        assert_eq!(of(&[u32::MAX]).percentile_ms(50), Some(60_000));
        assert_eq!(of(&[60_000]).percentile_ms(1), Some(60_000));
    }

    #[test]
    fn what_is_stored_is_read_again() {
        let latencies = of(&[0, 1, 12, 700, 80_000]);
        assert_eq!(Latencies::of(latencies.counts().iter().copied()), latencies);
        assert_eq!(Latencies::of([]), Latencies::default());
        assert_eq!(Latencies::of(std::iter::repeat_n(1, 100)).total(), 29);
    }

    proptest! {
        #[test]
        fn a_percentile_is_of_the_step_of_the_answer_that_it_is(
            mut durations in proptest::collection::vec(0_u32..70_000, 1..200),
            of_a_hundred in 1_u32..=100,
        ) {
            let found = of(&durations).percentile_ms(of_a_hundred).expect("some");
            durations.sort_unstable();
            let rank = (durations.len() * of_a_hundred as usize).div_ceil(100);
            let exact = durations[rank - 1];
            let step = STEPS_MS.partition_point(|begin| *begin <= exact);
            let begin = step.checked_sub(1).map_or(0, |step| STEPS_MS[step]);
            let end = STEPS_MS.get(step).copied().unwrap_or(begin);
            prop_assert!((begin..=end).contains(&found), "{found} instead of {exact}");
        }

        #[test]
        fn parts_add_up_to_the_whole(
            durations in proptest::collection::vec(0_u32..70_000, 0..50),
            middle in 0_usize..50,
        ) {
            let (one, other) = durations.split_at(middle.min(durations.len()));
            let mut sum = of(one);
            sum.add(&of(other));
            prop_assert_eq!(sum, of(&durations));
        }
    }
}
