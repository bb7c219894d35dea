//! Sizes, durations and rates as they are written on the command line.

use std::time::Duration;

const SIZE_UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("B", 1),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

const DURATION_UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// A whole number times its unit; units are case-insensitive.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()))?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    scaled(text, &SIZE_UNITS)
        .ok_or_else(|| "expected bytes such as 4096, 4KiB, 64MiB or 1GB".to_owned())
}

/// A time span above zero.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    scaled(text, &DURATION_UNITS)
        .filter(|milliseconds| *milliseconds > 0)
        .map(Duration::from_millis)
        .ok_or_else(|| "expected a time above zero such as 500ms, 10s, 5m or 1h".to_owned())
}

/// Requests per second: one in a thousand seconds to one per microsecond.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate: &f64| (0.001..=1e6).contains(rate))
        .ok_or_else(|| "expected requests per second, from 0.001 to 1000000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_count_in_powers_of_ten_and_of_two() {
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("4KiB"), Ok(4096));
        assert_eq!(size("4 kib"), Ok(4096));
        assert_eq!(size("4kB"), Ok(4000));
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("5GiB"), Ok(5 << 30));
        assert_eq!(size("1GB"), Ok(1_000_000_000));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "KiB", "-1", "1.5MiB", "4K", "4KiBs", "99999999TiB", "1 2", "ü"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_have_a_unit_and_are_not_zero() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for text in ["10", "0s", "s", "1.5s", "1d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_positive_and_finite() {
        assert_eq!(rate("0.5"), Ok(0.5));
        for text in ["0", "-1", "1e-300", "inf", "NaN", "2e6", "fast"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
