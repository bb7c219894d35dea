//! Listings in Swift's three formats, and the parameters that ask for them.

use apus_cluster::listing::{ContainerEntry, ListQuery, ObjectEntry, ObjectRow, split_swift_bytes};
use apus_cluster::{AccountName, ContainerPath, Policies, PolicyIndex};
use apus_store::operation::Page;
use apus_store::{Error, Kind, Subject};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::request::SwiftRequest;
use super::symlink;

/// How a listing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Plain,
    Json,
    Xml,
}

impl Format {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
            Self::Xml => "application/xml; charset=utf-8",
        }
    }
}

/// The format that a request asks for: `format=` first, then `Accept`. `None` when nothing that
/// we write is acceptable (406).
pub(super) fn format(request: &SwiftRequest) -> Option<Format> {
    match request.param("format").map(str::to_ascii_lowercase).as_deref() {
        Some("json") => return Some(Format::Json),
        Some("xml") => return Some(Format::Xml),
        Some(_) => return Some(Format::Plain),
        None => {}
    }
    let Some(accept) = request.header("accept") else { return Some(Format::Plain) };
    let mut best: Option<(f32, Format)> = None;
    for item in accept.split(',') {
        let mut words = item.split(';').map(str::trim);
        let kind = words.next().unwrap_or_default();
        let quality = words
            .find_map(|word| word.strip_prefix("q="))
            .map_or(Some(1.0), |text| text.parse::<f32>().ok())?;
        let format = match kind {
            "*/*" | "text/*" | "text/plain" => Format::Plain,
            "application/json" | "application/*" => Format::Json,
            "application/xml" | "text/xml" => Format::Xml,
            _ => continue,
        };
        if quality > 0.0 && best.is_none_or(|(known, _)| quality > known) {
            best = Some((quality, format));
        }
    }
    best.map(|(_, format)| format)
}

/// The parameters of a listing.
pub(super) fn query(request: &SwiftRequest, limit_max: usize) -> Result<ListQuery, Error> {
    let text = |name: &str| request.param(name).unwrap_or_default().to_owned();
    let limit = match request.param("limit") {
        None | Some("") => limit_max,
        Some(text) => text.parse().unwrap_or(limit_max),
    };
    if limit > limit_max {
        return Err(Error::new(Kind::PreconditionFailed, Subject::Request)
            .text(format!("Maximum limit is {limit_max}")));
    }
    Ok(ListQuery {
        limit,
        marker: text("marker"),
        end_marker: text("end_marker"),
        prefix: request.param("prefix").map(str::to_owned),
        delimiter: text("delimiter"),
        path: request.param("path").map(str::to_owned),
        reverse: request
            .param("reverse")
            .and_then(apus_daemon::config::value::flag)
            .unwrap_or(false),
        reserved: false,
    })
}

/// Escapes text for XML, control characters as references.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

/// An object row as clients see it: what middleware hid in the etag and content type taken out.
struct Shown {
    bytes: u64,
    hash: String,
    content_type: String,
    /// For JSON alone.
    extra: Vec<(&'static str, Value)>,
}

fn show(row: &ObjectRow, account: &AccountName) -> Shown {
    let mut etag_words = row.etag.split(';').map(str::trim);
    let mut hash = etag_words.next().unwrap_or_default().to_owned();
    let mut bytes = row.size;
    let mut extra = Vec::new();
    let mut link = symlink::Row::default();
    for word in etag_words {
        if let Some(etag) = word.strip_prefix("slo_etag=") {
            extra.push(("slo_etag", json!(format!("\"{etag}\""))));
        } else if let Some(etag) = word.strip_prefix("s3_etag=") {
            extra.push(("s3_etag", json!(format!("\"{etag}\""))));
        } else {
            link.take(word);
        }
    }
    if let Some((etag, size)) = link.version() {
        (hash, bytes) = (etag, size);
    } else {
        extra.extend(link.shown(account));
    }
    let (content_type, joined) = split_swift_bytes(&row.content_type);
    if let Some(size) = joined.and_then(|size| size.parse().ok()) {
        bytes = size;
    }
    Shown { bytes, hash, content_type, extra }
}

/// What middleware hides in rows and clients must not see as it is.
const HIDDEN: [&[u8]; 4] = [b"swift_bytes=", b"_etag=", b"symlink_target", b"swift_meta="];

/// Whether rows can go to a client as a container server wrote them.
fn is_plain(json: &[u8]) -> bool {
    !json.is_empty() && HIDDEN.iter().all(|mark| memchr::memmem::find(json, mark).is_none())
}

/// Writes a container's page.
///
/// # Errors
/// `Unavailable` when a container server wrote something else than a page.
pub(super) fn objects(
    format: Format,
    container: &ContainerPath,
    page: Page,
) -> Result<Bytes, Error> {
    let page = match page {
        Page::Json(json) if format == Format::Json && is_plain(&json) => return Ok(json),
        page => page.entries()?,
    };
    Ok(rendered(format, container, &page).into())
}

fn rendered(format: Format, container: &ContainerPath, entries: &[ObjectEntry]) -> Vec<u8> {
    match format {
        Format::Plain => {
            entries.iter().flat_map(|entry| format!("{}\n", entry.name()).into_bytes()).collect()
        }
        Format::Json => {
            let rows: Vec<Value> = entries
                .iter()
                .map(|entry| match entry {
                    ObjectEntry::Subdir(name) => json!({ "subdir": name }),
                    ObjectEntry::Object(row) => {
                        let shown = show(row, &container.account);
                        let mut object = Map::new();
                        object.insert("name".to_owned(), json!(row.name));
                        object.insert("hash".to_owned(), json!(shown.hash));
                        object.insert("bytes".to_owned(), json!(shown.bytes));
                        object.insert("content_type".to_owned(), json!(shown.content_type));
                        let modified = row.last_modified().iso();
                        object.insert("last_modified".to_owned(), json!(modified));
                        for (name, value) in shown.extra {
                            object.insert(name.to_owned(), value);
                        }
                        Value::Object(object)
                    }
                })
                .collect();
            Value::Array(rows).to_string().into_bytes()
        }
        Format::Xml => {
            let mut out = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<container name=\"{}\">",
                escape(container.container.as_str())
            );
            for entry in entries {
                match entry {
                    ObjectEntry::Subdir(name) => {
                        let name = escape(name);
                        out.push_str(&format!(
                            "<subdir name=\"{name}\"><name>{name}</name></subdir>"
                        ));
                    }
                    ObjectEntry::Object(row) => {
                        let shown = show(row, &container.account);
                        out.push_str(&format!(
                            "<object><name>{}</name><hash>{}</hash><bytes>{}</bytes>\
                             <content_type>{}</content_type><last_modified>{}</last_modified></object>",
                            escape(&row.name),
                            escape(&shown.hash),
                            shown.bytes,
                            escape(&shown.content_type),
                            row.last_modified().iso()
                        ));
                    }
                }
            }
            out.push_str("</container>");
            out.into_bytes()
        }
    }
}

/// Writes an account's page.
pub(super) fn containers(
    format: Format,
    account: &str,
    entries: &[ContainerEntry],
    policies: &Policies,
) -> Vec<u8> {
    let policy = |index: u32| {
        policies.get(PolicyIndex(index)).map_or_else(String::new, |policy| policy.name.clone())
    };
    match format {
        Format::Plain => entries
            .iter()
            .flat_map(|entry| match entry {
                ContainerEntry::Subdir(name) => format!("{name}\n").into_bytes(),
                ContainerEntry::Container(row) => format!("{}\n", row.name).into_bytes(),
            })
            .collect(),
        Format::Json => {
            let rows: Vec<Value> = entries
                .iter()
                .map(|entry| match entry {
                    ContainerEntry::Subdir(name) => json!({ "subdir": name }),
                    ContainerEntry::Container(row) => json!({
                        "name": row.name,
                        "count": row.object_count,
                        "bytes": row.bytes_used,
                        "last_modified": row.put_timestamp.iso(),
                        "storage_policy": policy(row.policy),
                    }),
                })
                .collect();
            Value::Array(rows).to_string().into_bytes()
        }
        Format::Xml => {
            let mut out = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<account name=\"{}\">",
                escape(account)
            );
            for entry in entries {
                match entry {
                    ContainerEntry::Subdir(name) => {
                        out.push_str(&format!("<subdir name=\"{}\" />", escape(name)));
                    }
                    ContainerEntry::Container(row) => out.push_str(&format!(
                        "<container><name>{}</name><count>{}</count><bytes>{}</bytes>\
                         <last_modified>{}</last_modified><storage_policy>{}</storage_policy></container>",
                        escape(&row.name),
                        row.object_count,
                        row.bytes_used,
                        row.put_timestamp.iso(),
                        escape(&policy(row.policy)),
                    )),
                }
            }
            out.push_str("</account>");
            out.into_bytes()
        }
    }
}
