//! Dates of conditions: ISO 8601 as W3C writes it, or seconds since the epoch.

const MICROSECONDS: i64 = 1_000_000;

/// Parses a date to microseconds since the epoch.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let is_number = unsigned.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let is_year = text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && !is_year {
        return seconds(text);
    }
    let (date, time) = match text.split_once(['T', 't']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let year = digits(parts.next()?, 4)?;
    let month = parts.next().map_or(Some(1), |part| digits(part, 2))?;
    let day = parts.next().map_or(Some(1), |part| digits(part, 2))?;
    let has_day = date.len() == 10;
    if parts.next().is_some() || !(1..=12).contains(&month) || (time.is_some() && !has_day) {
        return None;
    }
    if !(1..=days_of(year, month)).contains(&day) {
        return None;
    }
    let of_day = time.map_or(Some(0), microseconds_of_day)?;
    days_since_epoch(year, month, day).checked_mul(86_400 * MICROSECONDS)?.checked_add(of_day)
}

fn digits(text: &str, count: usize) -> Option<i64> {
    let is_well_formed = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    is_well_formed.then(|| text.parse().ok()).flatten()
}

/// Up to six digits of a fraction of a second, as microseconds.
fn fraction(text: &str) -> Option<i64> {
    let is_well_formed = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_well_formed.then(|| format!("{:0<6}", text.get(..6).unwrap_or(text)).parse().ok()).flatten()
}

fn seconds(text: &str) -> Option<i64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let whole_us = whole.parse::<i64>().ok()?.checked_mul(MICROSECONDS)?;
    let part_us = fraction(part)?;
    match text.starts_with('-') {
        true => whole_us.checked_sub(part_us),
        false => whole_us.checked_add(part_us),
    }
}

/// `hh:mm[:ss[.f]]` and a zone: `Z` or `±hh:mm`. Microseconds since midnight of UTC's day; may be negative.
fn microseconds_of_day(text: &str) -> Option<i64> {
    let (time, offset_minutes) = match text.strip_suffix(['Z', 'z']) {
        Some(time) => (time, 0),
        None => {
            let at = text.rfind(['+', '-'])?;
            let (time, zone) = text.split_at(at);
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let minutes = digits(hours, 2)? * 60 + digits(minutes, 2)?;
            (time, if zone.starts_with('-') { -minutes } else { minutes })
        }
    };
    let mut parts = time.split(':');
    let hour = digits(parts.next()?, 2).filter(|hour| *hour < 24)?;
    let minute = digits(parts.next()?, 2).filter(|minute| *minute < 60)?;
    let (second, part) = match parts.next() {
        None => (0, 0),
        Some(text) => match text.split_once('.') {
            Some((second, part)) => (digits(second, 2)?, fraction(part)?),
            None => (digits(text, 2)?, 0),
        },
    };
    let is_valid = parts.next().is_none() && second <= 60 && offset_minutes.abs() < 24 * 60;
    let total_s = (hour * 60 + minute - offset_minutes) * 60 + second;
    is_valid.then_some(total_s * MICROSECONDS + part)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days between 1970-01-01 and a day of the Gregorian calendar.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let before = |year: i64| year * 365 + (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
    let months: i64 = (1..month).map(|month| days_of(year, month)).sum();
    before(year) - before(1970) + months + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_in_the_table() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0.0),
            ("2024", 1_704_067_200.0),
            ("2024-03", 1_709_251_200.0),
            ("2024-02-29", 1_709_164_800.0),
            ("2024-02-29T12:30Z", 1_709_209_800.0),
            ("2024-02-29T12:30:01.5Z", 1_709_209_801.5),
            ("2024-02-29T12:30:01+01:00", 1_709_206_201.0),
            ("2024-02-29T12:30:01-01:30", 1_709_215_201.0),
            ("1709209801", 1_709_209_801.0),
            ("1709209801.25", 1_709_209_801.25),
            ("-1.5", -1.5),
            ("0001-01-01", -62_135_596_800.0),
            ("9999-12-31T23:59:59Z", 253_402_300_799.0),
        ] {
            assert_eq!(parse(text), Some((seconds * 1e6) as i64), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_date_is_refused() {
        for text in [
            "",
            "-",
            ".",
            "now",
            "2023-02-29",
            "2024-13",
            "2024-00-01",
            "2024-1-1",
            "2024-01-01T",
            "2024-01-01T10",
            "2024-01-01T10:00",
            "2024-01-01T25:00Z",
            "2024-01T10:00Z",
            "2024-01-01T10:00:00.Z",
            "99999999999999999999",
            "1.2.3",
            "+5",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
