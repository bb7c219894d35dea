//! Conversion of answers to [`ObjectHead`], and of read conditions to headers.

use apus_cluster::Timestamp;
use apus_cluster::metadata::title_case;
use apus_daemon::http::{format_date, header, set};
use apus_wire::headers;
use http::{HeaderMap, StatusCode};

use crate::operation::{Conditions, HeadObject, ObjectHead};
use crate::{Error, Kind, Subject};

/// Headers of an object server's answer that are not stored with the object.
const NOT_STORED: [&str; 12] = [
    "content-length",
    "content-type",
    "content-range",
    "etag",
    "last-modified",
    "accept-ranges",
    "x-timestamp",
    "x-backend-timestamp",
    "x-backend-data-timestamp",
    "x-backend-durable-timestamp",
    "date",
    "connection",
];

/// The object that an answer describes.
pub(crate) fn object_head(answer: &HeaderMap) -> ObjectHead {
    let text = |name| header(answer, name).unwrap_or_default();
    let time = header(answer, headers::BACKEND_TIMESTAMP)
        .or_else(|| header(answer, headers::TIMESTAMP))
        .and_then(Timestamp::parse)
        .unwrap_or(Timestamp::ZERO);
    // The total stands after the slash of a Content-Range.
    let total =
        header(answer, "content-range").and_then(|range| range.rsplit_once('/')?.1.parse().ok());
    let length = total.unwrap_or_else(|| text("content-length").parse().unwrap_or(0));
    let metadata = answer
        .iter()
        .filter(|(name, _)| {
            !NOT_STORED.contains(&name.as_str()) && !name.as_str().starts_with("x-backend-")
        })
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (title_case(name.as_str()), value)
        })
        .collect();
    ObjectHead {
        timestamp: time,
        length,
        length_unknown: false,
        etag: text("etag").trim_matches('"').to_owned(),
        content_type: text("content-type").to_owned(),
        metadata,
        parts_count: None,
        parts: Vec::new(),
        manifest_etag: None,
        location: None,
    }
}

/// Writes conditions into a request.
pub(crate) fn set_conditions(request: &mut HeaderMap, conditions: &Conditions) {
    if let Some(list) = &conditions.if_match {
        set(request, "if-match", &list.to_header());
    }
    if let Some(list) = &conditions.if_none_match {
        set(request, "if-none-match", &list.to_header());
    }
    if let Some(seconds) = conditions.if_modified_since {
        set(request, "if-modified-since", &format_date(seconds));
    }
    if let Some(seconds) = conditions.if_unmodified_since {
        set(request, "if-unmodified-since", &format_date(seconds));
    }
}

/// Writes the options of a read into a request.
pub(crate) fn set_read(request: &mut HeaderMap, op: &HeadObject) {
    set_conditions(request, &op.conditions);
    if !op.etag_at.is_empty() {
        set(request, headers::ETAG_IS_AT, &op.etag_at.join(","));
    }
}

/// The error for an unsuccessful answer.
pub(crate) fn read_error(status: StatusCode, answer: &HeaderMap) -> Error {
    let head = || Some(Box::new(object_head(answer)));
    match status {
        StatusCode::NOT_FOUND => {
            // Of a deleted object only the time is known.
            let deleted = header(answer, headers::BACKEND_TIMESTAMP).and_then(Timestamp::parse);
            let head = deleted.map(|timestamp| ObjectHead { timestamp, ..ObjectHead::default() });
            Error { head: head.map(Box::new), ..Error::new(Kind::NotFound, Subject::Object) }
        }
        StatusCode::NOT_MODIFIED => {
            Error { head: head(), ..Error::new(Kind::NotModified, Subject::Object) }
        }
        StatusCode::PRECONDITION_FAILED => {
            Error { head: head(), ..Error::new(Kind::PreconditionFailed, Subject::Object) }
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let head = object_head(answer);
            let kind = Kind::RangeNotSatisfiable { size: head.length };
            Error { head: Some(Box::new(head)), ..Error::new(kind, Subject::Object) }
        }
        status => Error::unavailable(format!("the object server answered {status}")),
    }
}
