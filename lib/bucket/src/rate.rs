//! Rates of requests: how many per second a container of a size may have, and when the next may run.
//!
//! Source: `swift/common/middleware/ratelimit.py`.

use std::time::Duration;

use apus_cluster::Metadata;

/// System metadata with the rate of all writes to an account, or [`WITHOUT_LIMIT`] or [`BLOCKED`].
pub const GLOBAL_WRITES: &str = "X-Account-Sysmeta-Global-Write-Ratelimit";
/// The value that frees an account of all limits.
const WITHOUT_LIMIT: &str = "WHITELIST";
/// The value that refuses every request to an account.
const BLOCKED: &str = "BLACKLIST";

/// Requests per second by the number of objects in a container, from a least number.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RateTable(Vec<(u64, f64)>);

impl RateTable {
    /// A table of these sizes and rates, in any order.
    pub fn new(mut steps: Vec<(u64, f64)>) -> Self {
        steps.sort_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
        Self(steps)
    }

    /// Sizes and rates, ascending.
    pub fn steps(&self) -> &[(u64, f64)] {
        &self.0
    }

    /// The rate of a container with this many objects: between two sizes on the line between their
    /// rates, above the last its rate, below the first and for an empty container none.
    pub fn rate_of(&self, objects: u64) -> Option<f64> {
        if objects == 0 {
            return None;
        }
        let above = self.0.partition_point(|(size, _)| *size <= objects);
        let (size, rate) = *self.0.get(above.checked_sub(1)?)?;
        let rate = match self.0.get(above) {
            None => rate,
            Some((next, next_rate)) => {
                let part = (objects - size) as f64 / (next - size) as f64;
                rate + (next_rate - rate) * part
            }
        };
        Some(rate).filter(|rate| *rate > 0.0)
    }
}

/// The limit of an account.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AccountRate {
    /// No limit holds for it.
    Unlimited,
    /// All its requests are refused.
    Blocked,
    /// Limits hold, and all its writes together may have this rate.
    Limited(Option<f64>),
}

impl AccountRate {
    /// The limit that an account's metadata sets.
    pub fn of(headers: &Metadata) -> Self {
        match headers.get(GLOBAL_WRITES).map(String::as_str) {
            Some(WITHOUT_LIMIT) => Self::Unlimited,
            Some(BLOCKED) => Self::Blocked,
            text => {
                let rate = text.and_then(|text| text.trim().parse::<f64>().ok());
                Self::Limited(rate.filter(|rate| rate.is_finite() && *rate > 0.0))
            }
        }
    }
}

/// How requests wait.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WaitRules {
    /// Units of time per second in which rates are counted (`clock_accuracy`).
    pub units_per_second: u64,
    /// Longest wait, in seconds (`max_sleep_time_seconds`).
    pub wait_max_seconds: f64,
    /// Time without requests that is made up for by requests without a wait, in seconds
    /// (`rate_buffer_seconds`).
    pub buffer_seconds: u64,
}

/// A request that would have to wait for longer than the longest wait.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("the request would have to wait for {0:?}")]
pub struct WaitTooLong(pub Duration);

/// The time until which requests of one rate are admitted, in units since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AdmittedUntil(u64);

impl AdmittedUntil {
    /// Admits a request at a rate of more than 0 per second; returns its wait.
    ///
    /// # Errors
    /// The wait is too long; then the request does not count.
    pub fn admit(
        &mut self,
        rules: &WaitRules,
        now: Duration,
        rate: f64,
    ) -> Result<Duration, WaitTooLong> {
        let units = rules.units_per_second as f64;
        // Conversions from floating point saturate.
        let now = (now.as_secs_f64() * units).round() as u64;
        let share = (units / rate).round() as u64;
        let until = self.0.saturating_add(share);
        if now.saturating_sub(until) > self.buffer(rules) {
            self.0 = now.saturating_add(share);
            return Ok(Duration::ZERO);
        }
        let wait_units = self.0.saturating_sub(now);
        let wait = Duration::try_from_secs_f64(wait_units as f64 / units).unwrap_or(Duration::MAX);
        if rules.wait_max_seconds * units - wait_units as f64 <= units * 0.01 {
            return Err(WaitTooLong(wait));
        }
        self.0 = until;
        Ok(wait)
    }

    /// Whether a request now would be admitted as if there had been none.
    pub fn is_over(&self, rules: &WaitRules, now: Duration) -> bool {
        let now = (now.as_secs_f64() * rules.units_per_second as f64).round() as u64;
        now.saturating_sub(self.0) > self.buffer(rules)
    }

    fn buffer(&self, rules: &WaitRules) -> u64 {
        rules.buffer_seconds.saturating_mul(rules.units_per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: WaitRules =
        WaitRules { units_per_second: 1000, wait_max_seconds: 2.0, buffer_seconds: 5 };

    #[test]
    fn rates_are_on_lines_between_sizes() {
        let table = RateTable::new(vec![(200, 100.0), (100, 300.0), (300, 50.0)]);
        for (objects, rate) in [
            (0, None),
            (99, None),
            (100, Some(300.0)),
            (150, Some(200.0)),
            (200, Some(100.0)),
            (250, Some(75.0)),
            (300, Some(50.0)),
            (u64::MAX, Some(50.0)),
        ] {
            assert_eq!(table.rate_of(objects), rate, "{objects}");
        }
        assert_eq!(RateTable::default().rate_of(1), None);
        assert_eq!(RateTable::new(vec![(0, 0.0)]).rate_of(1), None, "0 is no limit");
        assert_eq!(RateTable::new(vec![(0, 5.0), (0, 7.0)]).rate_of(1), Some(7.0));
    }

    #[test]
    fn metadata_limits_accounts() {
        for (value, expected) in [
            ("WHITELIST", AccountRate::Unlimited),
            ("BLACKLIST", AccountRate::Blocked),
            ("10.5", AccountRate::Limited(Some(10.5))),
            ("0", AccountRate::Limited(None)),
            ("-1", AccountRate::Limited(None)),
            ("inf", AccountRate::Limited(None)),
            ("blacklist", AccountRate::Limited(None)),
        ] {
            let headers = Metadata::from([(GLOBAL_WRITES.to_owned(), value.to_owned())]);
            assert_eq!(AccountRate::of(&headers), expected, "{value}");
        }
        assert_eq!(AccountRate::of(&Metadata::new()), AccountRate::Limited(None));
    }

    #[test]
    fn requests_wait_for_their_turn_and_are_refused_when_it_is_far() {
        let start = Duration::from_secs(1_700_000_000);
        let mut state = AdmittedUntil::default();
        let mut waits = Vec::new();
        for _ in 0..5 {
            waits.push(state.admit(&RULES, start, 2.0).map(|wait| wait.as_millis()));
        }
        assert_eq!(waits[..4], [Ok(0), Ok(500), Ok(1000), Ok(1500)]);
        assert_eq!(state.admit(&RULES, start, 2.0), Err(WaitTooLong(Duration::from_secs(2))));
        // A refused request does not count.
        let later = start + Duration::from_millis(500);
        assert_eq!(state.admit(&RULES, later, 2.0), Ok(Duration::from_millis(1500)));
    }

    #[test]
    fn time_without_requests_is_made_up_for_up_to_the_buffer() {
        let start = Duration::from_secs(1_700_000_000);
        let mut state = AdmittedUntil::default();
        assert_eq!(state.admit(&RULES, start, 1.0), Ok(Duration::ZERO));
        let later = start + Duration::from_secs(4);
        assert!(!state.is_over(&RULES, later));
        for _ in 0..4 {
            assert_eq!(state.admit(&RULES, later, 1.0), Ok(Duration::ZERO));
        }
        assert_eq!(state.admit(&RULES, later, 1.0), Ok(Duration::from_secs(1)));
        let much_later = later + Duration::from_secs(60);
        assert!(state.is_over(&RULES, much_later));
        assert_eq!(state.admit(&RULES, much_later, 1.0), Ok(Duration::ZERO));
        assert_eq!(state.admit(&RULES, much_later, 1.0), Ok(Duration::from_secs(1)));
    }
}
