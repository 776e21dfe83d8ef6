//! Bounds on what a parser may take of memory and time.

use std::time::{Duration, Instant};

/// How long inputs are made.
const STRETCHED_BYTES: usize = 64 * 1_024;
/// Memory that any parser may take, beside its multiple of the input.
const FREE_BYTES: usize = 64 * 1_024;
/// Time on a processor for an input of 64 KiB, also without optimisation and with what fuzzing
/// adds. A parser takes some milliseconds; one whose time grows with the square of the input
/// takes seconds.
const LONGEST: Duration = Duration::from_millis(500);
/// From this size on time is measured.
const LONG_BYTES: usize = 16 * 1_000;

/// Runs `parse` on so many bytes, within `multiple` times as much memory at its peak.
///
/// # Panics
/// When it takes more, or more time than a long input may take.
#[track_caller]
pub(crate) fn within<T>(input_bytes: usize, multiple: usize, parse: impl FnOnce() -> T) -> T {
    within_room(input_bytes, multiple, 0, parse)
}

/// The same, with room for buffers whose size does not depend on the input.
///
/// # Panics
/// As [`within`].
#[track_caller]
pub(crate) fn within_room<T>(
    input_bytes: usize,
    multiple: usize,
    room_bytes: usize,
    parse: impl FnOnce() -> T,
) -> T {
    let began = OnProcessor::now();
    let mut made = None;
    let memory = allocation_counter::measure(|| made = Some(parse()));
    let most = FREE_BYTES + room_bytes + multiple * input_bytes;
    let peak = usize::try_from(memory.bytes_max).unwrap_or(usize::MAX);
    assert!(
        peak <= most,
        "{peak} bytes of memory for {input_bytes} bytes of input; at most {multiple} times as \
         much and {} are allowed",
        FREE_BYTES + room_bytes
    );
    if input_bytes >= LONG_BYTES {
        let took = began.elapsed();
        assert!(took <= LONGEST, "{took:?} for {input_bytes} bytes of input");
    }
    match made {
        Some(made) => made,
        None => unreachable!("it was called"),
    }
}

/// Time of this thread on a processor, so that whatever else runs here does not count. Where
/// the system does not tell it, time on the wall.
struct OnProcessor {
    wall: Instant,
    used: Option<Duration>,
}

impl OnProcessor {
    fn now() -> Self {
        Self { wall: Instant::now(), used: used() }
    }

    fn elapsed(&self) -> Duration {
        match (self.used, used()) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => self.wall.elapsed(),
        }
    }
}

/// From Linux: nanoseconds on a processor, and two numbers more.
fn used() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Whether an input is made long as well: one of sixteen.
pub(crate) fn is_chosen(input: &[u8]) -> bool {
    !input.is_empty() && hash(input).is_multiple_of(16)
}

/// An input with a part of it repeated until it is long: as it is, or with a number in each
/// repetition, so that no two are the same.
pub(crate) fn stretched(input: &[u8]) -> Vec<u8> {
    if input.is_empty() || input.len() >= STRETCHED_BYTES {
        return input.to_vec();
    }
    let hash = hash(input);
    let place = |number: u64, most: usize| usize::try_from(number).unwrap_or(0) % most;
    let begin = place(hash >> 8, input.len());
    let end = begin + 1 + place(hash >> 32, input.len() - begin);
    let (head, part, tail) = (&input[..begin], &input[begin..end], &input[end..]);
    let digits: Vec<usize> =
        (0..part.len()).filter(|at| part[*at].is_ascii_alphanumeric()).collect();
    let is_numbered = hash & 1 == 0;
    let mut part = part.to_vec();
    let mut long = Vec::with_capacity(STRETCHED_BYTES);
    long.extend_from_slice(head);
    let mut number = 0;
    while long.len() + part.len() + tail.len() <= STRETCHED_BYTES {
        long.extend_from_slice(&part);
        number += 1;
        let mut rest = number;
        for at in digits.iter().rev().take(4).filter(|_| is_numbered) {
            part[*at] = DIGITS[rest % DIGITS.len()];
            rest /= DIGITS.len();
        }
    }
    long.extend_from_slice(tail);
    long
}

/// FNV-1a, with its bits stirred once more: the same on every machine, for ever.
fn hash(input: &[u8]) -> u64 {
    let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parser_that_copies_too_much_is_found() {
        assert_eq!(within(1_024, 2, || vec![0_u8; 1_024].len()), 1_024);
        let greedy = std::panic::catch_unwind(|| within(1_024, 2, || vec![0_u8; 1 << 20].len()));
        assert!(greedy.is_err());
    }

    #[test]
    fn a_parser_that_takes_the_square_of_its_input_is_found() {
        let bytes = vec![7_u8; LONG_BYTES];
        let square = std::panic::catch_unwind(|| {
            let inner = |byte: &u8| bytes.iter().filter(|other| *other == byte).count();
            // A quarter of the square is seen as well, and sooner.
            within(bytes.len(), 2, || bytes[..LONG_BYTES / 4].iter().map(inner).sum::<usize>())
        });
        assert!(square.is_err());
        assert_eq!(
            within(bytes.len(), 2, || bytes.iter().filter(|b| **b == 7).count()),
            bytes.len()
        );
    }

    #[test]
    fn inputs_are_made_long_by_a_part_of_them() {
        let input = b"[1,2,3]";
        let long = stretched(input);
        assert!(long.len() > STRETCHED_BYTES - 8 && long.len() <= STRETCHED_BYTES);
        assert_eq!(long, stretched(input));
        let numbered = (0..100_u8).map(|n| stretched(&[b'[', n, b'a', b'b', b'c', b',']));
        assert!(numbered.into_iter().any(|long| long.windows(3).any(|three| three == b"00z")));
        let chosen = (0..1_600_u32).filter(|n| is_chosen(&n.to_le_bytes())).count();
        assert!((50..150).contains(&chosen), "{chosen}");
    }
}
