//! `POST` to an object.

use apus_cluster::metadata::{OBJECT_HEADERS, Resource, TRANSIENT_PREFIX, has_prefix, stored_name};
use apus_cluster::{Metadata, Timestamp};
use apus_daemon::http::{header, set};
use http::Method;
use http::request::Parts;

use super::super::{InvalidRequest, Received, fields};
use super::put::{check_delete_at, decode_overrides, delete_at, encode_metadata, encode_overrides};
use super::{ObjectAddress, ObjectRowTargets, WriteFence};
use crate::{NodeRequest, headers};

/// Time of a content type that replication brings.
const CONTENT_TYPE_TIME: &str = "content-type-timestamp";

/// `POST /device/partition/account/container/object`: replaces the metadata of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct PostObjectRequest {
    /// The object.
    pub address: ObjectAddress,
    /// Time of the change.
    pub timestamp: Timestamp,
    /// New content type; `None` leaves it as it is.
    pub content_type: Option<String>,
    /// Time of the content type, where replication brings it.
    pub content_type_timestamp: Option<Timestamp>,
    /// New metadata, under the names it is stored under.
    pub metadata: Metadata,
    /// The object may have expired.
    pub open_expired: bool,
    /// How the write relates to reservations.
    pub fence: WriteFence,
    /// The change is a copy made by replication: no rows are sent for it.
    pub is_replication: bool,
    /// Values for the container row instead of the object's own, by the row's field.
    pub row_overrides: Metadata,
    /// Databases to report to.
    pub rows: ObjectRowTargets,
}

/// Headers of a POST that are stored.
fn is_kept(name: &str) -> bool {
    has_prefix(name, Resource::Object.user_prefix())
        || has_prefix(name, TRANSIENT_PREFIX)
        || (OBJECT_HEADERS.iter().any(|known| known.eq_ignore_ascii_case(name))
            && !name.eq_ignore_ascii_case("X-Static-Large-Object"))
}

impl PostObjectRequest {
    /// As a request to any of the servers.
    pub fn encode(&self) -> NodeRequest {
        let mut request = self.address.encode(Method::POST);
        let head = &mut request.headers;
        set(head, headers::TIMESTAMP, &self.timestamp.to_string());
        encode_metadata(&self.metadata, head);
        fields::set_some(head, "content-type", self.content_type.as_deref());
        fields::set_display(head, CONTENT_TYPE_TIME, self.content_type_timestamp);
        if self.open_expired {
            set(head, headers::OPEN_EXPIRED, "true");
        }
        self.fence.encode(head);
        if self.is_replication {
            set(head, headers::REPLICATION, "True");
        }
        encode_overrides(&self.row_overrides, head);
        self.rows.encode(head);
        request
    }

    /// Reads a request.
    ///
    /// # Errors
    /// When path, policy, time, expiry or part power are malformed.
    pub fn decode(parts: &Parts) -> Result<Received<Self>, InvalidRequest> {
        let Received { device, message: address } = ObjectAddress::decode(parts)?;
        let head = &parts.headers;
        check_delete_at(head)?;
        let content_type_timestamp = match header(head, CONTENT_TYPE_TIME) {
            None => None,
            Some(text) => Some(Timestamp::parse(text).ok_or_else(|| {
                InvalidRequest::header("Content-Type-Timestamp", Some(text), "seconds.decimals")
            })?),
        };
        let message = Self {
            address,
            timestamp: fields::required_timestamp(head)?,
            // Swift's proxy sends an empty content type when its client sent none.
            content_type: fields::text(head, "content-type").filter(|given| !given.is_empty()),
            content_type_timestamp,
            metadata: fields::metadata(head, is_kept, stored_name),
            open_expired: fields::flag(head, headers::OPEN_EXPIRED).unwrap_or(false),
            fence: WriteFence::decode(head),
            is_replication: fields::flag(head, headers::REPLICATION).unwrap_or(false),
            row_overrides: decode_overrides(head),
            rows: ObjectRowTargets::decode(head),
        };
        Ok(Received { device, message })
    }

    /// When the object expires, in seconds since 1970; `None` for never.
    pub fn delete_at(&self) -> Option<u64> {
        delete_at(&self.metadata)
    }
}
