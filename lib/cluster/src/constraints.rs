//! Every limit of the API, with unit and reason. Values are Swift's defaults
//! (`swift/common/constraints.py`), which `/info` announces.

/// Memory that one long body may take on its way through a proxy, in bytes.
pub const UPLOAD_WINDOW_BYTES: u64 = 1024 * 1024;
/// Largest object in one PUT, in bytes: 5 GiB and 2 bytes, as Swift.
pub const MAX_FILE_SIZE: u64 = 5_368_709_122;
/// Longest metadata name, in bytes, without the `X-Object-Meta-` prefix.
pub const MAX_META_NAME_LENGTH: usize = 128;
/// Longest metadata value, in bytes.
pub const MAX_META_VALUE_LENGTH: usize = 256;
/// Most metadata items on one resource.
pub const MAX_META_COUNT: usize = 90;
/// Names and values of all metadata of one resource, in bytes.
pub const MAX_META_OVERALL_SIZE: usize = 4096;
/// Longest header value, in bytes.
pub const MAX_HEADER_SIZE: usize = 8192;
/// Longest object name, in bytes.
pub const MAX_OBJECT_NAME_LENGTH: usize = 1024;
/// Most rows in one container listing.
pub const CONTAINER_LISTING_LIMIT: usize = 10_000;
/// Most rows in one account listing.
pub const ACCOUNT_LISTING_LIMIT: usize = 10_000;
/// Longest account name, in bytes.
pub const MAX_ACCOUNT_NAME_LENGTH: usize = 256;
/// Longest container name, in bytes.
pub const MAX_CONTAINER_NAME_LENGTH: usize = 256;
/// Most ranges in one `Range` header.
pub const MAX_RANGES: usize = 50;
/// Most segments of one static large object.
pub const SLO_MAX_SEGMENTS: usize = 1000;
/// Largest SLO manifest a client may send, in bytes.
pub const SLO_MAX_MANIFEST_SIZE: u64 = 8 * 1024 * 1024;
/// Most parts of one S3 multipart upload (AWS's own limit; Swift's s3api allows 1,000).
pub const S3_MAX_PARTS: u32 = 10_000;
/// Smallest S3 part except the last, in bytes.
pub const S3_MIN_PART_SIZE: u64 = 5 * 1024 * 1024;
/// Deepest nesting of large objects in one another.
pub const SLO_NESTING_MAX: usize = 10;

const _: () = assert!(MAX_META_VALUE_LENGTH < MAX_META_OVERALL_SIZE);
const _: () = assert!(MAX_META_OVERALL_SIZE <= MAX_HEADER_SIZE);
const _: () = assert!(SLO_MAX_SEGMENTS <= S3_MAX_PARTS as usize);
