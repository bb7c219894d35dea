//! The checksum algorithms and their digests.

use std::hash::Hasher as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest as _;
use twox_hash::{xxhash3_64, xxhash3_128, xxhash64};

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
    Sha512,
    Md5,
    XxHash64,
    XxHash3,
    XxHash128,
}

impl Algorithm {
    pub(in crate::s3) const ALL: [Self; 10] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
        Self::Sha512,
        Self::Md5,
        Self::XxHash64,
        Self::XxHash3,
        Self::XxHash128,
    ];

    /// The name in `x-amz-sdk-checksum-algorithm`.
    pub(in crate::s3) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
            Self::Md5 => "MD5",
            Self::XxHash64 => "XXHASH64",
            Self::XxHash3 => "XXHASH3",
            Self::XxHash128 => "XXHASH128",
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
            Self::Crc64Nvme | Self::XxHash64 | Self::XxHash3 => 8,
            Self::Md5 | Self::XxHash128 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// A digest in progress.
pub(super) enum Digest {
    Crc(Box<crc_fast::Digest>, usize),
    Sha1(Box<sha1::Sha1>),
    Sha256(Box<sha2::Sha256>),
    Sha512(Box<sha2::Sha512>),
    Md5(Box<md5::Context>),
    XxHash64(Box<xxhash64::Hasher>),
    XxHash3(Box<xxhash3_64::Hasher>),
    XxHash128(Box<xxhash3_128::Hasher>),
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
            Algorithm::Sha512 => Self::Sha512(Box::default()),
            Algorithm::Md5 => Self::Md5(Box::new(md5::Context::new())),
            Algorithm::XxHash64 => Self::XxHash64(Box::new(xxhash64::Hasher::with_seed(0))),
            Algorithm::XxHash3 => Self::XxHash3(Box::new(xxhash3_64::Hasher::new())),
            Algorithm::XxHash128 => Self::XxHash128(Box::new(xxhash3_128::Hasher::new())),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(digest, _) => digest.update(bytes),
            Self::Sha1(digest) => digest.update(bytes),
            Self::Sha256(digest) => digest.update(bytes),
            Self::Sha512(digest) => digest.update(bytes),
            Self::Md5(digest) => digest.consume(bytes),
            Self::XxHash64(digest) => digest.write(bytes),
            Self::XxHash3(digest) => digest.write(bytes),
            Self::XxHash128(digest) => digest.write(bytes),
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
            Self::Sha512(digest) => STANDARD.encode(digest.finalize()),
            Self::Md5(digest) => STANDARD.encode(digest.finalize().0),
            // xxHash's canonical form is big-endian.
            Self::XxHash64(digest) => STANDARD.encode(digest.finish().to_be_bytes()),
            Self::XxHash3(digest) => STANDARD.encode(digest.finish().to_be_bytes()),
            Self::XxHash128(digest) => STANDARD.encode(digest.finish_128().to_be_bytes()),
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

    #[test]
    fn digests_of_nothing_have_the_length_of_their_algorithm() {
        for (algorithm, expected) in [
            (Algorithm::Md5, "d41d8cd98f00b204e9800998ecf8427e"),
            // From xxHash's own documentation of its canonical form.
            (Algorithm::XxHash64, "ef46db3751d8e999"),
            (Algorithm::XxHash3, "2d06800538d394c2"),
            (Algorithm::XxHash128, "99aa06d3014798d86001c324468d497f"),
        ] {
            let value = STANDARD.decode(Digest::new(algorithm).base64()).unwrap();
            assert_eq!(hex::encode(value), expected, "{algorithm:?}");
        }
        for algorithm in Algorithm::ALL {
            let value = STANDARD.decode(Digest::new(algorithm).base64()).unwrap();
            assert_eq!(value.len(), algorithm.bytes(), "{algorithm:?}");
        }
    }
}
