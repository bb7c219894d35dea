//! What a container server's answer says of a container.

use apus_cluster::{Metadata, PolicyIndex, Timestamp};
use apus_daemon::http::{format_date, header, set};
use http::HeaderMap;

use super::super::fields;
use super::{ListingFormat, RecordType};
use crate::headers;

const PUT_TIMESTAMP: &str = "x-backend-put-timestamp";
const DELETE_TIMESTAMP: &str = "x-backend-delete-timestamp";
const STATUS_CHANGED_AT: &str = "x-backend-status-changed-at";
const SHARDING_STATE: &str = "x-backend-sharding-state";

/// Times of a container's database, as other servers get them, also those of a deleted one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContainerTimes {
    /// When the database was made.
    pub created: Option<Timestamp>,
    /// When the container was last put.
    pub put: Option<Timestamp>,
    /// When it was last deleted.
    pub deleted: Option<Timestamp>,
    /// When it last changed between being there and not.
    pub status_changed: Option<Timestamp>,
    /// Its storage policy.
    pub policy: Option<PolicyIndex>,
}

impl ContainerTimes {
    /// Writes the headers of an answer. No database of this version has shards.
    pub fn encode(&self, head: &mut HeaderMap) {
        fields::set_display(head, headers::BACKEND_TIMESTAMP, self.created);
        fields::set_display(head, PUT_TIMESTAMP, self.put);
        fields::set_display(head, DELETE_TIMESTAMP, self.deleted);
        fields::set_display(head, STATUS_CHANGED_AT, self.status_changed);
        fields::set_display(head, headers::POLICY_INDEX, self.policy);
        set(head, SHARDING_STATE, "unsharded");
    }

    /// Reads the headers of an answer.
    pub fn decode(head: &HeaderMap) -> Self {
        Self {
            created: fields::time(head, headers::BACKEND_TIMESTAMP),
            put: fields::time(head, PUT_TIMESTAMP),
            deleted: fields::time(head, DELETE_TIMESTAMP),
            status_changed: fields::time(head, STATUS_CHANGED_AT),
            policy: fields::number(head, headers::POLICY_INDEX).map(PolicyIndex),
        }
    }

    /// When the container came to be as it is, or was deleted.
    pub fn newest(&self) -> Option<Timestamp> {
        self.status_changed.or(self.put)
    }
}

/// What a listing consists of, as its sender describes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListingContents {
    /// Whether the container has no shards, so that the listing is complete.
    pub is_unsharded: bool,
    /// Kind of its records.
    pub record_type: Option<RecordType>,
    /// Storage policy of the listed objects.
    pub policy: Option<PolicyIndex>,
}

impl ListingContents {
    /// Reads the headers of an answer.
    pub fn decode(head: &HeaderMap) -> Self {
        Self {
            is_unsharded: header(head, SHARDING_STATE) == Some("unsharded"),
            record_type: header(head, headers::RECORD_TYPE).and_then(RecordType::parse),
            policy: fields::number(head, headers::POLICY_INDEX).map(PolicyIndex),
        }
    }
}

/// A container as an answer to a read describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerDescription {
    /// Its times and policy.
    pub times: ContainerTimes,
    /// Metadata in force, by header.
    pub metadata: Metadata,
    /// Number of objects.
    pub object_count: i64,
    /// Bytes in them.
    pub bytes_used: i64,
    /// What a listing that comes with it consists of, with the format of one of shards.
    pub listed: Option<(RecordType, ListingFormat)>,
}

impl ContainerDescription {
    /// Writes the headers of an answer.
    pub fn encode(&self, head: &mut HeaderMap) {
        for (name, value) in &self.metadata {
            set(head, name, value);
        }
        set(head, "x-container-object-count", &self.object_count.to_string());
        set(head, "x-container-bytes-used", &self.bytes_used.to_string());
        let normal = |time: Option<Timestamp>| time.map(Timestamp::normal);
        fields::set_some(head, headers::TIMESTAMP, normal(self.times.created).as_deref());
        fields::set_some(head, "x-put-timestamp", normal(self.times.put).as_deref());
        if let Some(put) = self.times.put {
            set(head, "last-modified", &format_date(put.seconds_ceil()));
        }
        self.times.encode(head);
        match self.listed {
            Some((RecordType::Shard, format)) => {
                set(head, headers::RECORD_TYPE, RecordType::Shard.word());
                set(head, headers::SHARD_FORMAT, format.word());
            }
            Some((kind, _)) => {
                set(head, headers::RECORD_TYPE, kind.word());
                fields::set_display(head, headers::RECORD_POLICY, self.times.policy);
            }
            None => {}
        }
    }

    /// All headers of an answer that say something of the container, in title case: what a dialect
    /// shows of it.
    pub fn shown_headers(head: &HeaderMap) -> Metadata {
        fields::resource_headers(head)
    }
}
