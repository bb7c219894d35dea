//! `GET` and `HEAD` of an account.

use apus_daemon::http::set;
use http::Method;
use http::request::Parts;

use super::super::object::ReadVerb;
use super::super::{Received, fields};
use super::AccountAddress;
use crate::{NodeRequest, headers};

/// `GET` or `HEAD /device/partition/account`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadAccountRequest {
    /// The account.
    pub address: AccountAddress,
    /// With or without the listing.
    pub verb: ReadVerb,
    /// Query of the listing, without the question mark.
    pub query: String,
    /// List names that begin with NUL, too, which are the cluster's own.
    pub allow_reserved: bool,
}

impl ReadAccountRequest {
    /// A read of the account's metadata.
    pub fn head(address: AccountAddress) -> Self {
        Self { address, verb: ReadVerb::Head, query: String::new(), allow_reserved: false }
    }

    /// A listing with this query.
    pub fn list(address: AccountAddress, query: String) -> Self {
        Self { verb: ReadVerb::Get, query, ..Self::head(address) }
    }

    /// As a request to any of the servers.
    pub fn encode(&self) -> NodeRequest {
        let method = match self.verb {
            ReadVerb::Get => Method::GET,
            ReadVerb::Head => Method::HEAD,
        };
        let mut request = self.address.encode(method);
        request.query.clone_from(&self.query);
        if self.allow_reserved {
            set(&mut request.headers, headers::ALLOW_RESERVED_NAMES, "true");
        }
        request
    }

    /// Reads a request whose address has been read.
    pub fn decode(address: Received<AccountAddress>, parts: &Parts) -> Received<Self> {
        let head = &parts.headers;
        address.map(|address| Self {
            address,
            verb: if parts.method == Method::HEAD { ReadVerb::Head } else { ReadVerb::Get },
            query: parts.uri.query().unwrap_or_default().to_owned(),
            allow_reserved: fields::flag(head, headers::ALLOW_RESERVED_NAMES).unwrap_or(false),
        })
    }
}
