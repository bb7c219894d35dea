//! DeleteObjects: up to 1,000 keys in one request.

use apus_bucket::ConfigKind;
use apus_cluster::ContainerPath;
use apus_policy::Permission;
use apus_store::body::collect;
use apus_store::operation::{Authorize, DeleteObject, Deleted, HeadContainer, WriteConditions};
use apus_store::{Context, Kind};
use futures_util::StreamExt;

use super::delete::remove;
use super::put::{check_md5, verified_body};
use super::{condition, lock};
use crate::deps::ProxyDeps;
use crate::reply::Reply;
use crate::s3::error::{Code, Result, S3Error};
use crate::s3::request::{S3Request, object_named, parse_version};
use crate::s3::xml::{self, Writer};

/// Most keys in one request.
const KEYS_MAX: usize = 1000;
/// The document of a request.
const DOCUMENT: xml::Schema = xml::Schema {
    root: "Delete",
    item: "Object",
    items_max: KEYS_MAX,
    within_max: xml::ELEMENTS_MAX,
};
/// Concurrent deletions.
const CONCURRENCY: usize = 8;

/// A key to be deleted.
#[derive(Debug)]
struct DeletedKey {
    key: String,
    version: Option<String>,
    conditions: WriteConditions,
    /// Whether governance is bypassed, if the caller may.
    bypass_governance: bool,
}

impl DeletedKey {
    fn parse(object: &xml::Element) -> Result<Self> {
        let key = object.text_of("Key").filter(|key| !key.is_empty());
        let key = key.ok_or_else(|| S3Error::new(Code::UserKeyMustBeSpecified))?.to_owned();
        let version = object.text_of("VersionId").map(str::to_owned);
        Ok(Self { key, version, conditions: condition::on_key(object)?, bypass_governance: false })
    }
}

/// The document of a request: the keys, and whether only errors are reported.
#[derive(Debug, Default)]
struct DeleteDocument {
    keys: Vec<DeletedKey>,
    quiet: bool,
}

impl DeleteDocument {
    fn parse(document: &[u8]) -> Result<Self> {
        let mut parsed = Self::default();
        xml::read(document, &DOCUMENT, |element| {
            match element.name.as_str() {
                "Object" => parsed.keys.push(DeletedKey::parse(&element)?),
                "Quiet" => parsed.quiet = element.text.trim().eq_ignore_ascii_case("true"),
                _ => {}
            }
            Ok(())
        })?;
        match parsed.keys.is_empty() {
            true => Err(S3Error::new(Code::MalformedXML)),
            false => Ok(parsed),
        }
    }
}

/// Reads the document of a request, and does nothing else: for fuzzing.
pub(in crate::s3) fn read_document(document: &[u8]) {
    drop(DeleteDocument::parse(document));
}

/// The outcome for one key.
struct DeleteOutcome {
    key: String,
    version: Option<String>,
    /// What was deleted; `None` when nothing existed.
    result: Result<Option<Deleted>>,
}

pub(in crate::s3) async fn delete(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let container = request.container()?;
    // Rights and the bucket come before the document, unless a policy decides on each key.
    let authorize = Authorize::container(Permission::DeleteObject, container.clone());
    if let Err(error) = deps.store.authorize(&request.cx, authorize).await {
        let is_refused = matches!(error.kind, Kind::Forbidden | Kind::Unauthorized);
        if !is_refused || !has_policy(deps, &request.cx, &container).await {
            return Err(error.into());
        }
    }
    let bypass_governance = lock::bypasses(&request);
    let verified = verified_body(deps, request.payload, &request.head.headers, request.body)?;
    let document = collect(verified.body, xml::DOCUMENT_BYTES_MAX).await?;
    check_md5(verified.etag.as_deref(), &document)?;
    let DeleteDocument { keys, quiet } = DeleteDocument::parse(&document)?;
    drop(document);
    let deletions = keys.into_iter().map(|key| {
        let key = DeletedKey { bypass_governance, ..key };
        delete_key(deps, &request.cx, &container, key)
    });
    let outcomes: Vec<_> =
        futures_util::stream::iter(deletions).buffered(CONCURRENCY).collect().await;
    Ok(render(&outcomes, quiet))
}

/// Whether a policy may give rights to single objects of the bucket.
async fn has_policy(deps: &ProxyDeps, cx: &Context, container: &ContainerPath) -> bool {
    if cx.identity.policies.is_some() {
        return true;
    }
    let info = HeadContainer { container: container.clone() };
    let info = deps.store.container_info(cx, info).await;
    info.is_ok_and(|info| info.headers.contains_key(ConfigKind::Policy.header()))
}

async fn delete_key(
    deps: &ProxyDeps,
    cx: &Context,
    container: &ContainerPath,
    deleted: DeletedKey,
) -> DeleteOutcome {
    let DeletedKey { key, version, conditions, bypass_governance } = deleted;
    let op = object_named(container, &key).and_then(|object| {
        // As in AWS, an id that cannot be one is a version that does not exist.
        let version = version.as_deref().map(parse_version).transpose();
        let version = version.map_err(|_| S3Error::new(Code::NoSuchVersion))?;
        Ok(DeleteObject { version, conditions, bypass_governance, ..DeleteObject::new(object) })
    });
    let result = match op {
        Ok(op) => remove(deps, cx, op).await.map_err(S3Error::from),
        Err(error) => Err(error),
    };
    DeleteOutcome { key, version, result }
}

fn render(outcomes: &[DeleteOutcome], quiet: bool) -> Reply {
    let mut out = Writer::new();
    out.root("DeleteResult");
    for DeleteOutcome { key, version, result } in outcomes {
        let element = match result {
            Ok(_) if quiet => continue,
            Ok(_) => "Deleted",
            Err(_) => "Error",
        };
        out.open(element);
        out.text("Key", key);
        if let Some(version) = version {
            out.text("VersionId", version);
        }
        if let Ok(Some(Deleted { delete_marker: true, version: Some(id), .. })) = result {
            out.flag("DeleteMarker", true);
            out.text("DeleteMarkerVersionId", &id.to_string());
        }
        if let Err(error) = result {
            out.text("Code", error.code.name());
            out.text("Message", &error.message);
        }
        out.close(element);
    }
    out.close("DeleteResult");
    out.reply()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_lists_keys_with_versions_and_conditions() {
        let document = b"<Delete><Object><Key>a</Key><VersionId>null</VersionId></Object>\
            <Object><Key>b</Key><ETag>x</ETag></Object><Quiet>True</Quiet></Delete>";
        let parsed = DeleteDocument::parse(document).unwrap();
        assert!(parsed.quiet);
        assert_eq!(parsed.keys[0].version.as_deref(), Some("null"));
        assert!(parsed.keys[1].conditions.if_match.is_some());
        for (bad, code) in [
            ("<Delete/>", Code::MalformedXML),
            ("<Delete><Object/></Delete>", Code::UserKeyMustBeSpecified),
            ("<Delete><Object><Key>a</Key><Size>x</Size></Object></Delete>", Code::InvalidArgument),
            ("<Delete><Object><Key>a</Key><Other/></Object></Delete>", Code::NotImplemented),
        ] {
            assert_eq!(DeleteDocument::parse(bad.as_bytes()).unwrap_err().code, code, "{bad}");
        }
    }
}
