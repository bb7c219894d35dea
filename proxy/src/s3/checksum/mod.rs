//! The checksums of S3 clients: `x-amz-checksum-*` in a header or a trailer, verified and stored.

mod algorithm;
mod copy;
mod declared;
mod multipart;
mod stored;
mod verify;

pub(super) use algorithm::Algorithm;
pub(super) use copy::CopyChecksum;
pub(super) use declared::DeclaredChecksums;
pub(super) use multipart::{
    ALGORITHM_KEY, PartAlgorithm, UploadChecksum, begun_with, choice, keep,
};
pub(super) use stored::{ChecksumType, elements, set_headers, set_typed_headers, stored};
pub(super) use verify::verify;
