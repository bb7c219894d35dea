//! The checksum algorithms and their digests.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest as _;

/// Prefix of the header of each algorithm.
pub(super) const HEADER_PREFIX: &str = "x-amz-checksum-";
/// Prefix of the system metadata that holds an object's checksum of each algorithm.
const KEY_PREFIX: &str = "X-Object-Sysmeta-S3Api-Checksum-";

/// A checksum algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::s3) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub(in crate::s3) const ALL: [Self; 5] =
        [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// The name in `x-amz-sdk-checksum-algorithm`.
    pub(in crate::s3) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// `x-amz-checksum-crc32`.
    pub(in crate::s3) fn header(self) -> String {
        format!("{HEADER_PREFIX}{}", self.name().to_ascii_lowercase())
    }

    /// `ChecksumCRC32`, the element in documents.
    pub(in crate::s3) fn element(self) -> String {
        format!("Checksum{}", self.name())
    }

    /// System metadata that holds the checksum.
    pub(super) fn key(self) -> String {
        let name = self.name().to_ascii_lowercase();
        apus_cluster::metadata::title_case(&format!("{KEY_PREFIX}{name}"))
    }

    /// Length of the checksum in bytes.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}

/// A digest in progress.
pub(super) enum Digest {
    Crc(Box<crc_fast::Digest>, usize),
    Sha1(Box<sha1::Sha1>),
    Sha256(Box<sha2::Sha256>),
}

impl Digest {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        use crc_fast::CrcAlgorithm;
        let crc = |kind| Self::Crc(Box::new(crc_fast::Digest::new(kind)), algorithm.bytes());
        match algorithm {
            Algorithm::Crc32 => crc(CrcAlgorithm::Crc32IsoHdlc),
            Algorithm::Crc32c => crc(CrcAlgorithm::Crc32Iscsi),
            Algorithm::Crc64Nvme => crc(CrcAlgorithm::Crc64Nvme),
            Algorithm::Sha1 => Self::Sha1(Box::default()),
            Algorithm::Sha256 => Self::Sha256(Box::default()),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(digest, _) => digest.update(bytes),
            Self::Sha1(digest) => digest.update(bytes),
            Self::Sha256(digest) => digest.update(bytes),
        }
    }

    /// The finished digest in base64.
    pub(super) fn base64(self) -> String {
        match self {
            Self::Crc(digest, width) => {
                let value = digest.finalize().to_be_bytes();
                STANDARD.encode(value.get(8 - width..).unwrap_or_default())
            }
            Self::Sha1(digest) => STANDARD.encode(digest.finalize()),
            Self::Sha256(digest) => STANDARD.encode(digest.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_the_standard_check_text() {
        // "123456789", the check values of the CRC catalogue, big-endian in base64.
        for (algorithm, expected) in [
            (Algorithm::Crc32, "y/Q5Jg=="),
            (Algorithm::Crc32c, "4waSgw=="),
            (Algorithm::Crc64Nvme, "rosUhgp5mIg="),
        ] {
            let mut digest = Digest::new(algorithm);
            digest.update(b"123456789");
            assert_eq!(digest.base64(), expected, "{algorithm:?}");
        }
    }
}
