//! How moments and sizes are written for people.

use chrono::{DateTime, Utc};

/// A moment, such as `2026-03-01 09:30:05 UTC`.
pub fn moment(at: &DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A size, such as `812 bytes` or `1.4 MiB`.
pub fn size(bytes: usize) -> String {
    const KIB: f64 = 1_024.0;
    match bytes {
        1 => "1 byte".to_owned(),
        0..1_024 => format!("{bytes} bytes"),
        1_024..1_048_576 => format!("{:.1} KiB", bytes as f64 / KIB),
        _ => format!("{:.1} MiB", bytes as f64 / KIB / KIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_fits() {
        let written = [1, 0, 1_023, 1_024, 1_536, 1_048_576].map(size);
        assert_eq!(written, ["1 byte", "0 bytes", "1023 bytes", "1.0 KiB", "1.5 KiB", "1.0 MiB"]);
    }

    #[test]
    fn moments_name_their_zone() {
        let at = DateTime::from_timestamp(1_760_000_000, 0).unwrap();
        assert_eq!(moment(&at), "2025-10-09 08:53:20 UTC");
    }
}
