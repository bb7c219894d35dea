//! Timestamps of Swift: seconds with five decimals, and an offset that clients never see.
//!
//! Source: `swift/common/utils/timestamp.py`. Internally a count of 10 µs steps, never a float.

use std::fmt;

/// Steps in one second; one step is 10 µs.
pub const STEPS_PER_SECOND: u64 = 100_000;
const STEPS_MAX: u64 = 9_999_999_999 * STEPS_PER_SECOND + 99_999;

/// A point in time and an offset that orders internal writes of the same time.
///
/// ```
/// use apus_cluster::Timestamp;
/// let time = Timestamp::parse("1700000000.12345").unwrap();
/// assert_eq!(time.seconds(), 1_700_000_000);
/// assert_eq!(time.with_offset(2).to_string(), "1700000000.12345_0000000000000002");
/// assert!(time < time.with_offset(2) && time.with_offset(2) < time.next());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp {
    steps: u64,
    offset: u64,
}

impl Timestamp {
    /// The beginning of time, older than any write.
    pub const ZERO: Self = Self { steps: 0, offset: 0 };

    /// From 10 µs steps since 1970, capped at Swift's greatest time.
    pub fn from_steps(steps: u64) -> Self {
        Self { steps: steps.min(STEPS_MAX), offset: 0 }
    }

    /// From whole seconds since 1970.
    pub fn from_seconds(seconds: u64) -> Self {
        Self::from_steps(seconds.saturating_mul(STEPS_PER_SECOND))
    }

    /// From a clock's time since 1970, rounded down.
    pub fn from_duration(since_1970: std::time::Duration) -> Self {
        Self::from_steps(u64::try_from(since_1970.as_micros() / 10).unwrap_or(u64::MAX))
    }

    /// The same time with another offset.
    pub fn with_offset(self, offset: u64) -> Self {
        Self { steps: self.steps, offset }
    }

    /// 10 µs steps since 1970.
    pub fn steps(self) -> u64 {
        self.steps
    }

    /// The offset.
    pub fn offset(self) -> u64 {
        self.offset
    }

    /// Whole seconds since 1970, rounded down.
    pub fn seconds(self) -> u64 {
        self.steps / STEPS_PER_SECOND
    }

    /// Whole seconds since 1970, rounded up, as `Last-Modified` has them.
    pub fn seconds_ceil(self) -> u64 {
        self.steps.div_ceil(STEPS_PER_SECOND)
    }

    /// The next representable time.
    pub fn next(self) -> Self {
        Self::from_steps(self.steps.saturating_add(1))
    }

    /// The time as far before the greatest one as this is after 1970, so that names with it sort from
    /// the newest to the oldest. Without the offset.
    #[must_use]
    pub fn inverted(self) -> Self {
        Self { steps: STEPS_MAX.saturating_sub(self.steps), offset: 0 }
    }

    /// Without the offset, as clients see it: `1700000000.12345`.
    pub fn normal(self) -> String {
        format!("{:010}.{:05}", self.steps / STEPS_PER_SECOND, self.steps % STEPS_PER_SECOND)
    }

    /// Parses `seconds[.decimals][_offset]`. Decimals past the fifth are rounded as Python's
    /// `'%.5f'` would. Returns `None` for anything else, also for negative or too large times.
    pub fn parse(text: &str) -> Option<Self> {
        let (time, offset) = match text.split_once('_') {
            Some((time, offset)) => {
                (time, u64::from_str_radix(offset.get(..16.min(offset.len()))?, 16).ok()?)
            }
            None => (text, 0),
        };
        let (whole, decimals) = time.split_once('.').unwrap_or((time, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(decimals) {
            return None;
        }
        let seconds: u64 = whole.parse().ok()?;
        let mut fraction: u64 = 0;
        for index in 0..5 {
            let digit = decimals.as_bytes().get(index).map_or(0, |byte| u64::from(byte - b'0'));
            fraction = fraction * 10 + digit;
        }
        if decimals.as_bytes().get(5).is_some_and(|byte| *byte >= b'5') {
            fraction += 1;
        }
        let steps = seconds.checked_mul(STEPS_PER_SECOND)?.checked_add(fraction)?;
        (steps <= STEPS_MAX).then_some(Self { steps, offset })
    }

    /// `2026-11-21T06:34:06.809600`, as listings show `last_modified`.
    pub fn iso(self) -> String {
        // Listings have one in each row: written digit by digit, which formatting takes longer for.
        let (year, month, day) = civil_from_days(self.seconds() / 86_400);
        let second = self.seconds() % 86_400;
        let mut text = String::with_capacity(27);
        for (number, digits, end) in [
            (year, 4, '-'),
            (month, 2, '-'),
            (day, 2, 'T'),
            (second / 3600, 2, ':'),
            (second / 60 % 60, 2, ':'),
            (second % 60, 2, '.'),
            (self.steps % STEPS_PER_SECOND * 10, 6, 'Z'),
        ] {
            for place in (0..digits).rev() {
                let digit = number / 10_u64.pow(place) % 10;
                text.push(char::from(b'0' + digit as u8));
            }
            text.push(end);
        }
        text.pop();
        text
    }

    /// `2026-11-21T06:34:06.809Z`, as S3 shows times.
    pub fn iso_millis(self) -> String {
        let mut text = self.iso();
        text.truncate(23);
        text.push('Z');
        text
    }
}

impl fmt::Display for Timestamp {
    /// The internal form: normal form, and `_` with 16 hex digits if there is an offset.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.normal())?;
        if self.offset != 0 {
            write!(f, "_{:016x}", self.offset)?;
        }
        Ok(())
    }
}

/// Days since 1970-01-01 to year, month, day in the Gregorian calendar
/// (Howard Hinnant's `civil_from_days`, for days not before 1970).
pub fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Year, month, day to days since 1970-01-01 (Howard Hinnant's `days_from_civil`); `None` before
/// 1970 and for what is not a date.
pub fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let year_of_era = year - era * 400;
    let month_index = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_index + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// The three times that one listing row or `.meta` file name packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowTimes {
    /// When the data was written.
    pub data: Timestamp,
    /// When the content type was set.
    pub content_type: Timestamp,
    /// When the metadata was set.
    pub meta: Timestamp,
}

impl RowTimes {
    /// All three at one time.
    pub fn all(time: Timestamp) -> Self {
        Self { data: time, content_type: time, meta: time }
    }

    /// Packs as Swift's `encode_timestamps`: the first in full, each next as a signed hex delta
    /// to the one before; both deltas, or none when all are equal. The text is part of the hash by
    /// which replicas compare themselves, so there is one for each row.
    pub fn encode(&self) -> String {
        let mut text = self.data.to_string();
        if self.content_type != self.data || self.meta != self.data {
            text.push_str(&delta(self.data, self.content_type));
            text.push_str(&delta(self.content_type, self.meta));
        }
        text
    }

    /// Unpacks what [`RowTimes::encode`] packs.
    pub fn decode(text: &str) -> Option<Self> {
        let first_end = text.find(['+', '-']).unwrap_or(text.len());
        let (first, mut rest) = text.split_at(first_end);
        let mut times = [Timestamp::parse(first)?; 3];
        for index in 1..3 {
            let before = *times.get(index - 1)?;
            let time = if rest.is_empty() {
                before
            } else {
                let end = rest.get(1..)?.find(['+', '-']).map_or(rest.len(), |at| at + 1);
                let (packed, tail) = rest.split_at(end);
                rest = tail;
                apply_delta(before, packed)?
            };
            *times.get_mut(index)? = time;
        }
        let [data, content_type, meta] = times;
        Some(Self { data, content_type, meta })
    }
}

/// The signed hex difference of two times in steps: `+219b7`, `-3`, `+0`.
pub fn delta(from: Timestamp, to: Timestamp) -> String {
    if to.steps >= from.steps {
        format!("+{:x}", to.steps - from.steps)
    } else {
        format!("-{:x}", from.steps - to.steps)
    }
}

/// Adds a signed hex difference to a time.
pub fn apply_delta(from: Timestamp, delta: &str) -> Option<Timestamp> {
    let magnitude = u64::from_str_radix(delta.get(1..)?, 16).ok()?;
    let steps = match delta.as_bytes().first()? {
        b'+' => from.steps.checked_add(magnitude)?,
        b'-' => from.steps.checked_sub(magnitude)?,
        _ => return None,
    };
    (steps <= STEPS_MAX).then(|| Timestamp::from_steps(steps))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_time() -> impl Strategy<Value = Timestamp> {
        (0..=STEPS_MAX, any::<u64>())
            .prop_map(|(steps, offset)| Timestamp::from_steps(steps).with_offset(offset))
    }

    proptest! {
        #[test]
        fn a_displayed_time_is_parsed_back(time in any_time()) {
            prop_assert_eq!(Timestamp::parse(&time.to_string()), Some(time));
            prop_assert_eq!(Timestamp::parse(&time.normal()), Some(time.with_offset(0)));
        }

        #[test]
        fn displayed_times_sort_as_times_do(one in any_time(), other in any_time()) {
            prop_assert_eq!(one.cmp(&other), one.to_string().cmp(&other.to_string()));
            prop_assert_eq!(one.steps().cmp(&other.steps()), one.iso().cmp(&other.iso()));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "[0-9._+a-f-]{0,40}") {
            let time = Timestamp::parse(&text);
            prop_assert!(time.is_none_or(|time| Timestamp::parse(&time.to_string()) == Some(time)));
            let times = RowTimes::decode(&text);
            let again = times.map(|times| RowTimes::decode(&times.encode()));
            prop_assert_eq!(again, times.map(Some));
        }

        #[test]
        fn packed_times_are_unpacked(data in any_time(), one in 0..=STEPS_MAX, two in 0..=STEPS_MAX) {
            let (content_type, meta) = (Timestamp::from_steps(one), Timestamp::from_steps(two));
            let times = RowTimes { data, content_type, meta };
            prop_assert_eq!(RowTimes::decode(&times.encode()), Some(times));
        }

        #[test]
        fn dates_and_days_are_inverse(days in 0u64..2_932_896) {
            let (year, month, day) = civil_from_days(days);
            prop_assert_eq!(days_from_civil(year, month, day), Some(days));
        }
    }

    #[test]
    fn text_forms_equal_swifts() {
        let time = Timestamp::parse("1700000001.5").unwrap();
        assert_eq!(time.normal(), "1700000001.50000");
        assert_eq!(time.with_offset(3).to_string(), "1700000001.50000_0000000000000003");
        assert_eq!(
            Timestamp::parse("1700000001.50000_0000000000000003"),
            Some(time.with_offset(3))
        );
        assert_eq!(
            Timestamp::parse("1795242846.80960").unwrap().iso(),
            "2026-11-21T06:34:06.809600"
        );
    }

    #[test]
    fn row_times_round_trip_and_have_no_deltas_when_equal() {
        let times = RowTimes::decode("1700000000.12345+219b7+c350").unwrap();
        assert_eq!(times.content_type.steps() - times.data.steps(), 0x219b7);
        assert_eq!(times.meta.steps() - times.content_type.steps(), 0xc350);
        assert_eq!(times.encode(), "1700000000.12345+219b7+c350");
        assert_eq!(RowTimes::all(times.data).encode(), "1700000000.12345");
        let typed = RowTimes { meta: times.content_type, ..times };
        assert_eq!(typed.encode(), "1700000000.12345+219b7+0");
    }

    #[test]
    fn garbage_is_refused() {
        for text in ["", "x", "-1", "1e5", "99999999999", "1.2.3", "1_zz", "nan"] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }
}
