//! ListObjects in both versions, and ListObjectVersions of buckets that were never versioned.

use apus_cluster::listing::{ListQuery, ObjectEntry, ObjectRow, split_swift_bytes};
use apus_store::operation::ListObjects;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::{Code, Result, S3Error};
use super::operation::Operation;
use super::request::S3Request;
use super::xml::Writer;
use crate::deps::ProxyDeps;
use crate::reply::Reply;

/// Most entries in one page.
const KEYS_MAX: usize = 1000;

/// The etag and size that S3 shows for a row.
pub(super) fn row_etag(row: &ObjectRow) -> (String, u64) {
    let mut words = row.etag.split(';').map(str::trim);
    let own = words.next().unwrap_or_default();
    let s3 = words.find_map(|word| word.strip_prefix("s3_etag="));
    let (_, joined) = split_swift_bytes(&row.content_type);
    let size = joined.and_then(|size| size.parse().ok()).unwrap_or(row.size);
    (s3.unwrap_or(own).to_owned(), size)
}

struct Page {
    entries: Vec<ObjectEntry>,
    truncated: bool,
}

struct Wish {
    prefix: String,
    delimiter: String,
    limit: usize,
    max_keys: usize,
    encode: bool,
    /// Version 1 clients do not decode the prefix that they sent themselves.
    decoded_prefix: bool,
}

impl Wish {
    fn parse(request: &S3Request) -> Result<Self> {
        let text = |name: &str| request.param(name).unwrap_or_default().to_owned();
        let max_keys = match request.param("max-keys") {
            None | Some("") => KEYS_MAX,
            Some(text) => {
                text.parse::<u32>().ok().filter(|max| i32::try_from(*max).is_ok()).ok_or_else(
                    || {
                        S3Error::new(Code::InvalidArgument)
                            .text("Provided max-keys not an integer or within integer range")
                            .argument("max-keys", text)
                    },
                )? as usize
            }
        };
        let encode = match request.param("encoding-type") {
            None => false,
            Some("url") => true,
            Some(other) => {
                return Err(S3Error::new(Code::InvalidArgument)
                    .text("Invalid Encoding Method specified in Request")
                    .argument("encoding-type", other));
            }
        };
        Ok(Self {
            prefix: text("prefix"),
            delimiter: text("delimiter"),
            limit: max_keys.min(KEYS_MAX),
            max_keys: max_keys.min(KEYS_MAX),
            encode,
            decoded_prefix: request.operation == Operation::ListObjects,
        })
    }

    fn name(&self, text: &str) -> String {
        if !self.encode {
            return text.to_owned();
        }
        let mut out = String::new();
        apus_cluster::percent::encode_into(&mut out, text.as_bytes(), b"/");
        out
    }

    /// One entry more than asked for tells whether there is more.
    async fn page(&self, deps: &ProxyDeps, request: &PageRequest, marker: &str) -> Result<Page> {
        let query = ListQuery {
            limit: if self.limit == 0 { 0 } else { self.limit + 1 },
            marker: marker.to_owned(),
            prefix: Some(self.prefix.clone()).filter(|prefix| !prefix.is_empty()),
            delimiter: self.delimiter.clone(),
            ..ListQuery::default()
        };
        let op = ListObjects { container: request.container.clone(), query };
        let mut entries = deps.store.list_objects(&request.cx, op).await?.page.entries()?;
        let truncated = entries.len() > self.limit;
        entries.truncate(self.limit);
        Ok(Page { entries, truncated })
    }

    /// The head of every listing; `markers` writes what differs, in the place that the schema of
    /// strict clients gives it.
    fn common(
        &self,
        out: &mut Writer,
        bucket: &str,
        page: &Page,
        markers: impl FnOnce(&mut Writer),
    ) {
        out.text("Name", bucket);
        let readable = !self.prefix.contains(|c: char| c.is_control() && !"\t\r\n".contains(c));
        if self.decoded_prefix && readable {
            out.text("Prefix", &self.prefix);
        } else {
            out.text("Prefix", &self.name(&self.prefix));
        }
        markers(out);
        out.number("MaxKeys", self.max_keys);
        if !self.delimiter.is_empty() {
            out.text("Delimiter", &self.name(&self.delimiter));
        }
        if self.encode {
            out.text("EncodingType", "url");
        }
        out.flag("IsTruncated", page.truncated);
    }

    fn contents(&self, out: &mut Writer, page: &Page, shown_owner: Option<&str>) {
        for entry in &page.entries {
            let ObjectEntry::Object(row) = entry else { continue };
            out.open("Contents");
            out.text("Key", &self.name(&row.name));
            describe(out, row, shown_owner);
            out.close("Contents");
        }
        self.prefixes(out, page);
    }

    fn prefixes(&self, out: &mut Writer, page: &Page) {
        for entry in &page.entries {
            let ObjectEntry::Subdir(name) = entry else { continue };
            out.open("CommonPrefixes");
            out.text("Prefix", &self.name(name));
            out.close("CommonPrefixes");
        }
    }
}

fn describe(out: &mut Writer, row: &ObjectRow, shown_owner: Option<&str>) {
    let (etag, size) = row_etag(row);
    // S3 times have whole seconds wherever a client can compare them with Last-Modified.
    let modified = apus_cluster::Timestamp::from_seconds(row.last_modified().seconds_ceil());
    out.text("LastModified", &modified.iso_millis());
    out.text("ETag", &format!("\"{etag}\""));
    out.number("Size", size);
    if let Some(name) = shown_owner {
        out.owner("Owner", name);
    }
    out.text("StorageClass", "STANDARD");
}

struct PageRequest {
    container: apus_cluster::ContainerPath,
    cx: apus_store::Context,
}

impl PageRequest {
    fn of(request: &S3Request) -> Result<Self> {
        Ok(Self { container: request.container()?, cx: request.cx.clone() })
    }
}

pub(super) async fn list_v1(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let wish = Wish::parse(&request)?;
    let marker = request.param("marker").unwrap_or_default().to_owned();
    let page_request = PageRequest::of(&request)?;
    let (bucket, owner_name) = (request.bucket.unwrap_or_default(), request.owner);
    let page = wish.page(deps, &page_request, &marker).await?;
    let mut out = Writer::new();
    out.root("ListBucketResult");
    wish.common(&mut out, &bucket, &page, |out| {
        out.text("Marker", &wish.name(&marker));
        let next = page.entries.last().filter(|_| page.truncated && !wish.delimiter.is_empty());
        if let Some(last) = next {
            out.text("NextMarker", &wish.name(last.name()));
        }
    });
    wish.contents(&mut out, &page, Some(&owner_name));
    out.close("ListBucketResult");
    Ok(out.reply())
}

pub(super) async fn list_v2(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let wish = Wish::parse(&request)?;
    let start_after = request.param("start-after").map(str::to_owned);
    let token = request.param("continuation-token").map(str::to_owned);
    let marker = match token.as_deref() {
        None | Some("") => start_after.clone().unwrap_or_default(),
        Some(token) => URL_SAFE_NO_PAD
            .decode(token)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .filter(|name| !name.is_empty())
            .ok_or_else(|| {
                S3Error::new(Code::InvalidArgument)
                    .text("The continuation token provided is incorrect")
                    .argument("continuation-token", token)
            })?,
    };
    let fetch_owner = request.param("fetch-owner") == Some("true");
    let page_request = PageRequest::of(&request)?;
    let (bucket, owner_name) = (request.bucket.unwrap_or_default(), request.owner);
    let page = wish.page(deps, &page_request, &marker).await?;
    let mut out = Writer::new();
    out.root("ListBucketResult");
    wish.common(&mut out, &bucket, &page, |out| {
        if let Some(last) = page.entries.last().filter(|_| page.truncated) {
            out.text("NextContinuationToken", &URL_SAFE_NO_PAD.encode(last.name()));
        }
        if let Some(token) = &token {
            out.text("ContinuationToken", token);
        }
        if let Some(start_after) = &start_after {
            out.text("StartAfter", &wish.name(start_after));
        }
        out.number("KeyCount", page.entries.len());
    });
    wish.contents(&mut out, &page, fetch_owner.then_some(owner_name.as_str()));
    out.close("ListBucketResult");
    Ok(out.reply())
}

/// Each key with the one version that it has, `null`.
pub(super) async fn list_versions(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let wish = Wish::parse(&request)?;
    let key_marker = request.param("key-marker").unwrap_or_default().to_owned();
    let id_marker = request.param("version-id-marker").unwrap_or_default().to_owned();
    let page_request = PageRequest::of(&request)?;
    let (bucket, owner_name) = (request.bucket.unwrap_or_default(), request.owner);
    let page = wish.page(deps, &page_request, &key_marker).await?;
    let mut out = Writer::new();
    out.root("ListVersionsResult");
    wish.common(&mut out, &bucket, &page, |out| {
        out.text("KeyMarker", &wish.name(&key_marker));
        out.text("VersionIdMarker", &id_marker);
        if let Some(last) = page.entries.last().filter(|_| page.truncated) {
            out.text("NextKeyMarker", &wish.name(last.name()));
            out.text("NextVersionIdMarker", "null");
        }
    });
    for entry in &page.entries {
        let ObjectEntry::Object(row) = entry else { continue };
        out.open("Version");
        out.text("Key", &wish.name(&row.name));
        out.text("VersionId", "null");
        out.flag("IsLatest", true);
        describe(&mut out, row, Some(&owner_name));
        out.close("Version");
    }
    wish.prefixes(&mut out, &page);
    out.close("ListVersionsResult");
    Ok(out.reply())
}
