//! Listings in Swift's three formats, and the parameters that ask for them.

use apus_cluster::listing::{ContainerEntry, ListQuery, ObjectEntry, ObjectRow, split_swift_bytes};
use apus_cluster::{AccountName, ContainerPath, Policies, PolicyIndex};
use apus_store::operation::Page;
use apus_store::{Error, Kind, Subject};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::error::{Reply, plain_error};
use super::request::SwiftRequest;
use super::symlink;
use super::xml::{attribute, text};

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

/// The format that a request asks for: `format=` first, then `Accept`.
///
/// # Errors
/// 406 when nothing that we write is acceptable, 400 when `Accept` makes no sense.
pub(super) fn format(request: &SwiftRequest) -> Result<Format, Box<Reply>> {
    match request.param("format").map(str::to_ascii_lowercase).as_deref() {
        None | Some("") => {}
        Some("json") => return Ok(Format::Json),
        Some("xml") => return Ok(Format::Xml),
        Some(_) => return Ok(Format::Plain),
    }
    match acceptable(request.header("accept").unwrap_or_default()) {
        Ok(Some(format)) => Ok(format),
        Ok(None) => Err(Box::new(plain_error(StatusCode::NOT_ACCEPTABLE, ""))),
        Err(()) => Err(Box::new(plain_error(StatusCode::BAD_REQUEST, "Invalid Accept header"))),
    }
}

/// The format that an `Accept` header likes best: any when it is empty.
///
/// Source: `Accept` in `swift/common/swob.py`; of two types of the same quality an exact one comes
/// before a pattern.
fn acceptable(accept: &str) -> Result<Option<Format>, ()> {
    let mut best: Option<(f32, bool, Format)> = None;
    if accept.trim().is_empty() {
        return Ok(Some(Format::Plain));
    }
    for item in accept.split(',') {
        let mut words = item.split(';').map(str::trim);
        let kind = words.next().unwrap_or_default();
        let is_token = |word: &str| {
            !word.is_empty()
                && !word.bytes().any(|byte| {
                    byte <= b' ' || byte == 0x7f || b"()<>@,;:\"/[]?={}".contains(&byte)
                })
        };
        let (main, sub) = kind.split_once('/').ok_or(())?;
        if !is_token(main) || !is_token(sub) {
            return Err(());
        }
        let mut quality = None;
        for word in words.filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=').ok_or(())?;
            if name.trim() == "q" {
                let value: f32 = value.trim().parse().map_err(drop)?;
                if quality.replace(value).is_some() {
                    return Err(());
                }
            }
        }
        let (format, is_exact) = match (main, sub) {
            ("*", "*" | "plain") | ("text", "*") => (Format::Plain, false),
            ("text", "plain") => (Format::Plain, true),
            ("*", "json") | ("application", "*") => (Format::Json, false),
            ("application", "json") => (Format::Json, true),
            ("*", "xml") => (Format::Xml, false),
            ("application" | "text", "xml") => (Format::Xml, true),
            _ => continue,
        };
        let quality = quality.unwrap_or(1.0);
        let is_better = best.is_none_or(|(known, exact, _)| (quality, is_exact) > (known, exact));
        if quality > 0.0 && is_better {
            best = Some((quality, is_exact, format));
        }
    }
    Ok(best.map(|(_, _, format)| format))
}

/// The parameters of a listing.
pub(super) fn query(request: &SwiftRequest, limit_max: usize) -> Result<ListQuery, Error> {
    let param = |name: &str| request.param(name).unwrap_or_default().to_owned();
    let limit = match request.param("limit") {
        None | Some("") => limit_max,
        Some(number) => number.parse().unwrap_or(limit_max),
    };
    if limit > limit_max {
        return Err(Error::new(Kind::PreconditionFailed, Subject::Request)
            .text(format!("Maximum limit is {limit_max}")));
    }
    Ok(ListQuery {
        limit,
        marker: param("marker"),
        end_marker: param("end_marker"),
        prefix: request.param("prefix").map(str::to_owned),
        delimiter: param("delimiter"),
        path: request.param("path").map(str::to_owned),
        reverse: request
            .param("reverse")
            .and_then(apus_daemon::config::value::flag)
            .unwrap_or(false),
        reserved: false,
    })
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
                attribute(container.container.as_str())
            );
            for entry in entries {
                match entry {
                    ObjectEntry::Subdir(name) => {
                        out.push_str(&format!(
                            "<subdir name=\"{}\"><name>{}</name></subdir>",
                            attribute(name),
                            text(name)
                        ));
                    }
                    ObjectEntry::Object(row) => {
                        let shown = show(row, &container.account);
                        out.push_str(&format!(
                            "<object><name>{}</name><hash>{}</hash><bytes>{}</bytes>\
                             <content_type>{}</content_type><last_modified>{}</last_modified></object>",
                            text(&row.name),
                            text(&shown.hash),
                            shown.bytes,
                            text(&shown.content_type),
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
                attribute(account)
            );
            for entry in entries {
                match entry {
                    ContainerEntry::Subdir(name) => {
                        out.push_str(&format!("<subdir name=\"{}\" />", attribute(name)));
                    }
                    ContainerEntry::Container(row) => out.push_str(&format!(
                        "<container><name>{}</name><count>{}</count><bytes>{}</bytes>\
                         <last_modified>{}</last_modified><storage_policy>{}</storage_policy></container>",
                        text(&row.name),
                        row.object_count,
                        row.bytes_used,
                        row.put_timestamp.iso(),
                        text(&policy(row.policy)),
                    )),
                }
            }
            out.push_str("</account>");
            out.into_bytes()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_acceptable_format_is_written() {
        for (accept, format) in [
            ("", Ok(Some(Format::Plain))),
            (" ", Ok(Some(Format::Plain))),
            ("*/*", Ok(Some(Format::Plain))),
            ("application/*", Ok(Some(Format::Json))),
            ("text/xml", Ok(Some(Format::Xml))),
            ("*/*,application/json", Ok(Some(Format::Json))),
            ("application/json;q=0.5, application/xml ; q=0.6", Ok(Some(Format::Xml))),
            ("text/plain;charset=utf-8", Ok(Some(Format::Plain))),
            ("application/json;q=0", Ok(None)),
            ("image/png", Ok(None)),
            ("image/png, */*;q=0.1", Ok(Some(Format::Plain))),
            ("json", Err(())),
            ("text/plain,", Err(())),
            ("text/plain;q", Err(())),
            ("text/plain;q=high", Err(())),
            ("text/plain;q=1;q=0.5", Err(())),
            ("text/pl ain", Err(())),
        ] {
            assert_eq!(acceptable(accept), format, "{accept:?}");
        }
    }
}
