//! Lifecycle of objects: the rules of a bucket, their validation and their evaluation.
//!
//! Everything here is pure: the daemon, the dry run and the response header `x-amz-expiration` ask the
//! same functions. Source of the rules: "Lifecycle configuration elements" and "Examples of S3 Lifecycle
//! configurations" in AWS's user guide, and `LifecycleConfiguration` of its service model.

use std::collections::BTreeSet;

use apus_cluster::timestamp::days_from_civil;
use serde::{Deserialize, Serialize};

use crate::tagging::{Tag, TagError, TagSet, TaggedResource};

/// Most rules of a bucket (AWS's).
pub const RULES_MAX: usize = 1000;
/// Longest id of a rule, in characters (AWS's).
const ID_CHARACTERS_MAX: usize = 255;
/// Longest prefix of a filter, in bytes: that of a key.
const PREFIX_BYTES_MAX: usize = 1024;
/// Most versions that a rule may keep (AWS's).
const NEWER_VERSIONS_MAX: u32 = 100;
/// Seconds of a day.
const DAY_SECONDS: u64 = 86_400;

/// The rules of a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleConfiguration {
    /// The rules in the client's order.
    pub rules: Vec<LifecycleRule>,
    /// `x-amz-transition-default-minimum-object-size` of the request, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transition_minimum: Option<String>,
}

/// One rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleRule {
    /// Its id.
    pub id: String,
    /// Whether it has an effect.
    pub enabled: bool,
    /// The objects to which it applies.
    pub filter: RuleFilter,
    /// What happens to current versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<RuleExpiration>,
    /// What happens to other versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noncurrent: Option<NoncurrentExpiration>,
    /// Days after which an upload in progress is aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_uploads_days: Option<u32>,
}

/// How the client wrote a filter, for the response to a GET.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilterForm {
    /// `Prefix` of the rule itself, which AWS calls deprecated.
    Legacy,
    /// `Filter` with at most one condition.
    #[default]
    Single,
    /// `Filter` with `And`.
    And,
}

/// The objects to which a rule applies: those that meet all conditions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleFilter {
    /// How the client wrote it.
    pub form: FilterForm,
    /// Beginning of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Tags that the object must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// The object has more bytes than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_above: Option<u64>,
    /// The object has fewer bytes than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_below: Option<u64>,
}

/// When the current version of an object expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleExpiration {
    /// This number of days after it was written.
    Days(u32),
    /// At this time, in seconds since 1970.
    Date(u64),
    /// Never; whether a delete marker without older versions is removed.
    DeleteMarker(bool),
}

/// When other versions of an object expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoncurrentExpiration {
    /// This number of days after a newer version was written.
    pub days: u32,
    /// If at least this number of newer noncurrent versions exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newer_versions: Option<u32>,
}

/// The reason for which a configuration is refused, with the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LifecycleFault {
    /// It does not have the structure of AWS's schema.
    #[error("{0}")]
    Malformed(String),
    /// A value is invalid.
    #[error("{0}")]
    InvalidArgument(String),
    /// Valid values that do not go together.
    #[error("{0}")]
    InvalidRequest(String),
}

fn malformed(text: impl Into<String>) -> LifecycleFault {
    LifecycleFault::Malformed(text.into())
}

fn argument(text: impl Into<String>) -> LifecycleFault {
    LifecycleFault::InvalidArgument(text.into())
}

fn request(text: impl Into<String>) -> LifecycleFault {
    LifecycleFault::InvalidRequest(text.into())
}

impl LifecycleConfiguration {
    /// Checks what AWS checks.
    ///
    /// # Errors
    /// See [`LifecycleFault`].
    pub fn check(&self) -> Result<(), LifecycleFault> {
        if self.rules.is_empty() || self.rules.len() > RULES_MAX {
            let count = self.rules.len();
            return Err(malformed(format!("Rule: {count} rules, expected 1 to {RULES_MAX}")));
        }
        let mut ids = BTreeSet::new();
        for rule in &self.rules {
            rule.check()?;
            if !ids.insert(rule.id.as_str()) {
                return Err(argument(format!(
                    "Rule ID must be unique. Found same ID for more than one rule: {}",
                    rule.id
                )));
            }
        }
        Ok(())
    }

    /// The rules that have an effect, with their index.
    fn enabled(&self) -> impl Iterator<Item = (usize, &LifecycleRule)> {
        self.rules.iter().enumerate().filter(|(_, rule)| rule.enabled)
    }

    /// Prefixes under which all objects are to which rules with this property apply: sorted, none of
    /// them within another.
    fn prefixes(&self, has: impl Fn(&LifecycleRule) -> bool) -> Vec<String> {
        let rules = self.enabled().filter(|(_, rule)| has(rule));
        let all: BTreeSet<&str> = rules.map(|(_, rule)| rule.filter.prefix()).collect();
        let mut kept: Vec<String> = Vec::new();
        // A prefix comes right before the names that begin with it.
        for prefix in all {
            if !kept.last().is_some_and(|last| prefix.starts_with(last.as_str())) {
                kept.push(prefix.to_owned());
            }
        }
        kept
    }

    /// Prefixes of the keys whose current versions may expire.
    pub fn current_prefixes(&self) -> Vec<String> {
        self.prefixes(|rule| {
            matches!(rule.expiration, Some(RuleExpiration::Days(_) | RuleExpiration::Date(_)))
        })
    }

    /// Prefixes of the keys of which any version may expire.
    pub fn version_prefixes(&self) -> Vec<String> {
        self.prefixes(|rule| {
            rule.noncurrent.is_some()
                || !matches!(rule.expiration, None | Some(RuleExpiration::DeleteMarker(false)))
        })
    }

    /// Prefixes of the keys whose uploads may be aborted.
    pub fn upload_prefixes(&self) -> Vec<String> {
        self.prefixes(|rule| rule.abort_uploads_days.is_some())
    }

    /// What the rules say of an entry.
    pub fn verdict(
        &self,
        entry: &LifecycleEntry<'_>,
        now: u64,
        day: DayLength,
    ) -> LifecycleVerdict {
        let mut needs_tags = false;
        for (index, rule) in self.enabled() {
            let is_due = rule.due_at(entry, day).is_some_and(|at| at <= now);
            match (is_due, rule.filter.matches(entry)) {
                (true, FilterMatch::Yes) => return LifecycleVerdict::Due { rule: index },
                (true, FilterMatch::DependsOnTags) => needs_tags = true,
                _ => {}
            }
        }
        if needs_tags { LifecycleVerdict::NeedsTags } else { LifecycleVerdict::Keep }
    }

    /// When a current version expires, in seconds since 1970, and the id of the rule: the earliest.
    /// It is what `x-amz-expiration` reports.
    pub fn expiry(&self, entry: &LifecycleEntry<'_>) -> Option<(u64, &str)> {
        let matching =
            self.enabled().filter(|(_, rule)| rule.filter.matches(entry) == FilterMatch::Yes);
        let times = matching.filter_map(|(_, rule)| {
            let at = rule.due_at(entry, DayLength::REAL)?;
            Some((at, rule.id.as_str()))
        });
        times.min_by_key(|(at, _)| *at)
    }

    /// Whether a rule that is enabled has a condition on tags.
    pub fn has_tag_conditions(&self) -> bool {
        self.enabled().any(|(_, rule)| !rule.filter.tags.is_empty())
    }
}

impl LifecycleRule {
    fn check(&self) -> Result<(), LifecycleFault> {
        if self.id.chars().count() > ID_CHARACTERS_MAX {
            return Err(argument(format!(
                "ID length should not exceed allowed limit of {ID_CHARACTERS_MAX}"
            )));
        }
        self.filter.check()?;
        if self.expiration.is_none()
            && self.noncurrent.is_none()
            && self.abort_uploads_days.is_none()
        {
            return Err(request("At least one action needs to be specified in a rule"));
        }
        match self.expiration {
            Some(RuleExpiration::Days(0)) => {
                return Err(argument("'Days' for Expiration action must be a positive integer"));
            }
            Some(RuleExpiration::Date(at)) if at % DAY_SECONDS != 0 => {
                return Err(argument("'Date' must be at midnight GMT"));
            }
            Some(RuleExpiration::DeleteMarker(_)) if !self.filter.tags.is_empty() => {
                return Err(request("ExpiredObjectDeleteMarker cannot be specified with Tags"));
            }
            _ => {}
        }
        if let Some(noncurrent) = self.noncurrent {
            if noncurrent.days == 0 {
                return Err(argument(
                    "'NoncurrentDays' for NoncurrentVersionExpiration action must be a positive integer",
                ));
            }
            let newer = noncurrent.newer_versions.unwrap_or(1);
            if newer == 0 || newer > NEWER_VERSIONS_MAX {
                return Err(argument(format!(
                    "'NewerNoncurrentVersions' for NoncurrentVersionExpiration action must be a positive integer of at most {NEWER_VERSIONS_MAX}"
                )));
            }
        }
        match self.abort_uploads_days {
            Some(0) => Err(argument(
                "'DaysAfterInitiation' for AbortIncompleteMultipartUpload action must be a positive integer",
            )),
            Some(_) if !self.filter.tags.is_empty() => {
                Err(request("AbortIncompleteMultipartUpload cannot be specified with Tags"))
            }
            Some(_) if self.filter.has_size() => {
                Err(request("AbortIncompleteMultipartUpload cannot be specified with Object Size"))
            }
            _ => Ok(()),
        }
    }

    /// When the rule acts on an entry that its filter matches; `None` for never.
    fn due_at(&self, entry: &LifecycleEntry<'_>, day: DayLength) -> Option<u64> {
        let expires = |since: u64| match self.expiration? {
            RuleExpiration::Days(days) => Some(day.after(since, days)),
            RuleExpiration::Date(at) => Some(at),
            RuleExpiration::DeleteMarker(_) => None,
        };
        match entry.state {
            LifecycleState::Current => expires(entry.modified),
            LifecycleState::LoneMarker => match self.expiration? {
                RuleExpiration::DeleteMarker(true) => Some(entry.modified),
                _ => expires(entry.modified),
            },
            LifecycleState::Noncurrent { since, newer } => {
                let noncurrent = self.noncurrent?;
                let enough = noncurrent.newer_versions.is_none_or(|kept| newer >= u64::from(kept));
                enough.then(|| day.after(since, noncurrent.days))
            }
            LifecycleState::Upload => {
                self.abort_uploads_days.map(|days| day.after(entry.modified, days))
            }
        }
    }
}

/// Whether a filter matches an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FilterMatch {
    Yes,
    No,
    /// It does if the object has the tags, which are not known.
    DependsOnTags,
}

impl RuleFilter {
    /// The beginning of all keys.
    pub fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or_default()
    }

    fn has_size(&self) -> bool {
        self.size_above.is_some() || self.size_below.is_some()
    }

    fn check(&self) -> Result<(), LifecycleFault> {
        if self.prefix().len() > PREFIX_BYTES_MAX {
            return Err(request(format!("The maximum size of a prefix is {PREFIX_BYTES_MAX}")));
        }
        let conditions = usize::from(self.prefix.is_some())
            + self.tags.len()
            + usize::from(self.size_above.is_some())
            + usize::from(self.size_below.is_some());
        let fits = match self.form {
            FilterForm::Legacy => self.prefix.is_some() && conditions == 1,
            FilterForm::Single => conditions <= 1,
            FilterForm::And => conditions >= 2,
        };
        if !fits {
            return Err(malformed(format!(
                "Filter: {conditions} conditions, expected at most one, or two and more within And"
            )));
        }
        TagSet::new(self.tags.clone(), TaggedResource::Object).map_err(|error| match error {
            TagError::Duplicate(_) | TagError::TooMany { .. } => request(format!("Tag: {error}")),
            _ => argument(format!("Tag: {error}")),
        })?;
        match (self.size_above, self.size_below) {
            (Some(above), Some(below)) if above >= below => Err(request(format!(
                "'ObjectSizeGreaterThan' ({above}) should be less than 'ObjectSizeLessThan' ({below})"
            ))),
            // No object has a length below 0, and every one has a length below 1 byte or more.
            (_, Some(0)) => Err(argument("'ObjectSizeLessThan' must be a positive integer")),
            _ => Ok(()),
        }
    }

    fn matches(&self, entry: &LifecycleEntry<'_>) -> FilterMatch {
        // An upload in progress and a delete marker have no length.
        let is_object =
            matches!(entry.state, LifecycleState::Current | LifecycleState::Noncurrent { .. });
        let holds = entry.name.starts_with(self.prefix())
            && self.size_above.is_none_or(|size| is_object && entry.size > size)
            && self.size_below.is_none_or(|size| is_object && entry.size < size);
        match (holds, self.tags.is_empty(), entry.tags) {
            (false, ..) => FilterMatch::No,
            (true, true, _) => FilterMatch::Yes,
            (true, false, None) => FilterMatch::DependsOnTags,
            (true, false, Some(tags)) => {
                let has = self.tags.iter().all(|wanted| tags.contains(wanted));
                if has { FilterMatch::Yes } else { FilterMatch::No }
            }
        }
    }
}

/// Parses a date of a rule: `2030-01-01`, or with a time and an offset from UTC, in seconds since 1970.
pub fn parse_date(text: &str) -> Option<u64> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
    let number = |text: &str, digits: usize| {
        let valid = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>().ok().filter(|_| valid)
    };
    let mut words = date.splitn(3, '-');
    let mut next = |digits| number(words.next()?, digits);
    let days = days_from_civil(next(4)?, next(2)?, next(2)?)?;
    let zone = time.find(['Z', '+', '-'])?;
    let (clock, zone) = time.split_at_checked(zone)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    if !fraction.bytes().all(|byte| byte == b'0') {
        return None;
    }
    let minutes_of = |text: &str| {
        let (hours, minutes) = text.split_once(':')?;
        let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
        (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
    };
    let (minutes, seconds) = clock.rsplit_once(':')?;
    let seconds = number(seconds, 2).filter(|seconds| *seconds < 60)?;
    let at = days * DAY_SECONDS + minutes_of(minutes)? * 60 + seconds;
    match zone.split_at_checked(1)? {
        ("Z", "") => Some(at),
        ("+", offset) => at.checked_sub(minutes_of(offset)? * 60),
        ("-", offset) => Some(at + minutes_of(offset)? * 60),
        _ => None,
    }
}

/// What an entry of a bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifecycleState {
    /// The current version of an object, or an object of a bucket without versions.
    Current,
    /// A delete marker that is the only version of its key.
    LoneMarker,
    /// A version, possibly a delete marker, that is not the current one.
    Noncurrent {
        /// When the next newer version was written, in seconds since 1970.
        since: u64,
        /// Number of newer versions that are not current either.
        newer: u64,
    },
    /// An upload in progress.
    Upload,
}

/// An entry of a bucket.
#[derive(Debug, Clone, Copy)]
pub struct LifecycleEntry<'a> {
    /// Its key.
    pub name: &'a str,
    /// Its length in bytes.
    pub size: u64,
    /// Its tags; `None` when they are not known.
    pub tags: Option<&'a [Tag]>,
    /// When it was written, in seconds since 1970, as `Last-Modified` has it.
    pub modified: u64,
    /// What it is.
    pub state: LifecycleState,
}

/// What the rules say of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifecycleVerdict {
    /// It stays for now.
    Keep,
    /// It is removed if it has certain tags, which are not known.
    NeedsTags,
    /// It is removed: an object is deleted (with versions: gets a delete marker), a version or delete
    /// marker is deleted, an upload is aborted.
    Due {
        /// Index of the rule.
        rule: usize,
    },
}

/// The length of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayLength {
    /// Its seconds.
    seconds: u64,
}

impl DayLength {
    /// A day of 24 hours.
    pub const REAL: Self = Self { seconds: DAY_SECONDS };

    /// A day of this number of seconds, for tests; at least 1.
    pub fn seconds(seconds: u64) -> Self {
        Self { seconds: seconds.max(1) }
    }

    /// The time at which `days` have passed. AWS rounds it up to midnight UTC; other than real days
    /// are not rounded.
    fn after(self, since: u64, days: u32) -> u64 {
        let at = since.saturating_add(u64::from(days).saturating_mul(self.seconds));
        match self.seconds {
            DAY_SECONDS => at.div_ceil(DAY_SECONDS).saturating_mul(DAY_SECONDS),
            _ => at,
        }
    }
}

#[cfg(test)]
mod tests;
