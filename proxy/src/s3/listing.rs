//! ListObjects in both versions.

use apus_cluster::listing::{ListQuery, ObjectEntry, ObjectRow, split_swift_bytes};
use apus_cluster::{Timestamp, percent};
use apus_store::operation::ListObjects;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::acl::BucketOwner;
use super::error::{Code, Result, S3Error};
use super::operation::Operation;
use super::request::S3Request;
use super::xml::Writer;
use crate::deps::ProxyDeps;
use crate::reply::Reply;

/// Most entries of one page.
const KEYS_MAX: usize = 1000;

/// The parameters that all listings have.
#[derive(Debug)]
struct ListingParams {
    bucket: String,
    /// Name of the owner.
    owner: String,
    prefix: String,
    delimiter: String,
    /// Most entries of the page.
    limit: usize,
    /// Whether names are percent-encoded (`encoding-type=url`).
    encode: bool,
    /// Whether the prefix is shown as it was sent: clients of version 1 do not decode it.
    plain_prefix: bool,
    marker: Marker,
}

/// The parameters that say where a page begins.
#[derive(Debug)]
enum Marker {
    /// Version 1: `marker`.
    V1(String),
    /// Version 2: `continuation-token`, or else `start-after`.
    V2 { token: Option<String>, start_after: Option<String>, after: String, fetch_owner: bool },
}

impl Marker {
    /// The name after which the page begins.
    fn after(&self) -> &str {
        match self {
            Self::V1(marker) => marker,
            Self::V2 { after, .. } => after,
        }
    }
}

/// A page of a listing.
struct ListingPage {
    entries: Vec<ObjectEntry>,
    truncated: bool,
}

impl ListingPage {
    /// The last entry, if the next page begins after it.
    fn last(&self) -> Option<&ObjectEntry> {
        self.entries.last().filter(|_| self.truncated)
    }
}

pub(super) async fn list(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let mut params = ListingParams::parse(&request)?;
    let container = request.container()?;
    let op = ListObjects { container: container.clone(), query: params.query() };
    let entries = deps.store.list_objects(&request.cx, op).await?.page.entries()?;
    params.owner = BucketOwner { cx: &request.cx, container: &container }.id(deps).await?;
    Ok(params.render(&params.page(entries)).reply())
}

/// `max-keys`, at most 1,000.
pub(super) fn max_keys(request: &S3Request) -> Result<usize> {
    let Some(text) = request.param("max-keys").filter(|text| !text.is_empty()) else {
        return Ok(KEYS_MAX);
    };
    match text.parse::<u32>().ok().filter(|max| i32::try_from(*max).is_ok()) {
        Some(max) => Ok(KEYS_MAX.min(max as usize)),
        None => Err(S3Error::new(Code::InvalidArgument)
            .text("Provided max-keys not an integer or within integer range")
            .argument("max-keys", text)),
    }
}

/// `encoding-type`, which is `url` or missing.
pub(super) fn encodes_names(request: &S3Request) -> Result<bool> {
    match request.param("encoding-type") {
        None => Ok(false),
        Some("url") => Ok(true),
        Some(other) => Err(S3Error::new(Code::InvalidArgument)
            .text("Invalid Encoding Method specified in Request")
            .argument("encoding-type", other)),
    }
}

/// A name in a listing, percent-encoded on demand.
pub(super) fn shown_name(name: &str, encode: bool) -> String {
    match encode {
        true => percent::encode_path(name),
        false => name.to_owned(),
    }
}

/// The name that a continuation token of version 2 holds.
fn decode_token(token: &str) -> Result<String> {
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|name| !name.is_empty())
        .ok_or_else(|| {
            S3Error::new(Code::InvalidArgument)
                .text("The continuation token provided is incorrect")
                .argument("continuation-token", token)
        })
}

fn marker(request: &S3Request) -> Result<Marker> {
    let text = |name: &str| request.param(name).unwrap_or_default().to_owned();
    Ok(match request.operation {
        Operation::ListObjectsV2 => {
            let start_after = request.param("start-after").map(str::to_owned);
            let token = request.param("continuation-token").map(str::to_owned);
            let after = match token.as_deref() {
                None | Some("") => start_after.clone().unwrap_or_default(),
                Some(token) => decode_token(token)?,
            };
            let fetch_owner = request.param("fetch-owner") == Some("true");
            Marker::V2 { token, start_after, after, fetch_owner }
        }
        _ => Marker::V1(text("marker")),
    })
}

/// Parses the parameters of a listing, and does nothing else: for fuzzing.
pub(super) fn fuzz_params(request: &S3Request) {
    if let Ok(params) = ListingParams::parse(request) {
        drop((params.query(), params.render(&params.page(Vec::new()))));
    }
}

impl ListingParams {
    fn parse(request: &S3Request) -> Result<Self> {
        let text = |name: &str| request.param(name).unwrap_or_default().to_owned();
        let limit = max_keys(request)?;
        let encode = encodes_names(request)?;
        Ok(Self {
            bucket: request.bucket().to_owned(),
            owner: request.owner.clone(),
            prefix: text("prefix"),
            delimiter: text("delimiter"),
            limit,
            encode,
            plain_prefix: request.operation == Operation::ListObjects,
            marker: marker(request)?,
        })
    }

    /// The query for one entry more than the page holds, which shows whether there are more.
    fn query(&self) -> ListQuery {
        ListQuery {
            limit: if self.limit == 0 { 0 } else { self.limit + 1 },
            marker: self.marker.after().to_owned(),
            prefix: Some(self.prefix.clone()).filter(|prefix| !prefix.is_empty()),
            delimiter: self.delimiter.clone(),
            ..ListQuery::default()
        }
    }

    /// The page of the entries that the query found.
    fn page(&self, mut entries: Vec<ObjectEntry>) -> ListingPage {
        let truncated = entries.len() > self.limit;
        entries.truncate(self.limit);
        ListingPage { entries, truncated }
    }

    fn name(&self, name: &str) -> String {
        shown_name(name, self.encode)
    }

    /// The document. The elements are in the order of S3's schema, which strict clients check.
    fn render(&self, page: &ListingPage) -> Writer {
        let mut out = Writer::new();
        out.root("ListBucketResult");
        out.text("Name", &self.bucket);
        let readable = !self.prefix.contains(|c: char| c.is_control() && !"\t\r\n".contains(c));
        match self.plain_prefix && readable {
            true => out.text("Prefix", &self.prefix),
            false => out.text("Prefix", &self.name(&self.prefix)),
        }
        self.markers(&mut out, page);
        out.number("MaxKeys", self.limit);
        if !self.delimiter.is_empty() {
            out.text("Delimiter", &self.name(&self.delimiter));
        }
        if self.encode {
            out.text("EncodingType", "url");
        }
        out.flag("IsTruncated", page.truncated);
        self.entries(&mut out, page);
        out.close("ListBucketResult");
        out
    }

    /// The elements that show where this page and the next one begin.
    fn markers(&self, out: &mut Writer, page: &ListingPage) {
        match &self.marker {
            Marker::V1(marker) => {
                out.text("Marker", &self.name(marker));
                if let Some(last) = page.last().filter(|_| !self.delimiter.is_empty()) {
                    out.text("NextMarker", &self.name(last.name()));
                }
            }
            Marker::V2 { token, start_after, .. } => {
                if let Some(last) = page.last() {
                    out.text("NextContinuationToken", &URL_SAFE_NO_PAD.encode(last.name()));
                }
                if let Some(token) = token {
                    out.text("ContinuationToken", token);
                }
                if let Some(start_after) = start_after {
                    out.text("StartAfter", &self.name(start_after));
                }
                out.number("KeyCount", page.entries.len());
            }
        }
    }

    /// Keys first, then common prefixes.
    fn entries(&self, out: &mut Writer, page: &ListingPage) {
        let owner = match self.marker {
            Marker::V1(_) => Some(&self.owner),
            Marker::V2 { fetch_owner, .. } => Some(&self.owner).filter(|_| fetch_owner),
        };
        for entry in &page.entries {
            let ObjectEntry::Object(row) = entry else { continue };
            out.open("Contents");
            out.text("Key", &self.name(&row.name));
            object(out, row, owner.map(String::as_str));
            out.close("Contents");
        }
        for entry in &page.entries {
            let ObjectEntry::Subdir(name) = entry else { continue };
            out.open("CommonPrefixes");
            out.text("Prefix", &self.name(name));
            out.close("CommonPrefixes");
        }
    }
}

/// A listing of these entries, for snapshots.
#[cfg(test)]
pub(super) fn snapshot(request: &S3Request, entries: Vec<ObjectEntry>) -> Reply {
    let params = ListingParams::parse(request).unwrap();
    params.render(&params.page(entries)).reply()
}

/// The elements of an object.
pub(super) fn object(out: &mut Writer, row: &ObjectRow, owner: Option<&str>) {
    let (etag, size) = row_etag(row);
    // Clients compare this time with Last-Modified, which has whole seconds.
    let modified = Timestamp::from_seconds(row.last_modified().seconds_ceil());
    out.text("LastModified", &modified.iso_millis());
    out.text("ETag", &format!("\"{etag}\""));
    out.number("Size", size);
    if let Some(name) = owner {
        out.owner("Owner", name);
    }
    out.text("StorageClass", "STANDARD");
}

/// The version to which the row of a link leads, when versioning wrote the link.
#[derive(Debug, Default)]
struct CurrentVersion<'a> {
    path: Option<&'a str>,
    etag: Option<&'a str>,
    size: Option<u64>,
}

impl<'a> CurrentVersion<'a> {
    /// Reads one parameter of the row's etag.
    fn read(&mut self, word: &'a str) {
        match word.split_once('=') {
            Some(("symlink_target", path)) => self.path = Some(path),
            Some(("symlink_target_etag", etag)) => self.etag = Some(etag),
            Some(("symlink_target_bytes", size)) => self.size = size.parse().ok(),
            _ => {}
        }
    }

    fn etag_and_size(&self) -> Option<(&'a str, u64)> {
        self.path.filter(|path| path.starts_with("%00versions%00"))?;
        self.etag.zip(self.size)
    }
}

/// The etag and size that S3 clients see in a row.
fn row_etag(row: &ObjectRow) -> (String, u64) {
    let mut words = row.etag.split(';').map(str::trim);
    let own = words.next().unwrap_or_default();
    let (mut s3, mut version) = (None, CurrentVersion::default());
    for word in words {
        s3 = s3.or_else(|| word.strip_prefix("s3_etag="));
        version.read(word);
    }
    let (etag, bytes) = version.etag_and_size().unzip();
    let (_, joined) = split_swift_bytes(&row.content_type);
    let joined = joined.and_then(|size| size.parse().ok());
    (s3.or(etag).unwrap_or(own).to_owned(), bytes.or(joined).unwrap_or(row.size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(operation: Operation, query: &str) -> Result<ListingParams> {
        let mut request = S3Request::example("GET", &format!("/bucket?{query}"), &[]);
        request.operation = operation;
        ListingParams::parse(&request)
    }

    #[test]
    fn a_page_asks_for_one_entry_more() {
        for (query, limit) in
            [("", 1001), ("max-keys=5", 6), ("max-keys=0", 0), ("max-keys=5000", 1001)]
        {
            let params = params(Operation::ListObjects, query).unwrap();
            assert_eq!(params.query().limit, limit, "{query}");
        }
    }

    #[test]
    fn bad_parameters_are_refused() {
        for query in [
            "max-keys=x",
            "max-keys=-1",
            "max-keys=2147483648",
            "encoding-type=base64",
            "continuation-token=%2a",
        ] {
            let error = params(Operation::ListObjectsV2, query).unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument, "{query}");
        }
    }

    #[test]
    fn a_token_comes_before_start_after() {
        let token = URL_SAFE_NO_PAD.encode("k");
        let query = format!("start-after=a&continuation-token={token}");
        let with_token = params(Operation::ListObjectsV2, &query).unwrap();
        assert_eq!(with_token.marker.after(), "k");
        let without = params(Operation::ListObjectsV2, "start-after=a&continuation-token=");
        assert_eq!(without.unwrap().marker.after(), "a");
    }
}
