//! The checksums that are stored with an object, and how responses show them.

use apus_cluster::Metadata;
use apus_daemon::http::set;
use http::HeaderMap;

use super::algorithm::Algorithm;
use crate::s3::xml::Writer;

/// System metadata with the type of a multipart object's checksum.
pub(super) const TYPE_KEY: &str = "X-Object-Sysmeta-S3Api-Checksum-Type";

/// The way in which the checksum of a multipart object is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::s3) enum ChecksumType {
    Composite,
    FullObject,
}

impl ChecksumType {
    pub(in crate::s3) fn name(self) -> &'static str {
        match self {
            Self::Composite => "COMPOSITE",
            Self::FullObject => "FULL_OBJECT",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Composite, Self::FullObject].into_iter().find(|kind| kind.name() == name)
    }

    pub(super) fn of(algorithm: Algorithm) -> Self {
        if algorithm == Algorithm::Crc64Nvme { Self::FullObject } else { Self::Composite }
    }

    /// Whether the type can be used with an algorithm.
    pub(super) fn supports(self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::Crc32 | Algorithm::Crc32c => true,
            Algorithm::Crc64Nvme => self == Self::FullObject,
            _ => self == Self::Composite,
        }
    }

    /// The type that is stored with an object; an object that came in one piece has none stored.
    pub(in crate::s3) fn stored(metadata: &Metadata) -> Self {
        metadata.get(TYPE_KEY).and_then(|name| Self::named(name)).unwrap_or(Self::FullObject)
    }
}

/// The checksums in the metadata of an object or part.
pub(in crate::s3) fn stored(metadata: &Metadata) -> impl Iterator<Item = (Algorithm, &str)> {
    Algorithm::ALL.into_iter().filter_map(|algorithm| {
        metadata.get(&algorithm.key()).map(|value| (algorithm, value.as_str()))
    })
}

/// Sets the headers with an object's checksums.
pub(in crate::s3) fn set_headers(metadata: &Metadata, out: &mut HeaderMap) {
    set_typed_headers(metadata, ChecksumType::stored(metadata), out);
}

/// Sets the headers with checksums, and the type of the object's checksum.
pub(in crate::s3) fn set_typed_headers(
    metadata: &Metadata,
    kind: ChecksumType,
    out: &mut HeaderMap,
) {
    let mut any = false;
    for (algorithm, value) in stored(metadata) {
        set(out, &algorithm.header(), value);
        any = true;
    }
    if any {
        set(out, "x-amz-checksum-type", kind.name());
    }
}

/// Writes the elements with an object's checksums.
pub(in crate::s3) fn elements(metadata: &Metadata, out: &mut Writer) {
    let mut any = false;
    for (algorithm, value) in stored(metadata) {
        out.text(&algorithm.element(), value);
        any = true;
    }
    if any {
        out.text("ChecksumType", ChecksumType::stored(metadata).name());
    }
}
