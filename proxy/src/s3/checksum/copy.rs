//! The checksum of a copy, computed as the bytes pass unless the source's can be kept.

use apus_daemon::Body;
use apus_store::body::LateMetadata;
use apus_store::operation::{CopyBody, ObjectHead};
use http::HeaderMap;

use super::algorithm::Algorithm;
use super::multipart::choice;
use super::stored::{ChecksumType, stored};
use super::verify::VerifiedBody;
use crate::s3::error::Result;

/// The algorithm of a copy's checksum: the requested one, or else the source's. As on AWS a composite
/// checksum becomes one of the whole object.
#[derive(Debug)]
pub(in crate::s3) struct CopyChecksum {
    requested: Option<Algorithm>,
}

impl CopyChecksum {
    /// Reads `x-amz-checksum-algorithm`.
    pub(in crate::s3) fn of(headers: &HeaderMap) -> Result<Self> {
        Ok(Self { requested: choice(headers)?.map(|(algorithm, _)| algorithm) })
    }

    /// Whether the request asks for an algorithm.
    pub(in crate::s3) fn is_requested(&self) -> bool {
        self.requested.is_some()
    }

    /// The algorithm to compute; `None` when the source's checksum remains valid.
    fn to_compute(&self, source: &ObjectHead) -> Option<Algorithm> {
        let known = stored(&source.metadata).next().map(|(algorithm, _)| algorithm);
        match ChecksumType::stored(&source.metadata) {
            ChecksumType::Composite => self.requested.or(known),
            ChecksumType::FullObject => {
                self.requested.filter(|requested| known != Some(*requested))
            }
        }
    }
}

impl CopyBody for CopyChecksum {
    fn wrap(
        &self,
        source: &ObjectHead,
        body: Body,
        late: &LateMetadata,
    ) -> std::result::Result<Body, Body> {
        match self.to_compute(source) {
            Some(algorithm) => Ok(VerifiedBody::computed(body, algorithm, late)),
            None => Err(body),
        }
    }
}

#[cfg(test)]
mod tests {
    use apus_cluster::Metadata;

    use super::*;

    #[test]
    fn a_checksum_is_computed_where_the_sources_is_composite_or_of_another_algorithm() {
        let source = |algorithm: Option<Algorithm>, kind: ChecksumType| {
            let mut metadata = Metadata::new();
            if let Some(algorithm) = algorithm {
                super::super::multipart::keep((algorithm, kind), &mut metadata);
                metadata.insert(algorithm.key(), "value".to_owned());
            }
            ObjectHead { metadata, ..ObjectHead::default() }
        };
        let (crc, sha) = (Some(Algorithm::Crc32), Some(Algorithm::Sha256));
        for (asked, known, kind, made) in [
            (None, None, ChecksumType::FullObject, None),
            (None, crc, ChecksumType::FullObject, None),
            (None, crc, ChecksumType::Composite, crc),
            (crc, crc, ChecksumType::FullObject, None),
            (sha, crc, ChecksumType::FullObject, sha),
            (sha, crc, ChecksumType::Composite, sha),
            (sha, None, ChecksumType::FullObject, sha),
        ] {
            assert_eq!(CopyChecksum { requested: asked }.to_compute(&source(known, kind)), made);
        }
    }
}
