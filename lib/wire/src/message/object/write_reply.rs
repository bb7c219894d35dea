//! Answers to `PUT`, `POST` and `DELETE`, and to any request for an object that is not there.

use apus_cluster::metadata::{Resource, has_prefix, header_name, title_case};
use apus_cluster::{Metadata, Timestamp};
use apus_daemon::http::{header, set};
use http::HeaderMap;

use super::super::fields;
use crate::headers;

/// What an object server says of a write, besides its status. Everything may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectWriteReply {
    /// Newest time that the server knows of the object: in a 409 the one that is in the way, in a
    /// 404 that of the tombstone.
    pub newest: Option<Timestamp>,
    /// MD5 of what was stored.
    pub etag: Option<String>,
    /// Content type of what is stored or was deleted, with the parameters that only servers see.
    pub content_type: Option<String>,
    /// System metadata of the object that was posted to: a link, a manifest.
    pub system_metadata: Metadata,
}

impl ObjectWriteReply {
    /// Writes the headers of an answer.
    pub fn encode(&self, head: &mut HeaderMap) {
        fields::set_display(head, headers::BACKEND_TIMESTAMP, self.newest);
        if let Some(etag) = &self.etag {
            set(head, "etag", &format!("\"{etag}\""));
        }
        fields::set_some(head, headers::BACKEND_CONTENT_TYPE, self.content_type.as_deref());
        for (name, value) in &self.system_metadata {
            set(head, &header_name(name), value);
        }
    }

    /// Reads the headers of an answer.
    pub fn decode(head: &HeaderMap) -> Self {
        let is_system = |name: &str| has_prefix(name, Resource::Object.system_prefix());
        Self {
            newest: fields::time(head, headers::BACKEND_TIMESTAMP),
            etag: header(head, "etag").map(|etag| etag.trim_matches('"').to_owned()),
            content_type: fields::text(head, headers::BACKEND_CONTENT_TYPE),
            system_metadata: fields::metadata(head, is_system, title_case),
        }
    }
}
