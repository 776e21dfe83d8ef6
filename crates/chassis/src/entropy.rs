//! Chance, from the operating system.

/// This many random bytes, fit for keys and tokens.
///
/// # Panics
/// When the operating system has none to give: nothing can be signed then.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has no random bytes to give");
    bytes
}

/// A random fraction, 0 or more and less than 1.
pub fn fraction() -> f64 {
    f64::from(u32::from_be_bytes(bytes())) / (f64::from(u32::MAX) + 1.0)
}
