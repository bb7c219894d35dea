//! `UPDATE` of a container: rows with all their times, as a JSON list, merged like those of a
//! replica. Swift's sharder and proxy send them.

use apus_cluster::{PolicyIndex, Timestamp};
use apus_daemon::http::set;
use http::request::Parts;

use super::super::{InvalidRequest, Received, fields};
use super::ContainerAddress;
use super::put::optional_policy;
use crate::{NodeRequest, headers, methods};

const AUTO_CREATE: &str = "x-backend-auto-create";

/// `UPDATE /device/partition/account/container`; the rows are the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateRowsRequest {
    /// The container.
    pub address: ContainerAddress,
    /// Time of the request.
    pub timestamp: Timestamp,
    /// Policy of a container that has to be made.
    pub policy: PolicyIndex,
    /// Make the container if it does not exist.
    pub auto_create: bool,
}

impl UpdateRowsRequest {
    /// As a request to any of the servers; its body is the list of rows.
    pub fn encode(&self) -> NodeRequest {
        let mut request = self.address.encode(methods::method(methods::UPDATE));
        let head = &mut request.headers;
        set(head, headers::TIMESTAMP, &self.timestamp.to_string());
        set(head, headers::POLICY_INDEX, &self.policy.to_string());
        if self.auto_create {
            set(head, AUTO_CREATE, "true");
        }
        set(head, "content-type", "application/json");
        request
    }

    /// Reads the headers of a request whose address has been read.
    ///
    /// # Errors
    /// When time or policy are malformed.
    pub fn decode(
        address: Received<ContainerAddress>,
        parts: &Parts,
    ) -> Result<Received<Self>, InvalidRequest> {
        let head = &parts.headers;
        let timestamp = fields::required_timestamp(head)?;
        let policy = optional_policy(head, headers::POLICY_INDEX)?.unwrap_or(PolicyIndex(0));
        let auto_create = fields::flag(head, AUTO_CREATE).unwrap_or(false);
        Ok(address.map(|address| Self { address, timestamp, policy, auto_create }))
    }
}
