//! Chance: secrets from the operating system, and fractions for spreading things.

/// This many random bytes, fit for keys and tokens.
///
/// # Panics
/// When the operating system has none to give: nothing can be signed then.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has no random bytes to give");
    bytes
}

/// A random fraction, 0 or more and less than 1. Good enough to spread things in time, which
/// each delivery does some times, and for no secret.
pub fn fraction() -> f64 {
    fastrand::f64()
}
