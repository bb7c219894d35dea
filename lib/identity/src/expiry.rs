//! Expiry times of access keys, as commands take them and show them.

use apus_cluster::timestamp::days_from_civil;

use crate::error::IdentityError;

/// Parses an expiry: a duration from `now` (seconds since 1970), a day or time in UTC, or `never`.
///
/// # Errors
/// `Expiry`.
pub fn parse_expiry(text: &str, now: u64) -> Result<Option<u64>, IdentityError> {
    if text == "never" {
        return Ok(None);
    }
    let parsed = duration(text).and_then(|seconds| now.checked_add(seconds)).or_else(|| time(text));
    // Seconds of the year 9999.
    let parsed = parsed.filter(|time| *time < 253_402_300_800);
    parsed.map(Some).ok_or_else(|| IdentityError::Expiry(text.to_owned()))
}

fn number(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn duration(text: &str) -> Option<u64> {
    let digits = text.get(..text.len().checked_sub(1)?)?;
    let unit = match text.as_bytes().last()? {
        b'd' => 86_400,
        b'h' => 3600,
        b'm' => 60,
        b's' => 1,
        _ => return None,
    };
    number(digits)?.checked_mul(unit)
}

fn time(text: &str) -> Option<u64> {
    let (date, clock) = match text.split_once('T') {
        Some((date, clock)) => (date, clock.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let part = |text: &str, range: std::ops::Range<usize>| number(text.get(range)?);
    let has = |text: &str, at: usize, byte: u8| text.as_bytes().get(at) == Some(&byte);
    let is_date = date.len() == 10 && has(date, 4, b'-') && has(date, 7, b'-');
    let is_clock = clock.len() == 8 && has(clock, 2, b':') && has(clock, 5, b':');
    if !is_date || !is_clock {
        return None;
    }
    let days = days_from_civil(part(date, 0..4)?, part(date, 5..7)?, part(date, 8..10)?)?;
    let (hour, minute, second) = (part(clock, 0..2)?, part(clock, 3..5)?, part(clock, 6..8)?);
    let seconds = hour * 3600 + minute * 60 + second;
    (hour < 24 && minute < 60 && second < 60).then_some(days * 86_400 + seconds)
}

/// A time in seconds since 1970 as `2027-01-31T12:00:00Z`.
pub fn iso_time(seconds: u64) -> String {
    let iso = apus_cluster::Timestamp::from_seconds(seconds).iso();
    format!("{}Z", iso.split('.').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_days_and_times_are_read() {
        for (text, expected) in [
            ("never", None),
            ("90d", Some(1000 + 90 * 86_400)),
            ("12h", Some(1000 + 43_200)),
            ("30m", Some(2800)),
            ("5s", Some(1005)),
            ("2027-01-31", Some(1_801_353_600)),
            ("2027-01-31T12:00:01Z", Some(1_801_396_801)),
        ] {
            assert_eq!(parse_expiry(text, 1000).unwrap(), expected, "{text}");
        }
        for text in [
            "",
            "d",
            "-1d",
            "+1d",
            "1y",
            "1.5h",
            "2027-13-01",
            "2027-01-32",
            "2027-1-1",
            "99999-01-01",
            "2027-01-31T25:00:00Z",
            "2027-01-31T12:00:00",
            "18446744073709551615d",
            "9999999999999s",
            "é",
        ] {
            let error = parse_expiry(text, 1000).unwrap_err().to_string();
            assert!(error.contains("expected a duration"), "{text}: {error}");
        }
    }

    #[test]
    fn times_are_shown_as_they_are_read() {
        assert_eq!(iso_time(1_801_396_801), "2027-01-31T12:00:01Z");
        assert_eq!(parse_expiry(&iso_time(0), 5).unwrap(), Some(0));
    }
}
