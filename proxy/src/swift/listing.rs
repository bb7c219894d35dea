//! Listings of accounts and containers in Swift's three formats.

use apus_cluster::listing::{ContainerEntry, ListQuery, ObjectEntry, ObjectRow, split_swift_bytes};
use apus_cluster::{AccountName, ContainerPath, Policies, PolicyIndex};
use apus_daemon::config::value::flag;
use apus_daemon::http::{full, status};
use apus_store::operation::Page;
use apus_store::{Error, Kind, Result, Subject};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::format::Format;
use super::request::SwiftRequest;
use super::symlink_row::SymlinkRow;
use super::xml::XmlWriter;
use crate::reply::Reply;

/// The parameters of a listing.
///
/// # Errors
/// `PreconditionFailed` for a limit above `limit_max`.
pub(super) fn parse(request: &SwiftRequest, limit_max: usize) -> Result<ListQuery> {
    let param = |name: &str| request.param(name).unwrap_or_default().to_owned();
    Ok(ListQuery {
        limit: limit(request, limit_max)?,
        marker: param("marker"),
        end_marker: param("end_marker"),
        prefix: request.param("prefix").map(str::to_owned),
        delimiter: param("delimiter"),
        path: request.param("path").map(str::to_owned),
        reverse: request.param("reverse").and_then(flag).unwrap_or(false),
        reserved: false,
    })
}

/// The maximum number of entries that a request asks for.
///
/// # Errors
/// `PreconditionFailed` for a limit above `limit_max`.
pub(super) fn limit(request: &SwiftRequest, limit_max: usize) -> Result<usize> {
    let limit = match request.param("limit") {
        None | Some("") => limit_max,
        Some(number) => number.parse().unwrap_or(limit_max),
    };
    match limit > limit_max {
        true => Err(Error::new(Kind::PreconditionFailed, Subject::Request)
            .text(format!("Maximum limit is {limit_max}"))),
        false => Ok(limit),
    }
}

/// A listing as a response, without headers; 204 for an empty text.
pub(super) fn reply(format: Format, listing: Bytes) -> Reply {
    let empty = listing.is_empty() && format == Format::Plain;
    let mut response = status(if empty { StatusCode::NO_CONTENT } else { StatusCode::OK });
    if !empty {
        *response.body_mut() = full(listing);
    }
    response
}

/// An object in a listing, without what middleware keeps in the row's etag and content type.
pub(super) struct ListedObject {
    bytes: u64,
    hash: String,
    content_type: String,
    /// Keys of JSON listings alone.
    extra: Vec<(&'static str, Value)>,
}

impl ListedObject {
    /// The object of a row in a container of `account`.
    pub(super) fn of(row: &ObjectRow, account: &AccountName) -> Self {
        let mut etag_words = row.etag.split(';').map(str::trim);
        let mut hash = etag_words.next().unwrap_or_default().to_owned();
        let mut bytes = row.size;
        let mut extra = Vec::new();
        let mut link = SymlinkRow::default();
        for word in etag_words {
            if let Some(etag) = word.strip_prefix("slo_etag=") {
                extra.push(("slo_etag", json!(format!("\"{etag}\""))));
            } else if let Some(etag) = word.strip_prefix("s3_etag=") {
                extra.push(("s3_etag", json!(format!("\"{etag}\""))));
            } else {
                link.read(word);
            }
        }
        if let Some((etag, size)) = link.version() {
            (hash, bytes) = (etag, size);
        }
        extra.extend(link.json(account));
        let (content_type, joined) = split_swift_bytes(&row.content_type);
        if let Some(size) = joined.and_then(|size| size.parse().ok()) {
            bytes = size;
        }
        Self { bytes, hash, content_type, extra }
    }

    /// Its size in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its content type.
    pub(super) fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The keys of a version in a JSON listing.
    pub(super) fn version_json(row: &ObjectRow, account: &AccountName) -> Value {
        let listed = Self::of(row, account);
        let extra = listed.extra.into_iter().filter(|(name, _)| *name != "version_symlink");
        Self { extra: extra.collect(), ..listed }.json(row)
    }

    fn json(self, row: &ObjectRow) -> Value {
        let mut object = Map::new();
        object.insert("name".to_owned(), json!(row.name));
        object.insert("hash".to_owned(), json!(self.hash));
        object.insert("bytes".to_owned(), json!(self.bytes));
        object.insert("content_type".to_owned(), json!(self.content_type));
        object.insert("last_modified".to_owned(), json!(row.last_modified().iso()));
        for (name, value) in self.extra {
            object.insert(name.to_owned(), value);
        }
        Value::Object(object)
    }

    fn xml(&self, row: &ObjectRow, out: &mut XmlWriter) {
        out.open("object");
        out.text("name", &row.name);
        out.text("hash", &self.hash);
        out.number("bytes", self.bytes);
        out.text("content_type", &self.content_type);
        out.text("last_modified", &row.last_modified().iso());
        out.close("object");
    }
}

/// Marks of what middleware keeps in rows and clients must not see as it is.
const HIDDEN: [&[u8]; 4] = [b"swift_bytes=", b"_etag=", b"symlink_target", b"swift_meta="];

/// Whether rows can go to a client as a container server wrote them.
fn is_plain(json: &[u8]) -> bool {
    !json.is_empty() && HIDDEN.iter().all(|mark| memchr::memmem::find(json, mark).is_none())
}

/// Renders a page of a container.
///
/// # Errors
/// `Unavailable` when a container server sent something other than a page.
pub(super) fn objects(format: Format, container: &ContainerPath, page: Page) -> Result<Bytes> {
    let entries = match page {
        Page::Json(json) if format == Format::Json && is_plain(&json) => return Ok(json),
        page => page.entries()?,
    };
    Ok(match format {
        Format::Plain => lines(entries.iter().map(ObjectEntry::name)),
        Format::Json => objects_json(&container.account, &entries),
        Format::Xml => objects_xml(container, &entries),
    }
    .into())
}

/// Names, each with a line break.
fn lines<'a>(names: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut out = String::new();
    for name in names {
        out.push_str(name);
        out.push('\n');
    }
    out.into_bytes()
}

fn objects_json(account: &AccountName, entries: &[ObjectEntry]) -> Vec<u8> {
    let rows = entries.iter().map(|entry| match entry {
        ObjectEntry::Subdir(name) => json!({ "subdir": name }),
        ObjectEntry::Object(row) => ListedObject::of(row, account).json(row),
    });
    Value::Array(rows.collect()).to_string().into_bytes()
}

fn objects_xml(container: &ContainerPath, entries: &[ObjectEntry]) -> Vec<u8> {
    let mut out = XmlWriter::document();
    out.open_named("container", container.container.as_str());
    for entry in entries {
        match entry {
            ObjectEntry::Subdir(name) => {
                out.open_named("subdir", name);
                out.text("name", name);
                out.close("subdir");
            }
            ObjectEntry::Object(row) => {
                ListedObject::of(row, &container.account).xml(row, &mut out);
            }
        }
    }
    out.close("container");
    out.finish()
}

/// Renders a page of an account.
pub(super) fn containers(
    format: Format,
    account: &AccountName,
    entries: &[ContainerEntry],
    policies: &Policies,
) -> Bytes {
    match format {
        Format::Plain => lines(entries.iter().map(container_name)),
        Format::Json => containers_json(entries, policies),
        Format::Xml => containers_xml(account, entries, policies),
    }
    .into()
}

fn container_name(entry: &ContainerEntry) -> &str {
    match entry {
        ContainerEntry::Subdir(name) => name,
        ContainerEntry::Container(row) => &row.name,
    }
}

/// The name of a policy; empty when there is none of this index.
fn policy_name(policies: &Policies, index: u32) -> &str {
    policies.get(PolicyIndex(index)).map_or("", |policy| &policy.name)
}

fn containers_json(entries: &[ContainerEntry], policies: &Policies) -> Vec<u8> {
    let rows = entries.iter().map(|entry| match entry {
        ContainerEntry::Subdir(name) => json!({ "subdir": name }),
        ContainerEntry::Container(row) => json!({
            "name": row.name,
            "count": row.object_count,
            "bytes": row.bytes_used,
            "last_modified": row.put_timestamp.iso(),
            "storage_policy": policy_name(policies, row.policy),
        }),
    });
    Value::Array(rows.collect()).to_string().into_bytes()
}

fn containers_xml(
    account: &AccountName,
    entries: &[ContainerEntry],
    policies: &Policies,
) -> Vec<u8> {
    let mut out = XmlWriter::document();
    out.open_named("account", account.as_str());
    for entry in entries {
        match entry {
            ContainerEntry::Subdir(name) => out.empty_named("subdir", name),
            ContainerEntry::Container(row) => {
                out.open("container");
                out.text("name", &row.name);
                out.number("count", row.object_count);
                out.number("bytes", row.bytes_used);
                out.text("last_modified", &row.put_timestamp.iso());
                out.text("storage_policy", policy_name(policies, row.policy));
                out.close("container");
            }
        }
    }
    out.close("account");
    out.finish()
}
