//! `DELETE` of a container.

use apus_cluster::Timestamp;
use apus_daemon::http::set;
use http::Method;
use http::request::Parts;

use super::super::{InvalidRequest, Received, RowTargets, fields};
use super::ContainerAddress;
use super::put::ACCOUNT_ROWS;
use crate::{NodeRequest, headers};

/// `DELETE /device/partition/account/container`: deletes an empty container.
#[derive(Debug, Clone, PartialEq)]
pub struct DeleteContainerRequest {
    /// The container.
    pub address: ContainerAddress,
    /// Time of the deletion.
    pub timestamp: Timestamp,
    /// Account databases that this server reports to.
    pub account_rows: RowTargets,
}

impl DeleteContainerRequest {
    /// As a request to any of the servers.
    pub fn encode(&self) -> NodeRequest {
        let mut request = self.address.encode(Method::DELETE);
        set(&mut request.headers, headers::TIMESTAMP, &self.timestamp.to_string());
        self.account_rows.encode(&mut request.headers, ACCOUNT_ROWS);
        request
    }

    /// Reads the headers of a request whose address has been read.
    ///
    /// # Errors
    /// When the time is malformed.
    pub fn decode(
        address: Received<ContainerAddress>,
        parts: &Parts,
    ) -> Result<Received<Self>, InvalidRequest> {
        let timestamp = fields::required_timestamp(&parts.headers)?;
        let account_rows = RowTargets::decode(&parts.headers, ACCOUNT_ROWS);
        Ok(address.map(|address| Self { address, timestamp, account_rows }))
    }
}

impl NodeRequest {
    /// The same deletion of a container by the reaper of its account, as Swift's reaper marks it.
    #[must_use]
    pub fn with_deleted_account(mut self) -> Self {
        set(&mut self.headers, headers::ACCOUNT_OVERRIDE_DELETED, "yes");
        self
    }

    /// The same change of a container with the account rows that one of its receivers is to send.
    #[must_use]
    pub fn with_account_rows(mut self, rows: &RowTargets) -> Self {
        rows.encode(&mut self.headers, ACCOUNT_ROWS);
        self
    }
}
