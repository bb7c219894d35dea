//! `GET` and `HEAD` of a container.

use apus_daemon::http::{header, set};
use http::Method;
use http::request::Parts;

use super::super::object::ReadVerb;
use super::super::{Received, fields};
use super::ContainerAddress;
use crate::{NodeRequest, headers};

/// `GET` or `HEAD /device/partition/account/container`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadContainerRequest {
    /// The container.
    pub address: ContainerAddress,
    /// With or without the listing.
    pub verb: ReadVerb,
    /// Query of the listing, without the question mark.
    pub query: String,
    /// List names that begin with NUL, too, which are the cluster's own.
    pub allow_reserved: bool,
    /// List deleted rows, and all times of each: for strong reads. Ours.
    pub with_deleted: bool,
    /// What to list; `None` for objects.
    pub record_type: Option<RecordType>,
    /// How much of each shard a listing of shards says.
    pub shard_format: ListingFormat,
}

/// What a listing consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordType {
    /// Objects.
    Object,
    /// Shards.
    Shard,
    /// Shards where there are some, else objects.
    Auto,
}

/// How much of each shard a listing of shards says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ListingFormat {
    /// Everything.
    #[default]
    Full,
    /// Names and bounds.
    Namespace,
}

impl RecordType {
    /// As the header spells it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Shard => "shard",
            Self::Auto => "auto",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let all = [Self::Object, Self::Shard, Self::Auto];
        all.into_iter().find(|kind| kind.word().eq_ignore_ascii_case(text))
    }
}

impl ListingFormat {
    /// As the header spells it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Namespace => "namespace",
        }
    }
}

impl ReadContainerRequest {
    /// A read of the container's metadata.
    pub fn head(address: ContainerAddress) -> Self {
        Self {
            address,
            verb: ReadVerb::Head,
            query: String::new(),
            allow_reserved: false,
            with_deleted: false,
            record_type: None,
            shard_format: ListingFormat::Full,
        }
    }

    /// A listing with this query.
    pub fn list(address: ContainerAddress, query: String) -> Self {
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
        let head = &mut request.headers;
        if self.allow_reserved {
            set(head, headers::ALLOW_RESERVED_NAMES, "true");
        }
        if self.with_deleted {
            set(head, headers::LIST_DELETED, "yes");
        }
        fields::set_some(head, headers::RECORD_TYPE, self.record_type.map(RecordType::word));
        if self.shard_format == ListingFormat::Namespace {
            set(head, headers::SHARD_FORMAT, self.shard_format.word());
        }
        request
    }

    /// Reads a request whose address has been read.
    pub fn decode(address: Received<ContainerAddress>, parts: &Parts) -> Received<Self> {
        let head = &parts.headers;
        let format = header(head, headers::SHARD_FORMAT).unwrap_or_default();
        let namespace = format.eq_ignore_ascii_case("namespace");
        address.map(|address| Self {
            address,
            verb: if parts.method == Method::HEAD { ReadVerb::Head } else { ReadVerb::Get },
            query: parts.uri.query().unwrap_or_default().to_owned(),
            allow_reserved: fields::flag(head, headers::ALLOW_RESERVED_NAMES).unwrap_or(false),
            with_deleted: header(head, headers::LIST_DELETED).is_some(),
            record_type: header(head, headers::RECORD_TYPE).and_then(RecordType::parse),
            shard_format: if namespace { ListingFormat::Namespace } else { ListingFormat::Full },
        })
    }
}
