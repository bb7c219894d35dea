//! DeleteObjects: up to 1,000 keys in one request.

use apus_store::access::Action;
use apus_store::body::collect;
use apus_store::operation::{Authorize, WriteConditions};
use futures_util::StreamExt;

use super::condition;
use super::delete::remove;
use super::put::verified_body;
use crate::deps::ProxyDeps;
use crate::reply::Reply;
use crate::s3::error::{Code, Result, S3Error};
use crate::s3::request::{S3Request, object_named};
use crate::s3::xml::{self, Writer};

/// Most keys in one request.
const KEYS_MAX: usize = 1000;
/// The document of a request.
const DOCUMENT: xml::Schema = xml::Schema { root: "Delete", item: "Object", items_max: KEYS_MAX };
/// Deletions at the same time.
const CONCURRENCY: usize = 8;

/// A key that is to be deleted, with its version and conditions.
type Entry = (String, Option<String>, WriteConditions);

fn entry(object: &xml::Element) -> Result<Entry> {
    let key = object.text_of("Key").filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| S3Error::new(Code::UserKeyMustBeSpecified))?;
    let version = object.text_of("VersionId").map(str::to_owned);
    Ok((key.to_owned(), version, condition::on_key(object)?))
}

pub(in crate::s3) async fn delete(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let container = request.container()?;
    // Rights and the bucket come before the document.
    let ask = Authorize { action: Action::WriteObject, container: container.clone() };
    deps.store.authorize(&request.cx, ask).await?;
    let verified = verified_body(deps, request.payload, &request.head.headers, request.body)?;
    let document = collect(verified.body, xml::DOCUMENT_BYTES_MAX).await?;
    if let Some(expected) = verified.etag
        && expected != format!("{:x}", md5::compute(&document))
    {
        return Err(S3Error::new(Code::BadDigest)
            .text("The Content-MD5 you specified did not match what we received."));
    }
    let (mut entries, mut quiet) = (Vec::new(), false);
    xml::read(&document, &DOCUMENT, |element| {
        match element.name.as_str() {
            "Object" => entries.push(entry(&element)?),
            "Quiet" => quiet = element.text.trim().eq_ignore_ascii_case("true"),
            _ => {}
        }
        Ok(())
    })?;
    drop(document);
    if entries.is_empty() {
        return Err(S3Error::new(Code::MalformedXML));
    }
    let work = entries.into_iter().map(|(key, version, conditions)| {
        let (container, cx) = (container.clone(), request.cx.clone());
        async move {
            let result = match version.as_deref() {
                None | Some("null") => match object_named(&container, &key) {
                    Ok(object) => {
                        remove(deps, &cx, object, conditions).await.map_err(S3Error::from)
                    }
                    Err(error) => Err(error),
                },
                Some(_) => Err(S3Error::new(Code::NoSuchVersion)),
            };
            (key, version, result)
        }
    });
    let results: Vec<_> = futures_util::stream::iter(work).buffered(CONCURRENCY).collect().await;
    let mut out = Writer::new();
    out.root("DeleteResult");
    for (key, version, result) in results {
        match result {
            Ok(()) if quiet => {}
            Ok(()) => {
                out.open("Deleted");
                out.text("Key", &key);
                if let Some(version) = version {
                    out.text("VersionId", &version);
                }
                out.close("Deleted");
            }
            Err(error) => {
                out.open("Error");
                out.text("Key", &key);
                if let Some(version) = version {
                    out.text("VersionId", &version);
                }
                out.text("Code", error.code.name());
                out.text("Message", &error.message);
                out.close("Error");
            }
        }
    }
    out.close("DeleteResult");
    Ok(out.reply())
}
