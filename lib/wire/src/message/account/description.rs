//! What an account server's answer says of an account.

use apus_cluster::{Metadata, Timestamp};
use apus_daemon::http::{header, set};
use http::HeaderMap;

use super::super::fields;
use crate::headers;

/// What an account holds in one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyUsage {
    /// Name of the policy.
    pub policy: String,
    /// Number of containers.
    pub containers: i64,
    /// Number of objects.
    pub objects: i64,
    /// Bytes in them.
    pub bytes: i64,
}

/// An account as an answer to a read describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountDescription {
    /// Metadata in force, by header.
    pub metadata: Metadata,
    /// Number of containers.
    pub container_count: i64,
    /// Number of objects.
    pub object_count: i64,
    /// Bytes in them.
    pub bytes_used: i64,
    /// When the database was made.
    pub created: Timestamp,
    /// When the account was last put.
    pub put: Timestamp,
    /// The same by policy.
    pub policies: Vec<PolicyUsage>,
}

impl AccountDescription {
    /// Writes the headers of an answer.
    pub fn encode(&self, head: &mut HeaderMap) {
        for (name, value) in &self.metadata {
            set(head, name, value);
        }
        set(head, "x-account-container-count", &self.container_count.to_string());
        set(head, "x-account-object-count", &self.object_count.to_string());
        set(head, "x-account-bytes-used", &self.bytes_used.to_string());
        set(head, headers::TIMESTAMP, &self.created.normal());
        set(head, "x-put-timestamp", &self.put.normal());
        set(head, headers::BACKEND_TIMESTAMP, &self.created.to_string());
        for usage in &self.policies {
            let prefix = format!("x-account-storage-policy-{}", usage.policy.to_lowercase());
            set(head, &format!("{prefix}-container-count"), &usage.containers.to_string());
            set(head, &format!("{prefix}-object-count"), &usage.objects.to_string());
            set(head, &format!("{prefix}-bytes-used"), &usage.bytes.to_string());
        }
    }

    /// All headers of an answer that say something of the account, in title case: what a dialect
    /// shows of it.
    pub fn shown_headers(head: &HeaderMap) -> Metadata {
        fields::resource_headers(head)
    }
}

/// The answer for an account that is not there (404), or may not be made again yet (403).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AbsentAccount {
    /// The account was deleted and is still known.
    pub deleted: bool,
}

impl AbsentAccount {
    /// Writes the headers of an answer.
    pub fn encode(self, head: &mut HeaderMap) {
        if self.deleted {
            set(head, headers::ACCOUNT_STATUS, "Deleted");
        }
    }

    /// Reads the headers of an answer.
    pub fn decode(head: &HeaderMap) -> Self {
        Self { deleted: header(head, headers::ACCOUNT_STATUS).is_some() }
    }
}
