//! `DELETE` of an object.

use apus_cluster::Timestamp;
use apus_daemon::http::{header, set};
use http::Method;
use http::request::Parts;

use super::super::{InvalidRequest, Received, fields};
use super::{ObjectAddress, ObjectRowTargets, WriteFence};
use crate::{NodeRequest, headers};

/// `DELETE /device/partition/account/container/object`: writes a tombstone.
#[derive(Debug, Clone, PartialEq)]
pub struct DeleteObjectRequest {
    /// The object.
    pub address: ObjectAddress,
    /// Time of the deletion.
    pub timestamp: Timestamp,
    /// Delete only what expires at exactly this time.
    pub if_delete_at: Option<Timestamp>,
    /// How the write relates to reservations.
    pub fence: WriteFence,
    /// The tombstone is a copy made by replication: no rows are sent for it.
    pub is_replication: bool,
    /// Databases to report to.
    pub rows: ObjectRowTargets,
}

impl DeleteObjectRequest {
    /// As a request to any of the servers.
    pub fn encode(&self) -> NodeRequest {
        let mut request = self.address.encode(Method::DELETE);
        let head = &mut request.headers;
        set(head, headers::TIMESTAMP, &self.timestamp.to_string());
        let condition = self.if_delete_at.map(Timestamp::normal);
        fields::set_some(head, headers::IF_DELETE_AT, condition.as_deref());
        self.fence.encode(head);
        if self.is_replication {
            set(head, headers::REPLICATION, "True");
        }
        self.rows.encode(head);
        request
    }

    /// Reads a request.
    ///
    /// # Errors
    /// When path, policy, time, condition or part power are malformed.
    pub fn decode(parts: &Parts) -> Result<Received<Self>, InvalidRequest> {
        let Received { device, message: address } = ObjectAddress::decode(parts)?;
        let head = &parts.headers;
        let if_delete_at = match header(head, headers::IF_DELETE_AT) {
            None => None,
            Some(text) => Some(Timestamp::parse(text).ok_or_else(|| {
                InvalidRequest::header("X-If-Delete-At", Some(text), "seconds since 1970")
            })?),
        };
        let message = Self {
            address,
            timestamp: fields::required_timestamp(head)?,
            if_delete_at,
            fence: WriteFence::decode(head),
            is_replication: fields::flag(head, headers::REPLICATION).unwrap_or(false),
            rows: ObjectRowTargets::decode(head),
        };
        Ok(Received { device, message })
    }
}
