//! `GET` and `HEAD` of an object.

use apus_cluster::byte_range::ByteRanges;
use apus_daemon::http::{header, set};
use http::Method;
use http::request::Parts;

use super::super::{InvalidRequest, Received, fields};
use super::{ObjectAddress, ReadConditions};
use crate::{NodeRequest, headers};

/// Which of the two reads it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadVerb {
    /// With the body.
    Get,
    /// Without it.
    Head,
}

/// `GET` or `HEAD /device/partition/account/container/object`.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadObjectRequest {
    /// The object.
    pub address: ObjectAddress,
    /// With or without the body.
    pub verb: ReadVerb,
    /// Conditions of the read.
    pub conditions: ReadConditions,
    /// Ranges of the body; `None` for all of it.
    pub ranges: Option<ByteRanges>,
    /// Serve the whole object when it has one of these metadata items.
    pub ignore_range_if: Vec<String>,
    /// The object may have expired.
    pub open_expired: bool,
    /// Replication reads for itself, also what has expired.
    pub is_replication: bool,
}

impl ReadObjectRequest {
    /// A read without conditions of the whole object.
    pub fn new(verb: ReadVerb, address: ObjectAddress) -> Self {
        Self {
            address,
            verb,
            conditions: ReadConditions::default(),
            ranges: None,
            ignore_range_if: Vec::new(),
            open_expired: false,
            is_replication: false,
        }
    }

    /// As a request to any of the servers.
    pub fn encode(&self) -> NodeRequest {
        let method = match self.verb {
            ReadVerb::Get => Method::GET,
            ReadVerb::Head => Method::HEAD,
        };
        let mut request = self.address.encode(method);
        let head = &mut request.headers;
        self.conditions.encode(head);
        let ranges = self.ranges.as_ref().map(ByteRanges::to_header);
        fields::set_some(head, "range", ranges.as_deref());
        if !self.ignore_range_if.is_empty() {
            set(head, headers::IGNORE_RANGE_IF, &self.ignore_range_if.join(","));
        }
        if self.open_expired {
            set(head, headers::OPEN_EXPIRED, "true");
        }
        if self.is_replication {
            set(head, headers::REPLICATION, "True");
        }
        request
    }

    /// Reads a request. A range that cannot be parsed counts as none, as RFC 9110 has it.
    ///
    /// # Errors
    /// When path, policy or part power are malformed.
    pub fn decode(parts: &Parts) -> Result<Received<Self>, InvalidRequest> {
        let Received { device, message: address } = ObjectAddress::decode(parts)?;
        let head = &parts.headers;
        let message = Self {
            address,
            verb: if parts.method == Method::HEAD { ReadVerb::Head } else { ReadVerb::Get },
            conditions: ReadConditions::decode(head),
            ranges: header(head, "range").and_then(ByteRanges::parse),
            ignore_range_if: fields::list(head, headers::IGNORE_RANGE_IF),
            open_expired: fields::flag(head, headers::OPEN_EXPIRED).unwrap_or(false),
            is_replication: fields::flag(head, headers::REPLICATION).unwrap_or(false),
        };
        Ok(Received { device, message })
    }
}
