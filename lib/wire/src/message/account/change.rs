//! `PUT`, `POST` and `DELETE` of an account.

use apus_cluster::metadata::Resource;
use apus_cluster::{Metadata, Timestamp};
use apus_daemon::http::set;
use http::Method;
use http::request::Parts;

use super::super::{InvalidRequest, Received, fields};
use super::AccountAddress;
use crate::{NodeRequest, headers};

/// What happens to the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeVerb {
    /// It is made, or its metadata changed.
    Put,
    /// Its metadata is changed.
    Post,
    /// It is marked as deleted.
    Delete,
}

/// `PUT`, `POST` or `DELETE /device/partition/account`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeAccountRequest {
    /// The account.
    pub address: AccountAddress,
    /// What happens to it.
    pub verb: ChangeVerb,
    /// Time of the change.
    pub timestamp: Timestamp,
    /// Metadata to set, by header; an empty value removes an item.
    pub metadata: Metadata,
}

impl ChangeAccountRequest {
    /// As a request to any of the servers.
    pub fn encode(&self) -> NodeRequest {
        let method = match self.verb {
            ChangeVerb::Put => Method::PUT,
            ChangeVerb::Post => Method::POST,
            ChangeVerb::Delete => Method::DELETE,
        };
        let mut request = self.address.encode(method);
        set(&mut request.headers, headers::TIMESTAMP, &self.timestamp.to_string());
        for (name, value) in &self.metadata {
            set(&mut request.headers, name, value);
        }
        request
    }

    /// Reads the headers of a request whose address has been read.
    ///
    /// # Errors
    /// When the time is malformed.
    pub fn decode(
        address: Received<AccountAddress>,
        parts: &Parts,
        verb: ChangeVerb,
    ) -> Result<Received<Self>, InvalidRequest> {
        let timestamp = fields::required_timestamp(&parts.headers)?;
        let metadata = fields::database_metadata(&parts.headers, Resource::Account, &[]);
        Ok(address.map(|address| Self { address, verb, timestamp, metadata }))
    }
}
