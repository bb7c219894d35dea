//! The checksum of a copy, made of the bytes on their way where the source has none that is true of
//! a whole object.

use apus_daemon::Body;
use apus_store::body::LateMetadata;
use apus_store::operation::{CopyBody, ObjectHead};
use http::HeaderMap;

use super::algorithm::Algorithm;
use super::multipart::choice;
use super::stored::{ChecksumType, stored};
use super::verify::VerifiedBody;
use crate::s3::error::Result;

/// The algorithm that a copy is to have a checksum of; the source's where none is asked for. As on
/// AWS a checksum of parts becomes one of the whole object.
#[derive(Debug)]
pub(in crate::s3) struct CopyChecksum {
    asked: Option<Algorithm>,
}

impl CopyChecksum {
    /// Reads `x-amz-checksum-algorithm`.
    pub(in crate::s3) fn of(headers: &HeaderMap) -> Result<Self> {
        Ok(Self { asked: choice(headers)?.map(|(algorithm, _)| algorithm) })
    }

    /// Whether the request asks for an algorithm.
    pub(in crate::s3) fn is_asked_for(&self) -> bool {
        self.asked.is_some()
    }

    /// The algorithm to use on the bytes; `None` when the source's checksum stays true.
    fn to_make(&self, source: &ObjectHead) -> Option<Algorithm> {
        let known = stored(&source.metadata).next().map(|(algorithm, _)| algorithm);
        match ChecksumType::stored(&source.metadata) {
            ChecksumType::Composite => self.asked.or(known),
            ChecksumType::FullObject => self.asked.filter(|asked| known != Some(*asked)),
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
        match self.to_make(source) {
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
    fn a_checksum_is_made_where_the_sources_is_not_of_the_whole_or_of_another_algorithm() {
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
            assert_eq!(CopyChecksum { asked }.to_make(&source(known, kind)), made);
        }
    }
}
