//! The two ways in which payloads tell the time.

use std::fmt;
use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use protocol::Timestamp;
use serde::{Serialize, Serializer};

use super::PayloadError;

/// The least and the most that a moment has behind its whole second. PHP prints 14 digits of a
/// number, rounded: of a second nearer than this its decimals are gone, and receivers that ask
/// for them refuse the event.
const MICROS: RangeInclusive<i64> = 100..=999_900;

/// Seconds since the epoch with microseconds, as Send payloads have it. Within 100
/// microseconds of a whole second it is the hundredth.
///
/// A double holds the microseconds of every year up to 2255 exactly enough to
/// print them as they were.
pub(super) fn epoch_seconds(timestamp: Option<&Timestamp>) -> Result<f64, PayloadError> {
    let micros = moment(timestamp)?.timestamp_micros();
    let behind = micros.rem_euclid(1_000_000);
    let micros = micros - behind + behind.clamp(*MICROS.start(), *MICROS.end());
    #[expect(
        clippy::cast_precision_loss,
        reason = "exact up to the year 2255, and close enough after it"
    )]
    let seconds = micros as f64 / 1e6;
    Ok(seconds)
}

/// RFC 3339 in UTC with as many decimals as are needed, as alerts have it.
pub(super) struct Rfc3339(DateTime<Utc>);

impl Rfc3339 {
    pub(super) fn of(timestamp: Option<&Timestamp>) -> Result<Self, PayloadError> {
        moment(timestamp).map(Self)
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%Y-%m-%dT%H:%M:%S"))?;
        let mut decimals = self.0.timestamp_subsec_nanos();
        let mut width = 9;
        if decimals > 0 {
            while decimals.is_multiple_of(10) {
                decimals /= 10;
                width -= 1;
            }
            write!(f, ".{decimals:0width$}")?;
        }
        f.write_str("Z")
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Only years of four digits can be written in RFC 3339.
pub(super) fn moment(timestamp: Option<&Timestamp>) -> Result<DateTime<Utc>, PayloadError> {
    const YEAR_10000: i64 = 253_402_300_800;
    timestamp
        .filter(|timestamp| (0..YEAR_10000).contains(&timestamp.seconds))
        .and_then(|timestamp| {
            let nanos = u32::try_from(timestamp.nanos).ok()?;
            // From here up chrono would read a leap second.
            (nanos < 1_000_000_000).then_some(())?;
            DateTime::from_timestamp(timestamp.seconds, nanos)
        })
        .ok_or(PayloadError::Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, nanos: i32) -> Timestamp {
        Timestamp { seconds, nanos }
    }

    #[test]
    fn rfc_3339_has_the_decimals_that_are_needed() {
        for (nanos, text) in [
            (0, "2025-10-09T08:53:20Z"),
            (123_456_000, "2025-10-09T08:53:20.123456Z"),
            (1, "2025-10-09T08:53:20.000000001Z"),
            (500_000_000, "2025-10-09T08:53:20.5Z"),
            (999_999_999, "2025-10-09T08:53:20.999999999Z"),
        ] {
            let time = Rfc3339::of(Some(&at(1_760_000_000, nanos))).unwrap();
            assert_eq!(time.to_string(), text);
        }
    }

    #[test]
    fn every_microsecond_prints_as_it_was() {
        for micros in [100, 101, 104_218, 250_000, 730_551, 999_900] {
            let seconds = epoch_seconds(Some(&at(1_760_000_000, micros * 1_000 + 999))).unwrap();
            let decimals = format!("{micros:06}");
            let decimals = decimals.trim_end_matches('0');
            assert_eq!(serde_json::to_string(&seconds).unwrap(), format!("1760000000.{decimals}"));
        }
    }

    #[test]
    fn no_second_is_whole() {
        for micros in [0, 1, 10, 49, 99, 100] {
            let seconds = epoch_seconds(Some(&at(1_760_000_000, micros * 1_000))).unwrap();
            assert_eq!(serde_json::to_string(&seconds).unwrap(), "1760000000.0001");
        }
        for micros in [999_900, 999_949, 999_950, 999_999] {
            let seconds = epoch_seconds(Some(&at(1_760_000_000, micros * 1_000 + 999))).unwrap();
            assert_eq!(serde_json::to_string(&seconds).unwrap(), "1760000000.9999");
        }
    }

    #[test]
    fn moments_that_no_payload_can_show_are_errors() {
        for bad in [
            None,
            Some(at(-1, 0)),
            Some(at(253_402_300_800, 0)),
            Some(at(0, -1)),
            Some(at(59, 1_000_000_000)),
        ] {
            assert!(Rfc3339::of(bad.as_ref()).is_err(), "{bad:?}");
            assert!(epoch_seconds(bad.as_ref()).is_err(), "{bad:?}");
        }
    }
}
