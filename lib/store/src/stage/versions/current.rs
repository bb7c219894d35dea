//! The current version of an object, as the visible container has it.

use apus_cluster::{ObjectPath, Timestamp};

use super::super::slo;
use super::super::symlink::Link;
use super::names::{NULL_VERSION, VERSIONS_SYMLINK, VersionedContainer, parse_version};
use crate::context::Context;
use crate::operation::{ObjectHead, VersionId, WriteConditions};
use crate::{Error, Kind, Result, Subject};

/// System metadata with the etag of a static link's target.
pub(super) const TARGET_ETAG: &str = super::super::symlink::link::TARGET_ETAG;
/// System metadata with its length in bytes.
pub(super) const TARGET_BYTES: &str = super::super::symlink::link::TARGET_BYTES;
/// System metadata of our own on the link to a current version that is a static large object: the
/// etag of the joined object.
pub(super) const LINK_ETAG: &str = "X-Object-Sysmeta-Apus-Version-Etag";
/// System metadata of our own on that link: the time of the version.
pub(super) const LINK_TIME: &str = "X-Object-Sysmeta-Apus-Version-Time";

/// What the visible container has under a name.
#[derive(Debug, Clone)]
pub(super) enum Current {
    /// Nothing, and when it was deleted, if that is known.
    Absent(Option<Timestamp>),
    /// An object that was written while versioning was not enabled: the null version.
    Plain(Box<ObjectHead>),
    /// The link to a version, and the time of that version.
    Link(Box<ObjectHead>, Timestamp),
}

/// The time of the version to which a link leads, if versioning wrote the link.
pub(super) fn link_time(
    object: &ObjectPath,
    versioned: &VersionedContainer,
    head: &ObjectHead,
) -> Option<Timestamp> {
    head.get(VERSIONS_SYMLINK).filter(|value| value.eq_ignore_ascii_case("true"))?;
    let target = Link::of(head).ok()??.target.of(object.account());
    if target.container != versioned.hidden {
        return None;
    }
    let (key, time) = parse_version(target.object.as_str())?;
    (key == object.object.as_str()).then_some(time)
}

impl Current {
    /// By the result of a HEAD of the name itself.
    pub(super) fn new(
        object: &ObjectPath,
        versioned: &VersionedContainer,
        found: Result<ObjectHead>,
    ) -> Result<Self> {
        match found {
            Ok(head) => Ok(match link_time(object, versioned, &head) {
                Some(time) => Self::Link(Box::new(head), time),
                None => Self::Plain(Box::new(head)),
            }),
            Err(Error { kind: Kind::NotFound, subject: Subject::Object, head, .. }) => {
                Ok(Self::Absent(head.map(|head| head.timestamp)))
            }
            Err(error) => Err(error),
        }
    }

    /// When the name was last written or deleted.
    pub(super) fn changed(&self) -> Option<Timestamp> {
        match self {
            Self::Absent(deleted) => *deleted,
            Self::Plain(head) | Self::Link(head, _) => Some(head.timestamp),
        }
    }

    /// Whether it is the link to this version.
    pub(super) fn is_version(&self, time: Timestamp) -> bool {
        matches!(self, Self::Link(_, current) if *current == time)
    }

    /// Whether it was last changed before this time.
    pub(super) fn is_before(&self, time: Timestamp) -> bool {
        self.changed().is_none_or(|changed| changed < time)
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Checks the conditions of a write early, before its body is read. They are checked again when
    /// the name is leased.
    pub(super) fn check(&self, conditions: &WriteConditions) -> Result<()> {
        if conditions.is_empty() {
            return Ok(());
        }
        match self {
            Self::Absent(_) => conditions.check(None),
            Self::Plain(head) | Self::Link(head, _) => conditions.check(Some(head)),
        }
    }
}

/// Makes conditions look at what a link says about its version.
pub(super) fn on_link(mut conditions: WriteConditions) -> WriteConditions {
    conditions.etag_at.extend([LINK_ETAG, TARGET_ETAG].map(str::to_owned));
    conditions.size_at.push(TARGET_BYTES.to_owned());
    conditions.modified_at = Some(LINK_TIME.to_owned());
    conditions
}

/// The id of a version in the hidden container by its time and metadata.
pub(super) fn id_of(cx: &Context, time: Timestamp, head: &ObjectHead) -> VersionId {
    let is_null = head.get(NULL_VERSION).is_some() && !cx.has_swift_versions();
    if is_null { VersionId::Null } else { VersionId::At(time) }
}

/// Etag of the joined object, if a version is a static large object.
pub(super) fn joined_etag(metadata: &apus_cluster::Metadata) -> Option<&String> {
    metadata.get(slo::ETAG_KEY)
}
