//! Dates of signed requests, and how far they may differ from the server's time.

use apus_cluster::Timestamp;
use apus_daemon::http::parse_date;

use crate::s3::error::{Code, S3Error};

/// Seconds since 1970 of a `Date` header. Python spells UTC as an offset.
pub(super) fn header_seconds(raw: &str) -> Option<u64> {
    let utc = raw.strip_suffix(" -0000").or_else(|| raw.strip_suffix(" +0000"));
    parse_date(&utc.map_or_else(|| raw.to_owned(), |date| format!("{date} GMT")))
}

/// Largest difference between a client's clock and the server's, in seconds.
pub(super) const SKEW_SECONDS: u64 = 900;

/// The error for a request whose time, as written there, differs too much from the server's.
pub(super) fn too_skewed(now_seconds: u64, request_time: &str) -> S3Error {
    let now = Timestamp::from_seconds(now_seconds);
    S3Error::new(Code::RequestTimeTooSkewed)
        .with("RequestTime", request_time)
        .with("ServerTime", now.iso_millis())
        .with("MaxAllowedSkewMilliseconds", (SKEW_SECONDS * 1000).to_string())
}
