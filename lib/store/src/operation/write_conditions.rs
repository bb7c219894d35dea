//! Conditions on writes, checked against the newest version while no other write can commit.

use apus_cluster::Timestamp;
use apus_cluster::etag::EtagList;

use super::object::ObjectHead;
use crate::settings::lock_of;
use crate::{Error, Kind, Result, Subject};

/// Conditions of a PUT, a completed upload, a copy's target or a DELETE.
#[derive(Debug, Clone, Default)]
pub struct WriteConditions {
    /// `If-Match`: the existing object has one of these etags.
    pub if_match: Option<EtagList>,
    /// `If-None-Match`: the existing object, if any, has none of these etags.
    pub if_none_match: Option<EtagList>,
    /// The existing object has this length in bytes.
    pub size: Option<u64>,
    /// The existing object was last modified in this second since 1970, rounded up.
    pub modified: Option<u64>,
    /// The existing object has exactly this time, offset aside: nothing changed it since it was listed.
    pub unchanged_since: Option<Timestamp>,
    /// System metadata that may hold the etag to compare with; the first that exists counts.
    pub etag_at: Vec<String>,
    /// System metadata that may hold the length to compare with; the first that exists counts.
    pub size_at: Vec<String>,
    /// System metadata that may hold the time of the last change to compare with.
    pub modified_at: Option<String>,
    /// No write of the object, deletions included, is newer than this time. Otherwise the write
    /// fails with `Conflict`.
    pub nothing_newer_than: Option<Timestamp>,
    /// No object lock protects the existing object. Stages set it, and neither dialect.
    pub unlocked: Option<LockCheck>,
}

/// The condition that no object lock protects the existing object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockCheck {
    /// Milliseconds since 1970.
    pub now_ms: u64,
    /// Whether governance is bypassed.
    pub bypass: bool,
}

impl LockCheck {
    /// Checks the locks of an object.
    ///
    /// # Errors
    /// `Locked`.
    pub fn check(self, current: &ObjectHead) -> Result<()> {
        let checked = lock_of(current).check_removal(self.now_ms, self.bypass);
        checked.map_err(|refusal| Error::new(Kind::Locked, Subject::Object).because(refusal))
    }
}

impl WriteConditions {
    /// No object may exist (`If-None-Match: *`).
    pub fn absent() -> Self {
        Self { if_none_match: Some(EtagList::parse("*")), ..Self::default() }
    }

    /// Whether there are no conditions.
    pub fn is_empty(&self) -> bool {
        self.if_match.is_none()
            && self.if_none_match.is_none()
            && self.size.is_none()
            && self.modified.is_none()
            && self.unchanged_since.is_none()
            && self.unlocked.is_none()
            && self.nothing_newer_than.is_none()
    }

    /// Whether the only condition is that no object exists.
    pub fn is_absent_only(&self) -> bool {
        self.if_none_match.as_ref().is_some_and(EtagList::any)
            && self.if_match.is_none()
            && self.size.is_none()
            && self.modified.is_none()
            && self.unchanged_since.is_none()
            && self.unlocked.is_none()
            && self.nothing_newer_than.is_none()
    }

    /// Checks the time of the newest write or deletion of the name.
    ///
    /// # Errors
    /// `Conflict`.
    pub fn check_newest(&self, newest: Option<Timestamp>) -> Result<()> {
        match self.nothing_newer_than.zip(newest) {
            Some((limit, newest)) if newest > limit => {
                Err(Error::new(Kind::Conflict, Subject::Object))
            }
            _ => Ok(()),
        }
    }

    /// Checks the conditions against the existing object, if any.
    ///
    /// # Errors
    /// `PreconditionFailed`; `NotFound` when an object must match and none exists.
    pub fn check(&self, current: Option<&ObjectHead>) -> Result<()> {
        let Some(current) = current else {
            let wants_one = self.if_match.is_some()
                || self.size.is_some()
                || self.modified.is_some()
                || self.unchanged_since.is_some();
            return if wants_one {
                Err(Error::new(Kind::NotFound, Subject::Object))
            } else {
                Ok(())
            };
        };
        if let Some(unlocked) = self.unlocked {
            unlocked.check(current)?;
        }
        let at = |names: &[String]| names.iter().find_map(|name| current.get(name));
        let etag = at(&self.etag_at).unwrap_or(&current.etag);
        let length = at(&self.size_at).and_then(|text| text.parse().ok()).unwrap_or(current.length);
        let stated = self.modified_at.as_ref().and_then(|name| current.get(name));
        let time = stated.and_then(Timestamp::parse).unwrap_or(current.timestamp);
        let modified = time.seconds_ceil();
        let holds = self.if_match.as_ref().is_none_or(|list| list.matches(etag))
            && self.if_none_match.as_ref().is_none_or(|list| !list.matches(etag))
            && self.size.is_none_or(|size| size == length)
            && self.modified.is_none_or(|second| second == modified)
            && self.unchanged_since.is_none_or(|since| since.steps() == time.steps());
        if holds { Ok(()) } else { Err(Error::new(Kind::PreconditionFailed, Subject::Object)) }
    }
}

#[cfg(test)]
mod tests {
    use apus_cluster::Metadata;

    use super::*;

    fn object() -> ObjectHead {
        let joined = ("X-Object-Sysmeta-S3Api-Etag".to_owned(), "joined-2".to_owned());
        ObjectHead {
            timestamp: Timestamp::from_steps(1_000_000_000_001),
            length: 7,
            etag: "own".to_owned(),
            metadata: Metadata::from([joined]),
            ..ObjectHead::default()
        }
    }

    #[test]
    fn the_time_of_a_version_is_that_of_its_link() {
        let mut link = object();
        let at = "X-Object-Sysmeta-At".to_owned();
        link.metadata.insert(at.clone(), "0000000007.00000".to_owned());
        let seven = WriteConditions { modified: Some(7), ..WriteConditions::default() };
        assert_eq!(kind(&seven, Some(&link)), Some(Kind::PreconditionFailed));
        let stated = WriteConditions { modified_at: Some(at), ..seven };
        assert_eq!(kind(&stated, Some(&link)), None);
    }

    fn kind(conditions: &WriteConditions, current: Option<&ObjectHead>) -> Option<Kind> {
        conditions.check(current).err().map(|error| error.kind)
    }

    #[test]
    fn each_condition_is_checked_against_the_existing_object() {
        let there = object();
        let failed = Some(Kind::PreconditionFailed);
        let list = |text| Some(EtagList::parse(text));
        let none = WriteConditions::default();
        assert_eq!(kind(&WriteConditions::absent(), None), None);
        assert_eq!(kind(&WriteConditions::absent(), Some(&there)), failed);
        let matching = WriteConditions { if_match: list("\"own\""), ..none.clone() };
        assert_eq!(kind(&matching, Some(&there)), None);
        assert_eq!(kind(&matching, None), Some(Kind::NotFound));
        let at = vec!["X-Object-Sysmeta-S3Api-Etag".to_owned()];
        let other = WriteConditions { etag_at: at, ..matching };
        assert_eq!(kind(&other, Some(&there)), failed);
        let unlike = WriteConditions { if_none_match: list("own"), ..none.clone() };
        assert_eq!(kind(&unlike, Some(&there)), failed);
        assert_eq!(kind(&unlike, None), None);
        for (size, holds) in [(7, true), (8, false)] {
            let sized = WriteConditions { size: Some(size), ..none.clone() };
            assert_eq!(kind(&sized, Some(&there)).is_none(), holds);
        }
        for (second, holds) in [(10_000_001, true), (10_000_000, false)] {
            let dated = WriteConditions { modified: Some(second), ..none.clone() };
            assert_eq!(kind(&dated, Some(&there)).is_none(), holds);
        }
        for (steps, holds) in [(1_000_000_000_001, true), (1_000_000_000_000, false)] {
            let time = Timestamp::from_steps(steps).with_offset(3);
            let listed = WriteConditions { unchanged_since: Some(time), ..none.clone() };
            assert!(!listed.is_empty() && !listed.is_absent_only());
            assert_eq!(kind(&listed, Some(&there)).is_none(), holds);
            assert_eq!(kind(&listed, None), Some(Kind::NotFound));
        }
    }
}
