//! `GET` and `HEAD` of a container.

use apus_broker::answer::{Refusal, failed, refuse};
use apus_broker::list_query;
use apus_cluster::constraints::CONTAINER_LISTING_LIMIT;
use apus_cluster::listing::{ObjectEntry, ObjectRow};
use apus_cluster::metadata;
use apus_daemon::Body;
use apus_daemon::http::{full, header, set, status};
use apus_wire::headers;
use http::{HeaderMap, Response, StatusCode};

use crate::backend::{self, Info};
use crate::listing;
use crate::server::{Server, Target};

/// Appends a JSON string.
fn quote(out: &mut String, text: &str) {
    let plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
}

fn field(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    quote(out, value);
}

/// Rows as a JSON array, `full` for other servers. Written straight into one buffer: listings are
/// the largest documents there are.
fn json<'a>(rows: impl Iterator<Item = Listed<'a>>, full: bool) -> Vec<u8> {
    let mut out = String::from("[");
    for row in rows {
        if out.len() > 1 {
            out.push_str(", ");
        }
        match row {
            Listed::Subdir(name) => field(&mut out, "{\"subdir\": ", name),
            Listed::Object(row) => {
                field(&mut out, "{\"name\": ", &row.name);
                out.push_str(", \"bytes\": ");
                out.push_str(&row.size.to_string());
                field(&mut out, ", \"hash\": ", &row.etag);
                field(&mut out, ", \"content_type\": ", &row.content_type);
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

fn info_headers(info: &Info, out: &mut HeaderMap) {
    for (name, value) in metadata_of(info) {
        set(out, &name, &value);
    }
    set(out, "x-container-object-count", &info.object_count.to_string());
    set(out, "x-container-bytes-used", &info.bytes_used.to_string());
    set(out, "x-timestamp", &info.created_at.normal());
    set(out, "x-put-timestamp", &info.put_timestamp.normal());
}

fn metadata_of(info: &Info) -> metadata::Metadata {
    apus_broker::metadata::in_force(info.metadata.clone())
}

fn backend_headers(info: &Info, out: &mut HeaderMap) {
    set(out, headers::BACKEND_TIMESTAMP, &info.created_at.to_string());
    set(out, "x-backend-put-timestamp", &info.put_timestamp.to_string());
    set(out, "x-backend-delete-timestamp", &info.delete_timestamp.to_string());
    set(out, "x-backend-status-changed-at", &info.status_changed_at.to_string());
    set(out, headers::POLICY_INDEX, &info.policy.to_string());
    set(out, "x-backend-sharding-state", "unsharded");
    set(out, "x-backend-record-type", "object");
}

pub(crate) async fn get(
    server: &Server,
    target: &Target,
    head: &HeaderMap,
    query: &str,
    is_head: bool,
) -> Result<Response<Body>, Refusal> {
    let mut list = list_query(query, CONTAINER_LISTING_LIMIT, |_, _| {})
        .map_err(|text| refuse(StatusCode::PRECONDITION_FAILED, &text))?;
    list.reserved = header(head, headers::ALLOW_RESERVED_NAMES)
        .and_then(apus_daemon::config::value::flag)
        .unwrap_or(false);
    let wants_json = query.split('&').any(|pair| pair == "format=json");
    let with_deleted = header(head, headers::LIST_DELETED).is_some();
    let missing = || Box::new(status(StatusCode::NOT_FOUND));
    let database = server.open(&target.database).await?.ok_or_else(missing)?;
    let (info, body) = database
        .read(move |connection| {
            let info = backend::info(connection)?;
            if is_head || info.is_deleted() {
                return Ok((info, Vec::new()));
            }
            let body = if with_deleted {
                let rows = listing::page_with_deleted(connection, &list, info.policy)?;
                json(rows.iter().map(Listed::Object), true)
            } else {
                let entries = listing::page(connection, &list, info.policy)?;
                if wants_json {
                    json(entries.iter().map(Listed::of), false)
                } else {
                    plain(&entries)
                }
            };
            Ok((info, body))
        })
        .await
        .map_err(|error| failed(&error))?;
    if info.is_deleted() {
        let mut response = status(StatusCode::NOT_FOUND);
        backend_headers(&info, response.headers_mut());
        return Ok(response);
    }
    let empty = body.is_empty();
    let code = if is_head || empty { StatusCode::NO_CONTENT } else { StatusCode::OK };
    let mut response = status(code);
    if !empty {
        *response.body_mut() = full(body);
    }
    let out = response.headers_mut();
    let kind = if wants_json || with_deleted { "application/json" } else { "text/plain" };
    set(out, "content-type", &format!("{kind}; charset=utf-8"));
    info_headers(&info, out);
    backend_headers(&info, out);
    Ok(response)
}
