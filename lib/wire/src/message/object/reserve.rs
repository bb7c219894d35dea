//! `RESERVE` and `RELEASE`: the name of an object for a conditional write. Both are ours.

use apus_cluster::Timestamp;
use apus_daemon::http::{header, set};
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::super::{InvalidRequest, Received, fields};
use super::{AbsentObject, ObjectAddress, ServedBody, StoredObject};
use crate::{NodeRequest, headers, methods};

/// `RESERVE /device/partition/account/container/object`: asks for the name at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReserveRequest {
    /// The object.
    pub address: ObjectAddress,
    /// The time that the write will have.
    pub timestamp: Timestamp,
}

/// `RELEASE` of a name that was reserved at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseRequest {
    /// The object.
    pub address: ObjectAddress,
    /// The time of the reservation.
    pub timestamp: Timestamp,
}

/// The answer to a `RESERVE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReserveReply<'a> {
    /// The name is reserved, and this is stored (200).
    Stored(Box<StoredObject<'a>>),
    /// The name is reserved, and nothing is stored (404).
    Absent(AbsentObject),
    /// A later time is needed (409).
    TooEarly {
        /// The time that is in the way.
        newest: Option<Timestamp>,
    },
    /// The server does not know the verb: Python Swift's (405, 501).
    Unsupported,
    /// Any other answer.
    Failed,
}

fn encode(address: &ObjectAddress, verb: &'static str, timestamp: Timestamp) -> NodeRequest {
    let mut request = address.encode(methods::method(verb));
    set(&mut request.headers, headers::TIMESTAMP, &timestamp.to_string());
    request
}

impl ReserveRequest {
    /// As a request to any of the servers.
    pub fn encode(&self) -> NodeRequest {
        encode(&self.address, methods::RESERVE, self.timestamp)
    }

    /// Reads a request.
    ///
    /// # Errors
    /// When path, policy, time or part power are malformed.
    pub fn decode(parts: &Parts) -> Result<Received<Self>, InvalidRequest> {
        let timestamp = fields::required_timestamp(&parts.headers)?;
        Ok(ObjectAddress::decode(parts)?.map(|address| Self { address, timestamp }))
    }
}

impl ReleaseRequest {
    /// As a request to any of the servers.
    pub fn encode(&self) -> NodeRequest {
        encode(&self.address, methods::RELEASE, self.timestamp)
    }

    /// Reads a request.
    ///
    /// # Errors
    /// When path, policy, time or part power are malformed.
    pub fn decode(parts: &Parts) -> Result<Received<Self>, InvalidRequest> {
        let timestamp = fields::required_timestamp(&parts.headers)?;
        Ok(ObjectAddress::decode(parts)?.map(|address| Self { address, timestamp }))
    }
}

impl ReserveReply<'_> {
    /// Writes the headers of an answer; gives its status.
    pub fn encode(&self, head: &mut HeaderMap) -> StatusCode {
        match self {
            Self::Stored(object) => {
                object.encode(ServedBody::Whole, head);
                set(head, headers::RESERVED, "yes");
                StatusCode::OK
            }
            Self::Absent(absent) => {
                absent.encode(head);
                set(head, headers::RESERVED, "yes");
                StatusCode::NOT_FOUND
            }
            Self::TooEarly { newest } => {
                fields::set_display(head, headers::BACKEND_TIMESTAMP, *newest);
                StatusCode::CONFLICT
            }
            Self::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
            Self::Failed => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Reads an answer. One that does not say that the name is reserved grants nothing.
    pub fn decode(status: StatusCode, head: &HeaderMap) -> ReserveReply<'static> {
        let reserved = header(head, headers::RESERVED).is_some();
        match status {
            StatusCode::OK if reserved => {
                ReserveReply::Stored(Box::new(StoredObject::decode(head)))
            }
            StatusCode::NOT_FOUND if reserved => ReserveReply::Absent(AbsentObject::decode(head)),
            StatusCode::CONFLICT => {
                ReserveReply::TooEarly { newest: fields::time(head, headers::BACKEND_TIMESTAMP) }
            }
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                ReserveReply::Unsupported
            }
            _ => ReserveReply::Failed,
        }
    }
}
