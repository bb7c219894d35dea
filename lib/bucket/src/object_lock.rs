//! Object lock: retention, legal hold and the default of a bucket, and what they forbid.
//!
//! A locked version cannot be removed. Governance can be bypassed by who may do that; compliance
//! cannot, and is never shortened. Times are milliseconds since 1970.
//!
//! Source: "Locking objects with Object Lock" in the Amazon S3 User Guide.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Object metadata with the retention of a version.
pub const RETENTION: &str = "X-Object-Transient-Sysmeta-Apus-S3-Retention";
/// Object metadata with the legal hold of a version.
pub const LEGAL_HOLD: &str = "X-Object-Transient-Sysmeta-Apus-S3-Legal-Hold";
/// Container metadata that marks containers with objects that have tags or locks.
pub const SETTINGS_MARK: &str = "X-Container-Sysmeta-Apus-Object-Settings";
/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Days of a year of a default retention.
const YEAR_DAYS: u64 = 365;
/// Longest default retention, in days.
pub const DAYS_MAX: u32 = 36_500;
/// Longest default retention, in years.
pub const YEARS_MAX: u32 = 100;

/// The strength of a retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetentionMode {
    /// The owner may bypass it.
    #[serde(rename = "GOVERNANCE")]
    Governance,
    /// It ends only with time.
    #[serde(rename = "COMPLIANCE")]
    Compliance,
}

impl RetentionMode {
    /// Parses S3's word, in capitals.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "GOVERNANCE" => Some(Self::Governance),
            "COMPLIANCE" => Some(Self::Compliance),
            _ => None,
        }
    }
}

impl fmt::Display for RetentionMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        })
    }
}

/// The retention of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Its strength.
    pub mode: RetentionMode,
    /// Its end.
    pub until_ms: u64,
}

impl Retention {
    /// The text that is stored with an object.
    pub fn to_stored(self) -> String {
        format!("{} {}", self.mode, self.until_ms)
    }

    /// Reads a stored text. A damaged one counts as compliance without an end, since it must not
    /// release what may be locked.
    pub fn from_stored(text: &str) -> Self {
        let parsed = text.split_once(' ').and_then(|(mode, until)| {
            Some(Self { mode: RetentionMode::parse(mode)?, until_ms: until.parse().ok()? })
        });
        parsed.unwrap_or(Self { mode: RetentionMode::Compliance, until_ms: u64::MAX })
    }
}

/// Stored texts of a legal hold.
const ON: &str = "ON";
const OFF: &str = "OFF";

/// The stored text of a legal hold.
pub fn hold_to_stored(on: bool) -> &'static str {
    if on { ON } else { OFF }
}

/// Reads the stored text of a legal hold. A damaged one counts as on.
pub fn hold_from_stored(text: &str) -> bool {
    text != OFF
}

/// Why something is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LockRefusal {
    /// A legal hold is on.
    #[error("the version is under a legal hold")]
    LegalHold,
    /// The retention has not ended.
    #[error("the version is retained until a later date in {0} mode")]
    Retained(RetentionMode),
}

/// The locks of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VersionLock {
    /// The retention, if it ever had one.
    pub retention: Option<Retention>,
    /// Whether a legal hold is on.
    pub legal_hold: bool,
}

impl VersionLock {
    /// Reads what is stored with an object.
    pub fn from_stored(retention: Option<&str>, hold: Option<&str>) -> Self {
        Self {
            retention: retention.map(Retention::from_stored),
            legal_hold: hold.is_some_and(hold_from_stored),
        }
    }

    /// Whether the version may be removed now; `bypass` is for who may bypass governance.
    ///
    /// # Errors
    /// See [`LockRefusal`].
    pub fn check_removal(&self, now_ms: u64, bypass: bool) -> Result<(), LockRefusal> {
        if self.legal_hold {
            return Err(LockRefusal::LegalHold);
        }
        match self.retention.filter(|retention| retention.until_ms > now_ms) {
            Some(Retention { mode: RetentionMode::Governance, .. }) if bypass => Ok(()),
            Some(retention) => Err(LockRefusal::Retained(retention.mode)),
            None => Ok(()),
        }
    }

    /// Whether the retention may be replaced now; `None` removes it. One that has not ended may only
    /// become longer; in governance mode `bypass` allows the rest.
    ///
    /// # Errors
    /// See [`LockRefusal`].
    pub fn check_change(
        &self,
        new: Option<Retention>,
        now_ms: u64,
        bypass: bool,
    ) -> Result<(), LockRefusal> {
        let Some(old) = self.retention.filter(|retention| retention.until_ms > now_ms) else {
            return Ok(());
        };
        let is_longer = new.is_some_and(|new| new.mode == old.mode && new.until_ms >= old.until_ms);
        match old.mode {
            _ if is_longer => Ok(()),
            RetentionMode::Governance if bypass => Ok(()),
            mode => Err(LockRefusal::Retained(mode)),
        }
    }
}

/// The length of a default retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetentionPeriod {
    /// In days.
    Days(u32),
    /// In years of 365 days.
    Years(u32),
}

/// The retention of versions that are written without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultRetention {
    /// Its strength.
    pub mode: RetentionMode,
    /// Its length.
    pub period: RetentionPeriod,
}

/// Why a default retention was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    /// Zero, or a negative number.
    #[error("Default retention period must be a positive integer value.")]
    NotPositive,
    /// More than 100 years.
    #[error(
        "Default retention period too large. The maximum is {DAYS_MAX} days or {YEARS_MAX} years."
    )]
    TooLong,
}

impl RetentionPeriod {
    /// Checks a number of days (or of years).
    ///
    /// # Errors
    /// See [`PeriodError`].
    pub fn checked(number: i64, in_years: bool) -> Result<Self, PeriodError> {
        let max = if in_years { YEARS_MAX } else { DAYS_MAX };
        let number = match u32::try_from(number) {
            Ok(number) if number > max => return Err(PeriodError::TooLong),
            Ok(number) if number > 0 => number,
            Err(_) if number > 0 => return Err(PeriodError::TooLong),
            _ => return Err(PeriodError::NotPositive),
        };
        Ok(if in_years { Self::Years(number) } else { Self::Days(number) })
    }
}

impl DefaultRetention {
    /// The retention of a version that is written now.
    pub fn of_version(self, now_ms: u64) -> Retention {
        let days = match self.period {
            RetentionPeriod::Days(days) => u64::from(days),
            RetentionPeriod::Years(years) => u64::from(years) * YEAR_DAYS,
        };
        Retention { mode: self.mode, until_ms: now_ms.saturating_add(days * DAY_MS) }
    }
}

/// The configuration of a bucket whose versions can be locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ObjectLockConfig {
    /// The retention of versions that are written without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<DefaultRetention>,
}

#[cfg(test)]
mod tests {
    use super::RetentionMode::{Compliance, Governance};
    use super::*;

    const NOW: u64 = 1_000_000;

    fn retained(mode: RetentionMode, until_ms: u64) -> VersionLock {
        VersionLock { retention: Some(Retention { mode, until_ms }), legal_hold: false }
    }

    #[test]
    fn a_locked_version_is_not_removed() {
        let held = VersionLock { legal_hold: true, ..VersionLock::default() };
        let both = VersionLock { legal_hold: true, ..retained(Governance, NOW - 1) };
        for (lock, plain, bypassed) in [
            (VersionLock::default(), true, true),
            (held, false, false),
            (both, false, false),
            (retained(Governance, NOW), true, true),
            (retained(Governance, NOW + 1), false, true),
            (retained(Compliance, NOW), true, true),
            (retained(Compliance, NOW + 1), false, false),
            (retained(Compliance, u64::MAX), false, false),
        ] {
            assert_eq!(lock.check_removal(NOW, false).is_ok(), plain, "{lock:?}");
            assert_eq!(lock.check_removal(NOW, true).is_ok(), bypassed, "{lock:?}");
        }
    }

    #[test]
    fn a_retention_only_becomes_longer() {
        let to = |mode, until_ms| Some(Retention { mode, until_ms });
        let later = NOW + 10;
        for (lock, new, plain, bypassed) in [
            (VersionLock::default(), to(Compliance, later), true, true),
            (retained(Compliance, NOW), None, true, true),
            (retained(Governance, later), to(Governance, later), true, true),
            (retained(Governance, later), to(Governance, later + 1), true, true),
            (retained(Governance, later), to(Governance, later - 1), false, true),
            (retained(Governance, later), to(Compliance, later + 1), false, true),
            (retained(Governance, later), None, false, true),
            (retained(Compliance, later), to(Compliance, later), true, true),
            (retained(Compliance, later), to(Compliance, later - 1), false, false),
            (retained(Compliance, later), to(Governance, later + 1), false, false),
            (retained(Compliance, later), None, false, false),
        ] {
            assert_eq!(lock.check_change(new, NOW, false).is_ok(), plain, "{lock:?} {new:?}");
            assert_eq!(lock.check_change(new, NOW, true).is_ok(), bypassed, "{lock:?} {new:?}");
        }
    }

    #[test]
    fn whatever_happens_a_version_stays_until_its_compliance_ends() {
        // Model check: every sequence of three changes and time steps, with and without bypass.
        let changes: Vec<Option<Retention>> = [None]
            .into_iter()
            .chain(
                [Governance, Compliance]
                    .into_iter()
                    .flat_map(|mode| [1, 2, 3].map(|until_ms| Some(Retention { mode, until_ms }))),
            )
            .collect();
        let mut checked = 0;
        for steps in 0..changes.len().pow(3) * 64 {
            let mut rest = steps;
            let mut take = |base: usize| {
                let digit = rest % base;
                rest /= base;
                digit
            };
            let mut lock = VersionLock::default();
            let (mut now, mut promised) = (0, 0);
            for _ in 0..3 {
                let new = changes[take(changes.len())];
                let (bypass, wait) = (take(2) == 1, take(2) as u64);
                now += wait;
                if lock.check_change(new, now, bypass).is_ok() {
                    lock.retention = new;
                }
                if let Some(Retention { mode: Compliance, until_ms }) = lock.retention {
                    promised = promised.max(until_ms);
                }
                assert!(now >= promised || lock.check_removal(now, true).is_err());
                checked += 1;
            }
        }
        assert!(checked > 10_000);
    }

    #[test]
    fn what_is_stored_reads_back_and_damage_keeps_the_lock() {
        let retention = Retention { mode: Governance, until_ms: 1_893_456_000_000 };
        assert_eq!(retention.to_stored(), "GOVERNANCE 1893456000000");
        assert_eq!(Retention::from_stored(&retention.to_stored()), retention);
        for damaged in ["", "GOVERNANCE", "GOVERNANCE x", "governance 1", "X 1", "COMPLIANCE -1"] {
            assert!(
                VersionLock::from_stored(Some(damaged), None).check_removal(NOW, true).is_err(),
                "{damaged}"
            );
        }
        for (text, on) in [("ON", true), ("OFF", false), ("", true), ("off", true)] {
            assert_eq!(VersionLock::from_stored(None, Some(text)).legal_hold, on, "{text}");
        }
        assert_eq!((hold_to_stored(true), hold_to_stored(false)), ("ON", "OFF"));
    }

    #[test]
    fn a_default_retention_is_positive_and_at_most_a_hundred_years() {
        for (number, in_years, expected) in [
            (1, false, Ok(RetentionPeriod::Days(1))),
            (36_500, false, Ok(RetentionPeriod::Days(36_500))),
            (100, true, Ok(RetentionPeriod::Years(100))),
            (0, false, Err(PeriodError::NotPositive)),
            (-1, true, Err(PeriodError::NotPositive)),
            (36_501, false, Err(PeriodError::TooLong)),
            (101, true, Err(PeriodError::TooLong)),
            (i64::MAX, true, Err(PeriodError::TooLong)),
        ] {
            assert_eq!(RetentionPeriod::checked(number, in_years), expected, "{number}");
        }
        let default = DefaultRetention { mode: Compliance, period: RetentionPeriod::Years(2) };
        assert_eq!(default.of_version(NOW).until_ms, NOW + 730 * DAY_MS);
    }
}
