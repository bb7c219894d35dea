//! Entry points for fuzzing: parsers of bytes that clients send.
//!
//! Each function accepts any bytes, and must return without a panic.

pub use crate::s3::fuzzing::*;
pub use crate::swift::fuzzing::*;

use crate::auth::account_acl::AccountAcl;
use crate::auth::acl::{self, Acl};
use crate::header_value;

/// Listing parameters and other query strings, in both dialects.
pub fn query(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    drop(crate::query::parse(&text));
    s3_query(&text);
    swift_query(&text);
}

/// Paths of requests and sources of copies.
pub fn names(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    s3_names(&text);
    swift_names(&text);
}

/// Header values: ranges, dates, conditions, encoded words and access control lists.
pub fn headers(input: &[u8]) {
    let text = header_value::text(input);
    let decoded = header_value::decode_words(&text);
    let encoded = header_value::encode_words(&decoded);
    assert!(encoded.is_ascii());
    for name in ["X-Container-Read", "X-Container-Write"] {
        if let Ok(list) = acl::clean(name, &text) {
            Acl::parse(&list).allows_referrer(Some(&text));
        }
    }
    if let Ok(list) = AccountAcl::parse(&text) {
        assert_eq!(AccountAcl::stored(&list.render()), list);
    }
    s3_headers(&text);
    swift_headers(&text);
}
