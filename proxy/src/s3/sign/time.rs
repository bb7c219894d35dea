//! Dates of signed requests, and their largest difference from the server's time.

use apus_cluster::Timestamp;
use apus_daemon::http::parse_date;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::s3::error::{Code, S3Error};

/// `YYYYMMDD'T'HHMMSS'Z'`, the format of `x-amz-date`.
const AMZ_DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");

/// Seconds since 1970 of `x-amz-date`.
pub(super) fn parse_amz_date(text: &str) -> Option<u64> {
    // The format alone would accept a sign before the year.
    let digits = text.as_bytes().first().is_some_and(u8::is_ascii_digit);
    let date = PrimitiveDateTime::parse(text, AMZ_DATE).ok().filter(|_| digits)?;
    u64::try_from(date.assume_utc().unix_timestamp()).ok()
}

/// `x-amz-date` of a time in seconds since 1970.
pub(super) fn format_amz_date(seconds: u64) -> Option<String> {
    let date = OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
    date.format(AMZ_DATE).ok()
}

/// Seconds since 1970 of a `Date` header. Python writes UTC as an offset.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_signatures_are_parsed_and_formatted() {
        assert_eq!(parse_amz_date("19700101T000001Z"), Some(1));
        assert_eq!(parse_amz_date("20261130T235959Z"), Some(1_796_083_199));
        assert_eq!(format_amz_date(1_796_083_199).as_deref(), Some("20261130T235959Z"));
        for bad in [
            "",
            "+9700101T000001Z",
            "1970+101T000001Z",
            "19700101T00000+Z",
            "19700101 000001Z",
            "19691231T235959Z",
            "20260230T000000Z",
            "20261130T235959",
            "20261130T235959Z ",
            "020261130T235959Z",
        ] {
            assert_eq!(parse_amz_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn python_writes_utc_as_an_offset() {
        for date in ["GMT", "-0000", "+0000"] {
            let seconds = header_seconds(&format!("Tue, 14 Nov 2023 22:13:20 {date}"));
            assert_eq!(seconds, Some(1_700_000_000), "{date}");
        }
    }
}
