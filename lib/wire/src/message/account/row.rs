//! `PUT` of `/device/partition/account/container`: a row of an account's listing.

use apus_cluster::{PolicyIndex, Timestamp};
use apus_daemon::http::{header, set};
use http::request::Parts;
use http::{HeaderMap, Method};

use super::super::{InvalidRequest, Received, fields};
use super::AccountAddress;
use crate::{NodeRequest, headers};

const PUT_TIMESTAMP: &str = "x-put-timestamp";
const DELETE_TIMESTAMP: &str = "x-delete-timestamp";
const OBJECT_COUNT: &str = "x-object-count";
const BYTES_USED: &str = "x-bytes-used";

/// What a container server reports to its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRowRequest {
    /// The account.
    pub address: AccountAddress,
    /// Name of the container.
    pub container: String,
    /// Time of the request, with which an internal account is made.
    pub timestamp: Option<Timestamp>,
    /// When the container was last put.
    pub put: Timestamp,
    /// When it was last deleted.
    pub deleted: Timestamp,
    /// Number of objects.
    pub object_count: i64,
    /// Bytes in them.
    pub bytes_used: i64,
    /// Its storage policy.
    pub policy: PolicyIndex,
    /// The row is taken although the account is deleted.
    pub override_deleted: bool,
}

impl ContainerRowRequest {
    /// As a request to any of the servers.
    pub fn encode(&self) -> NodeRequest {
        let mut request = self.address.encode(Method::PUT);
        request.names.push(self.container.clone());
        let head = &mut request.headers;
        fields::set_display(head, headers::TIMESTAMP, self.timestamp);
        set(head, PUT_TIMESTAMP, &self.put.to_string());
        set(head, DELETE_TIMESTAMP, &self.deleted.to_string());
        set(head, OBJECT_COUNT, &self.object_count.to_string());
        set(head, BYTES_USED, &self.bytes_used.to_string());
        set(head, headers::POLICY_INDEX, &self.policy.to_string());
        if self.override_deleted {
            set(head, headers::ACCOUNT_OVERRIDE_DELETED, "yes");
        }
        request
    }

    /// Reads the headers of a request whose address has been read; `container` is the name in its
    /// path.
    ///
    /// # Errors
    /// When a header that a row needs is missing or malformed.
    pub fn decode(
        (address, container): (Received<AccountAddress>, String),
        parts: &Parts,
    ) -> Result<Received<Self>, InvalidRequest> {
        let head = &parts.headers;
        let put = required_time(head, PUT_TIMESTAMP)?;
        let deleted = required_time(head, DELETE_TIMESTAMP)?;
        let object_count = required_number(head, OBJECT_COUNT)?;
        let bytes_used = required_number(head, BYTES_USED)?;
        let policy = PolicyIndex(fields::number(head, headers::POLICY_INDEX).unwrap_or(0));
        let override_deleted =
            fields::flag(head, headers::ACCOUNT_OVERRIDE_DELETED).unwrap_or(false);
        Ok(address.map(|address| Self {
            address,
            container,
            timestamp: fields::time(head, headers::TIMESTAMP),
            put,
            deleted,
            object_count,
            bytes_used,
            policy,
            override_deleted,
        }))
    }
}

fn required_time(head: &HeaderMap, name: &'static str) -> Result<Timestamp, InvalidRequest> {
    fields::time(head, name)
        .ok_or_else(|| InvalidRequest::header(name, header(head, name), "seconds.decimals"))
}

fn required_number(head: &HeaderMap, name: &'static str) -> Result<i64, InvalidRequest> {
    fields::number(head, name)
        .ok_or_else(|| InvalidRequest::header(name, header(head, name), "a whole number"))
}
