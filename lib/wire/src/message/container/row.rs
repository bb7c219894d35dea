//! `PUT` and `DELETE` of `/device/partition/account/container/object`: a row of a listing.

use apus_cluster::listing::ObjectRow;
use apus_cluster::timestamp::RowTimes;
use apus_cluster::{Metadata, PolicyIndex, Timestamp};
use apus_daemon::http::{header, set};
use http::request::Parts;
use http::{HeaderMap, Method};

use super::super::{InvalidRequest, Received, fields};
use super::ContainerAddress;
use crate::{NodeRequest, headers};

/// Whether a row is put or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowVerb {
    /// The object is there.
    Put,
    /// The object was deleted.
    Delete,
}

impl RowVerb {
    /// As HTTP and `async_pending` files spell it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }

    fn method(self) -> Method {
        match self {
            Self::Put => Method::PUT,
            Self::Delete => Method::DELETE,
        }
    }
}

/// The headers of a row request by name, as `async_pending` files keep them. They may hold items
/// of Swift's that this version does not know, which are sent on as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowHeaders(pub Metadata);

impl RowHeaders {
    /// The headers of a row that says that an object was deleted.
    pub fn deleted(time: Timestamp) -> Self {
        Self(Metadata::from([(headers::TIMESTAMP.to_owned(), time.to_string())]))
    }

    /// The headers of an object's row, without times of content type and metadata.
    pub fn stored(time: Timestamp, size: &str, content_type: &str, etag: &str) -> Self {
        Self(Metadata::from([
            (headers::SIZE.to_owned(), size.to_owned()),
            (headers::CONTENT_TYPE.to_owned(), content_type.to_owned()),
            (headers::ETAG.to_owned(), etag.to_owned()),
            (headers::TIMESTAMP.to_owned(), time.to_string()),
        ]))
    }

    /// Sets the value of a field (`etag`, `size`, `content-type`), whatever the object says.
    pub fn override_field(&mut self, field: &str, value: &str) {
        self.0.insert(format!("x-{}", field.to_ascii_lowercase()), value.to_owned());
    }

    /// Sets the time of the content type.
    pub fn set_content_type_timestamp(&mut self, time: &str) {
        self.0.insert(headers::CONTENT_TYPE_TIMESTAMP.to_owned(), time.to_owned());
    }

    /// Sets the time of the metadata.
    pub fn set_meta_timestamp(&mut self, time: Timestamp) {
        self.0.insert(headers::META_TIMESTAMP.to_owned(), time.to_string());
    }

    /// Sets what every row request says: the policy, and the client request it belongs to.
    pub fn set_origin(&mut self, policy: PolicyIndex, trans_id: Option<&str>) {
        self.0.insert(headers::POLICY_INDEX.to_owned(), policy.to_string());
        if let Some(id) = trans_id {
            self.set_trans_id(id);
        }
    }

    /// Sets the id of the client request that the row belongs to.
    pub fn set_trans_id(&mut self, id: &str) {
        self.0.insert(headers::TRANS_ID.to_owned(), id.to_owned());
    }

    /// Says that the sender understands redirects to shards.
    pub fn accept_redirects(&mut self) {
        for name in [headers::ACCEPT_REDIRECT, headers::ACCEPT_QUOTED_LOCATION] {
            self.0.insert(name.to_owned(), "true".to_owned());
        }
    }

    /// Sets the name of the program that sends the row.
    pub fn set_user_agent(&mut self, agent: &str) {
        self.0.insert("user-agent".to_owned(), agent.to_owned());
    }

    /// As a request to any of the servers of a container; `names` are account, container, object.
    pub fn encode(&self, verb: RowVerb, partition: u32, names: Vec<String>) -> NodeRequest {
        let mut head = HeaderMap::with_capacity(self.0.len());
        for (name, value) in &self.0 {
            set(&mut head, name, value);
        }
        NodeRequest { method: verb.method(), partition, names, query: String::new(), headers: head }
    }
}

/// A row as a container server receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRowRequest {
    /// The container.
    pub address: ContainerAddress,
    /// The row.
    pub row: ObjectRow,
}

impl ObjectRowRequest {
    /// Reads the headers of a request whose address has been read; `object` is the name in its
    /// path.
    ///
    /// # Errors
    /// When a header that a row needs is missing or malformed.
    pub fn decode(
        (address, object): (Received<ContainerAddress>, String),
        parts: &Parts,
        verb: RowVerb,
    ) -> Result<Received<Self>, InvalidRequest> {
        let head = &parts.headers;
        let time = fields::required_timestamp(head)?;
        let policy = fields::number(head, headers::POLICY_INDEX).unwrap_or(0);
        let row = match verb {
            RowVerb::Delete => ObjectRow {
                name: object,
                times: RowTimes::all(time),
                size: 0,
                content_type: "application/deleted".to_owned(),
                etag: "noetag".to_owned(),
                deleted: true,
                policy,
            },
            RowVerb::Put => {
                let content_type =
                    fields::time(head, headers::CONTENT_TYPE_TIMESTAMP).unwrap_or(time);
                let meta = fields::time(head, headers::META_TIMESTAMP).unwrap_or(content_type);
                let size = required(head, "x-size", "the size in bytes")?;
                ObjectRow {
                    name: object,
                    times: RowTimes { data: time, content_type, meta },
                    size: size.parse().map_err(|_| {
                        InvalidRequest::header("x-size", Some(size), "the size in bytes")
                    })?,
                    content_type: required(head, "x-content-type", "a content type")?.to_owned(),
                    etag: required(head, "x-etag", "an etag")?.trim_matches('"').to_owned(),
                    deleted: false,
                    policy,
                }
            }
        };
        Ok(address.map(|address| Self { address, row }))
    }
}

fn required<'a>(
    head: &'a HeaderMap,
    name: &'static str,
    expected: &'static str,
) -> Result<&'a str, InvalidRequest> {
    header(head, name).ok_or_else(|| InvalidRequest::header(name, None, expected))
}
