//! `GET` and `HEAD` of a container.

use std::borrow::Cow;

use apus_broker::response::{Refusal, missing, refuse};
use apus_broker::{Connection, DbError, digest, list_query, metadata};
use apus_cluster::PolicyIndex;
use apus_cluster::listing::{ListQuery, ObjectEntry, ObjectRow, split_swift_bytes};
use apus_cluster::python_json::push_string;
use apus_daemon::Body;
use apus_daemon::http::{full, status};
use apus_wire::message::container::{
    ContainerDescription, ContainerTimes, ReadContainerRequest, RecordType,
};
use apus_wire::message::object::ReadVerb;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};

use crate::backend::{self, ContainerInfo};
use crate::listing;
use crate::schema::SCHEMA;
use crate::server::{ContainerTarget, Server};

/// Appends a field, in ASCII: a strong listing need not decode pages of several servers that are equal byte
/// for byte.
fn field(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    push_string(out, value);
}

/// Content type and size in a listing. The size of a joined object is that of the whole, which its row
/// has in the content type. Other servers (`full`) get the row as it is.
fn listed(content_type: &str, size: u64, full: bool) -> (Cow<'_, str>, u64) {
    if full || !content_type.contains("swift_bytes=") {
        return (Cow::Borrowed(content_type), size);
    }
    let (content_type, joined) = split_swift_bytes(content_type);
    (Cow::Owned(content_type), joined.and_then(|text| text.parse().ok()).unwrap_or(size))
}

/// Rows as a JSON array, `full` for other servers. Written directly into one buffer, since listings
/// are the largest documents.
fn json<'a>(rows: impl Iterator<Item = Listed<'a>>, full: bool) -> Vec<u8> {
    let mut out = String::from("[");
    for row in rows {
        if out.len() > 1 {
            out.push_str(", ");
        }
        match row {
            Listed::Subdir(name) => field(&mut out, "{\"subdir\": ", name),
            Listed::Object(row) => {
                let (content_type, size) = listed(&row.content_type, row.size, full);
                out.push_str("{\"bytes\": ");
                out.push_str(&size.to_string());
                field(&mut out, ", \"hash\": ", &row.etag);
                field(&mut out, ", \"name\": ", &row.name);
                field(&mut out, ", \"content_type\": ", &content_type);
                field(&mut out, ", \"last_modified\": ", &row.last_modified().iso());
                if full {
                    field(&mut out, ", \"created_at\": ", &row.times.encode());
                    out.push_str(", \"deleted\": ");
                    out.push_str(if row.deleted { "true" } else { "false" });
                }
            }
        }
        out.push('}');
    }
    out.push(']');
    out.into_bytes()
}

enum Listed<'a> {
    Object(&'a ObjectRow),
    Subdir(&'a str),
}

impl<'a> Listed<'a> {
    fn of(entry: &'a ObjectEntry) -> Self {
        match entry {
            ObjectEntry::Object(row) => Self::Object(row),
            ObjectEntry::Subdir(name) => Self::Subdir(name),
        }
    }
}

fn plain(entries: &[ObjectEntry]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        out.extend_from_slice(entry.name().as_bytes());
        out.push(b'\n');
    }
    out
}

fn times(info: &ContainerInfo) -> ContainerTimes {
    ContainerTimes {
        created: Some(info.created_at),
        put: Some(info.put_timestamp),
        deleted: Some(info.delete_timestamp),
        status_changed: Some(info.status_changed_at),
        policy: Some(PolicyIndex(info.policy)),
    }
}

/// What a listing consists of, and whether it is JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listing {
    None,
    Text,
    Json,
    WithDeleted,
    /// No database of this version has shards: the list is empty.
    Shards,
}

impl Listing {
    fn of(request: &ReadContainerRequest) -> Self {
        let wants_json = request.query.split('&').any(|pair| pair == "format=json");
        match request.record_type {
            Some(RecordType::Shard) => Self::Shards,
            _ if request.with_deleted => Self::WithDeleted,
            _ if wants_json => Self::Json,
            _ => Self::Text,
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::None | Self::Text => "text/plain; charset=utf-8",
            Self::Json | Self::WithDeleted | Self::Shards => "application/json; charset=utf-8",
        })
    }

    fn body(
        self,
        connection: &mut Connection,
        query: &ListQuery,
        policy: u32,
    ) -> Result<Vec<u8>, DbError> {
        Ok(match self {
            Self::None => Vec::new(),
            Self::Shards => b"[]".to_vec(),
            Self::WithDeleted => {
                let rows = listing::page_with_deleted(connection, query, policy)?;
                json(rows.iter().map(Listed::Object), true)
            }
            Self::Json => {
                let entries = listing::page(connection, query, policy)?;
                json(entries.iter().map(Listed::of), false)
            }
            Self::Text => plain(&listing::page(connection, query, policy)?),
        })
    }
}

pub(crate) async fn get(
    server: &Server,
    target: &ContainerTarget,
    request: ReadContainerRequest,
) -> Result<Response<Body>, Refusal> {
    let limit = server.databases.deps.constraints.container_listing_limit;
    let mut query = list_query(&request.query, limit, |_, _| {})
        .map_err(|error| refuse(StatusCode::PRECONDITION_FAILED, &error.to_string()))?;
    query.reserved = request.allow_reserved;
    let listing = Listing::of(&request);
    let is_head = request.verb == ReadVerb::Head;
    let listed = if is_head { Listing::None } else { listing };
    let database = server.databases.existing(target).await?;
    let (info, body) = database
        .read(move |connection| {
            digest::check_info(connection, &SCHEMA)?;
            let info = backend::info(connection)?;
            let listed = if info.is_deleted() { Listing::None } else { listed };
            let body = listed.body(connection, &query, info.policy)?;
            Ok((info, body))
        })
        .await?;
    if info.is_deleted() {
        let mut response = *missing();
        times(&info).encode(response.headers_mut());
        return Ok(response);
    }
    let code = if body.is_empty() { StatusCode::NO_CONTENT } else { StatusCode::OK };
    let mut response = status(code);
    if !body.is_empty() {
        *response.body_mut() = full(body);
    }
    response.headers_mut().insert(CONTENT_TYPE, listing.content_type());
    let record_type = match listing {
        Listing::Shards => Some(RecordType::Shard),
        _ if is_head => None,
        _ => Some(RecordType::Object),
    };
    let description = ContainerDescription {
        times: times(&info),
        metadata: metadata::in_force(info.metadata),
        object_count: info.object_count,
        bytes_used: info.bytes_used,
        listed: record_type.map(|kind| (kind, request.shard_format)),
    };
    description.encode(response.headers_mut());
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joined_object_is_listed_with_the_size_of_the_whole() {
        assert_eq!(listed("a/b", 400, false), ("a/b".into(), 400));
        let joined = "a/b;c=d;swift_bytes=7000";
        assert_eq!(listed(joined, 400, false), ("a/b;c=d".into(), 7000));
        assert_eq!(listed(joined, 400, true), (joined.into(), 400));
    }
}
