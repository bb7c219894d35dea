//! `UPDATE` of a container: rows with all their times, as a JSON list, merged like those of a
//! replica. Swift's sharder and proxy send them.

use apus_cluster::{PolicyIndex, Timestamp};
use http::request::Parts;

use super::super::{InvalidRequest, Received, fields};
use super::ContainerAddress;
use super::put::optional_policy;
use crate::headers;

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
