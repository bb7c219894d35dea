//! `GET` and `HEAD` of a container.

use std::borrow::Cow;
use std::fmt::Write;

use apus_broker::response::{Refusal, refuse};
use apus_broker::{digest, list_query};
use apus_cluster::listing::{ObjectEntry, ObjectRow, split_swift_bytes};
use apus_cluster::metadata;
use apus_daemon::Body;
use apus_daemon::http::{format_date, full, header, set, status};
use apus_wire::headers;
use http::{HeaderMap, Response, StatusCode};

use crate::backend::{self, ContainerInfo};
use crate::listing;
use crate::schema::SCHEMA;
use crate::server::{ContainerTarget, Server};

/// Appends a JSON string, in ASCII as Python's `json.dumps` writes it: of pages that are the same
/// byte for byte, whoever wrote them, a strong listing needs no second look.
fn quote(out: &mut String, text: &str) {
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
    out.push('"');
    if text.bytes().all(plain) {
        out.push_str(text);
    } else {
        for character in text.chars() {
            match character {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                ' '..='~' => out.push(character),
                other => {
                    for unit in other.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
            }
        }
    }
    out.push('"');
}

fn field(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    quote(out, value);
}

/// Content type and size as a listing tells them: of a joined object the size of the whole, which
/// its row hides in the content type. Other servers (`full`) get the row as it is.
fn shown(content_type: &str, size: u64, full: bool) -> (Cow<'_, str>, u64) {
    if full || !content_type.contains("swift_bytes=") {
        return (Cow::Borrowed(content_type), size);
    }
    let (content_type, joined) = split_swift_bytes(content_type);
    (Cow::Owned(content_type), joined.and_then(|text| text.parse().ok()).unwrap_or(size))
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
                let (content_type, size) = shown(&row.content_type, row.size, full);
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

fn info_headers(info: &ContainerInfo, out: &mut HeaderMap) {
    for (name, value) in metadata_of(info) {
        set(out, &name, &value);
    }
    set(out, "x-container-object-count", &info.object_count.to_string());
    set(out, "x-container-bytes-used", &info.bytes_used.to_string());
    set(out, "x-timestamp", &info.created_at.normal());
    set(out, "x-put-timestamp", &info.put_timestamp.normal());
    set(out, "last-modified", &format_date(info.put_timestamp.seconds_ceil()));
}

fn metadata_of(info: &ContainerInfo) -> metadata::Metadata {
    apus_broker::metadata::in_force(info.metadata.clone())
}

fn backend_headers(info: &ContainerInfo, out: &mut HeaderMap) {
    set(out, headers::BACKEND_TIMESTAMP, &info.created_at.to_string());
    set(out, "x-backend-put-timestamp", &info.put_timestamp.to_string());
    set(out, "x-backend-delete-timestamp", &info.delete_timestamp.to_string());
    set(out, "x-backend-status-changed-at", &info.status_changed_at.to_string());
    set(out, headers::POLICY_INDEX, &info.policy.to_string());
    set(out, "x-backend-sharding-state", "unsharded");
}

pub(crate) async fn get(
    server: &Server,
    target: &ContainerTarget,
    head: &HeaderMap,
    query: &str,
    is_head: bool,
) -> Result<Response<Body>, Refusal> {
    let mut list =
        list_query(query, server.databases.deps.constraints.container_listing_limit, |_, _| {})
            .map_err(|error| refuse(StatusCode::PRECONDITION_FAILED, &error.to_string()))?;
    list.reserved = header(head, headers::ALLOW_RESERVED_NAMES)
        .and_then(apus_daemon::config::value::flag)
        .unwrap_or(false);
    let wants_json = query.split('&').any(|pair| pair == "format=json");
    let with_deleted = header(head, headers::LIST_DELETED).is_some();
    // No database here has shards, which is an answer, and not the objects.
    let asks_shards = header(head, headers::RECORD_TYPE)
        .is_some_and(|record_type| record_type.eq_ignore_ascii_case("shard"));
    let missing = || Box::new(status(StatusCode::NOT_FOUND));
    let database = server.databases.open(&target.file).await?.ok_or_else(missing)?;
    let (info, body) = database
        .read(move |connection| {
            digest::check_info(connection, &SCHEMA)?;
            let info = backend::info(connection)?;
            if is_head || info.is_deleted() {
                return Ok((info, Vec::new()));
            }
            let body = if asks_shards {
                b"[]".to_vec()
            } else if with_deleted {
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
        .await?;
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
    let kind =
        if wants_json || with_deleted || asks_shards { "application/json" } else { "text/plain" };
    set(out, "content-type", &format!("{kind}; charset=utf-8"));
    info_headers(&info, out);
    backend_headers(&info, out);
    if asks_shards {
        set(out, headers::RECORD_TYPE, "shard");
        let format = header(head, headers::SHARD_FORMAT).unwrap_or_default();
        let namespace = format.eq_ignore_ascii_case("namespace");
        set(out, headers::SHARD_FORMAT, if namespace { "namespace" } else { "full" });
    } else if !is_head {
        set(out, headers::RECORD_TYPE, "object");
        set(out, headers::RECORD_POLICY, &info.policy.to_string());
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joined_object_is_listed_with_the_size_of_the_whole() {
        assert_eq!(shown("a/b", 400, false), ("a/b".into(), 400));
        let joined = "a/b;c=d;swift_bytes=7000";
        assert_eq!(shown(joined, 400, false), ("a/b;c=d".into(), 7000));
        assert_eq!(shown(joined, 400, true), (joined.into(), 400));
    }

    #[test]
    fn strings_are_written_as_python_writes_them() {
        let mut out = String::new();
        quote(&mut out, "a\"b\\c\n\t\u{1}\u{7f}ü☃😀");
        // json.dumps of the same text.
        assert_eq!(out, r#""a\"b\\c\n\t\u0001\u007f\u00fc\u2603\ud83d\ude00""#);
    }
}
