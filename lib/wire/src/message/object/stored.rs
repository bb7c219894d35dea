//! What an object server's answer says of an object.

use std::borrow::Cow;

use apus_cluster::byte_range::Resolved;
use apus_cluster::metadata::{header_name, title_case};
use apus_cluster::{Metadata, Timestamp};
use apus_daemon::http::{format_date, header, set};
use http::HeaderMap;

use super::super::fields;
use crate::headers;

/// Headers of an answer that are not metadata of the object.
const NOT_METADATA: [&str; 9] = [
    "content-length",
    "content-type",
    "content-range",
    "etag",
    "last-modified",
    "accept-ranges",
    "x-timestamp",
    "date",
    "connection",
];

/// Stored items that travel in fields of their own.
const OWN_FIELDS: [&str; 5] = ["name", "ETag", "X-Timestamp", "Content-Length", "Content-Type"];

/// An object as an answer to a read describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredObject<'a> {
    /// Newest time of data and metadata.
    pub timestamp: Timestamp,
    /// Time of the data; `None` from servers that do not say.
    pub data_timestamp: Option<Timestamp>,
    /// MD5 of the body, without quotes.
    pub etag: Cow<'a, str>,
    /// Content type.
    pub content_type: Cow<'a, str>,
    /// Length of the whole body in bytes.
    pub length: u64,
    /// What else is stored with it. Items with fields of their own may be among it; they are not
    /// sent.
    pub metadata: Cow<'a, Metadata>,
}

/// What the answer serves of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServedBody {
    /// Nothing; the length is not sent (304, 412).
    Nothing,
    /// All of it, or its length for `HEAD`.
    Whole,
    /// One range (206).
    Range(Resolved),
    /// No range that exists (416).
    Unsatisfiable,
}

impl StoredObject<'_> {
    /// Writes the headers of an answer.
    pub fn encode(&self, served: ServedBody, head: &mut HeaderMap) {
        for (name, value) in self.metadata.iter() {
            if !OWN_FIELDS.contains(&name.as_str()) {
                set(head, &header_name(name), value);
            }
        }
        if !self.content_type.is_empty() {
            set(head, "content-type", &self.content_type);
        }
        set(head, "etag", &format!("\"{}\"", self.etag));
        set(head, headers::TIMESTAMP, &self.timestamp.normal());
        set(head, headers::BACKEND_TIMESTAMP, &self.timestamp.to_string());
        if let Some(time) = self.data_timestamp.map(|time| time.to_string()) {
            set(head, headers::DATA_TIMESTAMP, &time);
            set(head, headers::DURABLE_TIMESTAMP, &time);
        }
        set(head, "last-modified", &format_date(self.timestamp.seconds_ceil()));
        set(head, "accept-ranges", "bytes");
        match served {
            ServedBody::Nothing => {}
            ServedBody::Whole => set(head, "content-length", &self.length.to_string()),
            ServedBody::Range(range) => {
                set(head, "content-range", &range.content_range(self.length));
                set(head, "content-length", &range.length.to_string());
            }
            ServedBody::Unsatisfiable => {
                set(head, "content-range", &format!("bytes */{}", self.length));
            }
        }
    }

    /// Reads the headers of an answer.
    pub fn decode(head: &HeaderMap) -> StoredObject<'static> {
        let text = |name| header(head, name).unwrap_or_default();
        let timestamp = fields::time(head, headers::BACKEND_TIMESTAMP)
            .or_else(|| fields::time(head, headers::TIMESTAMP));
        // The total stands after the slash of a Content-Range.
        let total =
            header(head, "content-range").and_then(|range| range.rsplit_once('/')?.1.parse().ok());
        let is_metadata =
            |name: &str| !NOT_METADATA.contains(&name) && !name.starts_with("x-backend-");
        StoredObject {
            timestamp: timestamp.unwrap_or(Timestamp::ZERO),
            data_timestamp: fields::time(head, headers::DATA_TIMESTAMP),
            etag: Cow::Owned(text("etag").trim_matches('"').to_owned()),
            content_type: Cow::Owned(text("content-type").to_owned()),
            length: total.unwrap_or_else(|| text("content-length").parse().unwrap_or(0)),
            metadata: Cow::Owned(fields::metadata(head, is_metadata, title_case)),
        }
    }
}
