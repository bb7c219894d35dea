//! ListObjectVersions.

use apus_store::operation::{ListVersions, ListedVersion, VersionEntry, VersionList};

use super::acl::BucketOwner;
use super::error::{Code, Result, S3Error};
use super::listing::{encodes_names, max_keys, object, shown_name};
use super::request::{S3Request, parse_version};
use super::xml::Writer;
use crate::deps::ProxyDeps;
use crate::reply::Reply;

/// The parameters of a request, beyond those of the operation.
struct VersionParams {
    op: ListVersions,
    bucket: String,
    owner: String,
    /// Whether names are percent-encoded (`encoding-type=url`).
    encode: bool,
}

pub(super) async fn list(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let mut params = VersionParams::parse(&request)?;
    let page = deps.store.list_versions(&request.cx, params.op.clone()).await?;
    let container = &params.op.container;
    params.owner = BucketOwner { cx: &request.cx, container }.id(deps).await?;
    Ok(params.render(&page))
}

/// Parses the parameters of a listing, and does nothing else: for fuzzing.
pub(super) fn fuzz_params(request: &S3Request) {
    if let Ok(params) = VersionParams::parse(request) {
        drop(params.render(&VersionList::default()));
    }
}

/// A listing of these entries, for snapshots.
#[cfg(test)]
pub(super) fn snapshot(request: &S3Request, page: &VersionList) -> Reply {
    VersionParams::parse(request).unwrap().render(page)
}

impl VersionParams {
    fn parse(request: &S3Request) -> Result<Self> {
        let text = |name: &str| request.param(name).unwrap_or_default().to_owned();
        let version = request.param("version-id-marker").filter(|id| !id.is_empty());
        if version.is_some() && text("key-marker").is_empty() {
            return Err(S3Error::new(Code::InvalidArgument)
                .text("A version-id marker cannot be specified without a key marker.")
                .argument("version-id-marker", version.unwrap_or_default()));
        }
        let version_marker = version.map(|id| {
            parse_version(id).map_err(|_| {
                S3Error::new(Code::InvalidArgument)
                    .text("Invalid version id specified")
                    .argument("version-id-marker", id)
            })
        });
        let op = ListVersions {
            container: request.container()?,
            prefix: text("prefix"),
            delimiter: text("delimiter"),
            key_marker: text("key-marker"),
            version_marker: version_marker.transpose()?,
            end_marker: String::new(),
            reverse: false,
            limit: max_keys(request)?,
        };
        let encode = encodes_names(request)?;
        Ok(Self { op, bucket: request.bucket().to_owned(), owner: request.owner.clone(), encode })
    }

    fn name(&self, name: &str) -> String {
        shown_name(name, self.encode)
    }

    /// The document. The elements are in the order of S3's schema, which strict clients check.
    fn render(&self, page: &VersionList) -> Reply {
        let mut out = Writer::new();
        out.root("ListVersionsResult");
        out.text("Name", &self.bucket);
        out.text("Prefix", &self.name(&self.op.prefix));
        out.text("KeyMarker", &self.name(&self.op.key_marker));
        let marker = self.op.version_marker.map(|id| id.to_string());
        out.text("VersionIdMarker", &marker.unwrap_or_default());
        if let Some((key, version)) = &page.next {
            out.text("NextKeyMarker", &self.name(key));
            if let Some(version) = version {
                out.text("NextVersionIdMarker", &version.to_string());
            }
        }
        out.number("MaxKeys", self.op.limit);
        if !self.op.delimiter.is_empty() {
            out.text("Delimiter", &self.name(&self.op.delimiter));
        }
        if self.encode {
            out.text("EncodingType", "url");
        }
        out.flag("IsTruncated", page.next.is_some());
        for entry in &page.entries {
            if let VersionEntry::Version(version) = entry {
                self.version(&mut out, version);
            }
        }
        for entry in &page.entries {
            if let VersionEntry::Prefix(name) = entry {
                out.open("CommonPrefixes");
                out.text("Prefix", &self.name(name));
                out.close("CommonPrefixes");
            }
        }
        out.close("ListVersionsResult");
        out.reply()
    }

    fn version(&self, out: &mut Writer, version: &ListedVersion) {
        let element = if version.delete_marker { "DeleteMarker" } else { "Version" };
        out.open(element);
        out.text("Key", &self.name(&version.key));
        out.text("VersionId", &version.id.to_string());
        out.flag("IsLatest", version.is_latest);
        if version.delete_marker {
            let modified = version.row.last_modified().seconds_ceil();
            let modified = apus_cluster::Timestamp::from_seconds(modified);
            out.text("LastModified", &modified.iso_millis());
            out.owner("Owner", &self.owner);
        } else {
            object(out, &version.row, Some(&self.owner));
        }
        out.close(element);
    }
}

#[cfg(test)]
mod tests {
    use apus_store::operation::VersionId;

    use super::*;

    #[test]
    fn a_version_marker_needs_a_key_marker() {
        let parse = |query: &str| {
            let request = S3Request::example("GET", &format!("/bucket?versions&{query}"), &[]);
            VersionParams::parse(&request).map(|params| params.op)
        };
        let op = parse("key-marker=k&version-id-marker=null&max-keys=7").unwrap();
        assert_eq!((op.version_marker, op.limit), (Some(VersionId::Null), 7));
        assert_eq!(parse("key-marker=k&version-id-marker=").unwrap().version_marker, None);
        for bad in ["version-id-marker=null", "key-marker=k&version-id-marker=x", "max-keys=x"] {
            assert_eq!(parse(bad).unwrap_err().code, Code::InvalidArgument, "{bad}");
        }
    }
}
