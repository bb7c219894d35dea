//! The 404 of a read: what is known of an object that is not there.

use apus_cluster::Timestamp;
use apus_daemon::http::set;
use http::HeaderMap;

use super::super::fields;
use crate::headers;

/// An object that is not there; of one that was deleted the time is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AbsentObject {
    /// When it was deleted, or when it expired.
    pub deleted: Option<Timestamp>,
}

impl AbsentObject {
    /// Writes the headers of a 404.
    pub fn encode(self, head: &mut HeaderMap) {
        if let Some(time) = self.deleted {
            set(head, headers::BACKEND_TIMESTAMP, &time.to_string());
            set(head, headers::TIMESTAMP, &time.normal());
        }
    }

    /// Reads the headers of a 404.
    pub fn decode(head: &HeaderMap) -> Self {
        Self { deleted: fields::time(head, headers::BACKEND_TIMESTAMP) }
    }
}
