//! The limits of the API, with unit and reason.
//!
//! Those that `[swift-constraints]` of `swift.conf` may change are in [`Constraints`], whose defaults
//! are Swift's (`swift/common/constraints.py`); the others are constants. `/info` announces both.

use apus_options::{OptionDeclaration, list, options, text, whole};

use crate::option_error::{GivenOptions, OptionError};

/// The section of `swift.conf`.
pub const SECTION: &str = "swift-constraints";
/// Most rows in a listing of a storage server, whatever the limit for clients is: daemons read in
/// pages of this size.
pub const LISTING_PAGE_MAX: usize = 10_000;
/// Longest account, container and object name that storage servers accept, in bytes: internal names
/// are longer than those that clients may choose.
pub const NAME_BYTES_MAX: [usize; 3] = [512, 512, 2048];
/// Largest object that one PUT of S3 may make, in bytes.
pub const S3_MAX_FILE_SIZE: u64 = 5_368_709_122;
/// Longest key in S3, in bytes.
pub const S3_MAX_KEY_LENGTH: usize = 1024;
/// Memory that one long body may use in a proxy, in bytes.
pub const UPLOAD_WINDOW_BYTES: u64 = 1024 * 1024;
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

const _: () = assert!(SLO_MAX_SEGMENTS <= S3_MAX_PARTS as usize);

options! {
    /// Options of `[swift-constraints]`, with Swift's names and defaults.
    #[derive(Debug)]
    pub struct ConstraintOptions {
        /// Largest object in one PUT: by default 5 GiB and 2 bytes.
        max_file_size: u64 = bytes(5_368_709_122, 1, i64::MAX as u64),
        /// Longest metadata name, without the `X-Object-Meta-` prefix.
        max_meta_name_length: usize = bytes(128, 1, BYTES_MAX),
        /// Longest metadata value.
        max_meta_value_length: usize = bytes(256, 1, BYTES_MAX),
        /// Most metadata items on one resource.
        max_meta_count: usize = whole(90).to(1024),
        /// Names and values of all metadata of one resource.
        max_meta_overall_size: usize = bytes(4096, 1, BYTES_MAX),
        /// Longest header value.
        max_header_size: usize = bytes(8192, 512, BYTES_MAX),
        /// Longest request line.
        max_request_line: usize = bytes(8192, 512, BYTES_MAX),
        /// Headers in one request beyond those that Swift counts.
        extra_header_count: usize = whole(0).to(1024),
        /// Longest object name.
        max_object_name_length: usize = bytes(1024, 1, NAME_BYTES_MAX[2] as u64),
        /// Most rows in one container listing.
        container_listing_limit: usize = whole(10_000).from(1).to(LISTING_MAX),
        /// Most rows in one account listing.
        account_listing_limit: usize = whole(10_000).from(1).to(LISTING_MAX),
        /// Longest account name.
        max_account_name_length: usize = bytes(256, 1, NAME_BYTES_MAX[0] as u64),
        /// Longest container name.
        max_container_name_length: usize = bytes(256, 1, NAME_BYTES_MAX[1] as u64),
        /// Allowed first segments of a path.
        valid_api_versions: Vec<String> =
            list("v1,v1.0", "words between commas, v1 among them").checked(are_versions),
        /// First character of accounts that clients cannot reach. It is in the names of queues, so no other one is supported.
        auto_create_account_prefix: String =
            text(".", "\".\", the only one that is supported").checked(is_account_prefix),
    }
}

/// Most bytes of names, values and headers.
const BYTES_MAX: u64 = 65_536;
/// Most rows in a listing.
const LISTING_MAX: u64 = 1_000_000;

const fn bytes(default: u64, least: u64, most: u64) -> OptionDeclaration {
    whole(default).unit("bytes").from(least).to(most)
}

/// The limits that a cluster may choose for its clients, by the names of their options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraints {
    /// Largest object in one PUT, in bytes: 5 GiB and 2 bytes.
    pub max_file_size: u64,
    /// Longest metadata name, in bytes, without the `X-Object-Meta-` prefix.
    pub max_meta_name_length: usize,
    /// Longest metadata value, in bytes.
    pub max_meta_value_length: usize,
    /// Most metadata items on one resource.
    pub max_meta_count: usize,
    /// Names and values of all metadata of one resource, in bytes.
    pub max_meta_overall_size: usize,
    /// Longest header value, in bytes.
    pub max_header_size: usize,
    /// Longest request line, in bytes.
    pub max_request_line: usize,
    /// Longest object name, in bytes.
    pub max_object_name_length: usize,
    /// Most rows in one container listing.
    pub container_listing_limit: usize,
    /// Most rows in one account listing.
    pub account_listing_limit: usize,
    /// Longest account name, in bytes.
    pub max_account_name_length: usize,
    /// Longest container name, in bytes.
    pub max_container_name_length: usize,
    /// Allowed first segments of a path.
    pub valid_api_versions: Vec<String>,
    /// Headers in one request beyond those that Swift counts.
    pub extra_header_count: usize,
}

/// The first character of accounts that clients cannot reach. Swift lets an operator choose it; here
/// it is always the default, which is in the names of queues.
const AUTO_CREATE_ACCOUNT_PREFIX: &str = ".";

fn is_account_prefix(text: &str) -> bool {
    text == AUTO_CREATE_ACCOUNT_PREFIX
}

/// Whether each version is a segment of a path. The storage URLs that authentication returns contain `v1`.
fn are_versions(text: &str) -> bool {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    let is_plain = |word: &&str| {
        word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
    };
    words.contains(&"v1") && words.iter().all(is_plain)
}

impl Default for Constraints {
    fn default() -> Self {
        Self {
            max_file_size: 5_368_709_122,
            max_meta_name_length: 128,
            max_meta_value_length: 256,
            max_meta_count: 90,
            max_meta_overall_size: 4096,
            max_header_size: 8192,
            max_request_line: 8192,
            max_object_name_length: 1024,
            container_listing_limit: 10_000,
            account_listing_limit: 10_000,
            max_account_name_length: 256,
            max_container_name_length: 256,
            valid_api_versions: vec!["v1".to_owned(), "v1.0".to_owned()],
            extra_header_count: 0,
        }
    }
}

impl Constraints {
    /// From the options of `[swift-constraints]`. Unknown ones are ignored, as in Swift.
    ///
    /// # Errors
    /// An option whose value is not as expected.
    pub fn from_options(options: &[(&str, &str)]) -> Result<Self, OptionError> {
        let given = ConstraintOptions::read(&GivenOptions { section: SECTION, options })?;
        Ok(Self {
            max_file_size: given.max_file_size,
            max_meta_name_length: given.max_meta_name_length,
            max_meta_value_length: given.max_meta_value_length,
            max_meta_count: given.max_meta_count,
            max_meta_overall_size: given.max_meta_overall_size,
            max_header_size: given.max_header_size,
            max_request_line: given.max_request_line,
            max_object_name_length: given.max_object_name_length,
            container_listing_limit: given.container_listing_limit,
            account_listing_limit: given.account_listing_limit,
            max_account_name_length: given.max_account_name_length,
            max_container_name_length: given.max_container_name_length,
            valid_api_versions: given.valid_api_versions,
            extra_header_count: given.extra_header_count,
        })
    }

    /// Most headers in a request: Swift's 90 metadata items and ample room for the rest.
    pub fn headers_max(&self) -> usize {
        256 + self.max_meta_count.saturating_sub(90) + self.extra_header_count
    }

    /// Longest head of a request, in bytes.
    pub fn head_bytes_max(&self) -> usize {
        112 * 1024 + self.max_header_size + self.max_request_line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_change_what_they_name() {
        assert_eq!(Constraints::from_options(&[]), Ok(Constraints::default()));
        let options = [
            ("max_file_size", "12"),
            ("max_meta_count", " 5 "),
            ("valid_api_versions", "v1, v2"),
            ("auto_create_account_prefix", "."),
            ("of_a_later_swift", "x"),
        ];
        let expected = Constraints {
            max_file_size: 12,
            max_meta_count: 5,
            valid_api_versions: vec!["v1".to_owned(), "v2".to_owned()],
            ..Constraints::default()
        };
        assert_eq!(Constraints::from_options(&options), Ok(expected));
    }

    #[test]
    fn bad_values_are_refused_by_name() {
        for (name, value) in [
            ("max_file_size", "5G"),
            ("max_file_size", "0"),
            ("max_header_size", "12"),
            ("max_object_name_length", "4096"),
            ("container_listing_limit", "-1"),
            ("extra_header_count", "many"),
            ("valid_api_versions", "v2"),
            ("valid_api_versions", "v1,a/b"),
            ("auto_create_account_prefix", "_"),
        ] {
            let error = Constraints::from_options(&[(name, value)]).unwrap_err().to_string();
            for word in ["[swift-constraints]", name, value, "expected"] {
                assert!(error.contains(word), "{error}");
            }
        }
    }

    #[test]
    fn a_request_with_the_largest_metadata_fits() {
        let usual = Constraints::default();
        assert_eq!((usual.headers_max(), usual.head_bytes_max()), (256, 128 * 1024));
        let options = [("max_meta_count", "300"), ("extra_header_count", "20")];
        assert_eq!(Constraints::from_options(&options).unwrap().headers_max(), 486);
    }
}
