//! `PUT` of a container.

use apus_cluster::metadata::Resource;
use apus_cluster::{Metadata, PolicyIndex, Timestamp};
use apus_daemon::http::{header, set};
use http::request::Parts;
use http::{HeaderMap, Method};

use super::super::{InvalidRequest, Received, RowTargets, fields};
use super::ContainerAddress;
use crate::{NodeRequest, headers};

/// Headers of the databases of accounts that a change is reported to.
pub(super) const ACCOUNT_ROWS: [&str; 3] =
    [headers::ACCOUNT_HOST, headers::ACCOUNT_PARTITION, headers::ACCOUNT_DEVICE];

/// Headers that a container keeps in addition to user and system metadata.
pub(super) const KEPT: [&str; 4] =
    ["x-container-read", "x-container-write", "x-container-sync-key", "x-container-sync-to"];

/// The policy that a new container gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerPolicy {
    /// The one that the client named: a container with another one is a conflict.
    Explicit(PolicyIndex),
    /// That of the cluster, for a container that does not exist yet.
    Default(PolicyIndex),
}

impl ContainerPolicy {
    /// The index.
    pub fn index(self) -> PolicyIndex {
        match self {
            Self::Explicit(index) | Self::Default(index) => index,
        }
    }
}

/// `PUT /device/partition/account/container`: makes a container or changes its metadata.
#[derive(Debug, Clone, PartialEq)]
pub struct PutContainerRequest {
    /// The container.
    pub address: ContainerAddress,
    /// Time of the change.
    pub timestamp: Timestamp,
    /// The policy of a new container.
    pub policy: ContainerPolicy,
    /// Metadata to set, by header; an empty value removes an item.
    pub metadata: Metadata,
    /// Account databases that this server reports to.
    pub account_rows: RowTargets,
}

impl PutContainerRequest {
    /// As a request to any of the servers.
    pub fn encode(&self) -> NodeRequest {
        let mut request = self.address.encode(Method::PUT);
        let head = &mut request.headers;
        set(head, headers::TIMESTAMP, &self.timestamp.to_string());
        match self.policy {
            ContainerPolicy::Explicit(index) => {
                set(head, headers::POLICY_INDEX, &index.to_string());
            }
            ContainerPolicy::Default(index) => {
                set(head, headers::POLICY_DEFAULT, &index.to_string());
            }
        }
        encode_metadata(&self.metadata, head);
        self.account_rows.encode(head, ACCOUNT_ROWS);
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
        let explicit = optional_policy(head, headers::POLICY_INDEX)?;
        let default = optional_policy(head, headers::POLICY_DEFAULT)?.unwrap_or(PolicyIndex(0));
        let timestamp = fields::required_timestamp(head)?;
        Ok(address.map(|address| Self {
            address,
            timestamp,
            policy: explicit.map_or(ContainerPolicy::Default(default), ContainerPolicy::Explicit),
            metadata: fields::database_metadata(head, Resource::Container, &KEPT),
            account_rows: RowTargets::decode(head, ACCOUNT_ROWS),
        }))
    }
}

/// A policy that need not be there; an empty one counts as absent.
pub(super) fn optional_policy(
    head: &HeaderMap,
    name: &'static str,
) -> Result<Option<PolicyIndex>, InvalidRequest> {
    match header(head, name) {
        None | Some("") => Ok(None),
        Some(text) => match text.parse() {
            Ok(index) => Ok(Some(PolicyIndex(index))),
            Err(_) => {
                Err(InvalidRequest::header(name, Some(text), "the index of a storage policy"))
            }
        },
    }
}

/// Writes metadata as headers.
pub(super) fn encode_metadata(metadata: &Metadata, head: &mut HeaderMap) {
    for (name, value) in metadata {
        set(head, name, value);
    }
}
