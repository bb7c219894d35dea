//! `POST` to a container.

use apus_cluster::metadata::Resource;
use apus_cluster::{Metadata, Timestamp};
use apus_daemon::http::set;
use http::Method;
use http::request::Parts;

use super::super::{InvalidRequest, Received, RowTargets, fields};
use super::ContainerAddress;
use super::put::{ACCOUNT_ROWS, KEPT, encode_metadata};
use crate::{NodeRequest, headers};

/// `POST /device/partition/account/container`: changes metadata.
#[derive(Debug, Clone, PartialEq)]
pub struct PostContainerRequest {
    /// The container.
    pub address: ContainerAddress,
    /// Time of the change.
    pub timestamp: Timestamp,
    /// Metadata to set, by header; an empty value removes an item.
    pub metadata: Metadata,
    /// Leave the time of the container itself as it is.
    pub keeps_timestamp: bool,
    /// Account databases, as Swift's proxy names them for every write.
    pub account_rows: RowTargets,
}

impl PostContainerRequest {
    /// As a request to any of the servers.
    pub fn encode(&self) -> NodeRequest {
        let mut request = self.address.encode(Method::POST);
        let head = &mut request.headers;
        set(head, headers::TIMESTAMP, &self.timestamp.to_string());
        encode_metadata(&self.metadata, head);
        if self.keeps_timestamp {
            set(head, headers::NO_TIMESTAMP_UPDATE, "true");
        }
        self.account_rows.encode(head, ACCOUNT_ROWS);
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
        let head = &parts.headers;
        let timestamp = fields::required_timestamp(head)?;
        Ok(address.map(|address| Self {
            address,
            timestamp,
            metadata: fields::database_metadata(head, Resource::Container, &KEPT),
            keeps_timestamp: fields::flag(head, headers::NO_TIMESTAMP_UPDATE).unwrap_or(false),
            account_rows: RowTargets::decode(head, ACCOUNT_ROWS),
        }))
    }
}
