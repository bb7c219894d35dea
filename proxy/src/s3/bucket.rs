//! Operations on buckets, and the list of them.

use apus_cluster::Metadata;
use apus_cluster::constraints::LISTING_PAGE_MAX;
use apus_cluster::listing::{ContainerEntry, ListQuery};
use apus_daemon::http::{set, status};
use apus_store::access::Action;
use apus_store::body::collect;
use apus_store::operation::{
    Authorize, DeleteContainer, HeadContainer, HeadObject, ListContainers, PutContainer,
};
use http::StatusCode;

use super::address::{invalid_new_bucket_name, is_bucket_name, may_be_bucket};
use super::error::{Code, Result, S3Error};
use super::request::S3Request;
use super::xml::{self, Writer};
use crate::deps::ProxyDeps;
use crate::reply::Reply;

/// Ending of the containers that hold multipart uploads: not buckets, as `may_be_bucket` says.
const SEGMENTS: &str = "+segments";

/// Buckets in one answer at most, as in AWS.
const BUCKETS_MAX: usize = 10_000;
/// Pages of containers read for one answer.
const PAGES_MAX: usize = 10;
/// Rows of a page at least, since not all are buckets.
const PAGE_ROWS_MIN: usize = 1000;

pub(super) async fn list_buckets(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let max: usize = match request.param("max-buckets") {
        None => BUCKETS_MAX,
        Some(text) => text
            .parse()
            .ok()
            .filter(|max| (1..=BUCKETS_MAX).contains(max))
            .ok_or_else(|| S3Error::new(Code::InvalidArgument))?,
    };
    let prefix = request.param("prefix").unwrap_or_default().to_owned();
    let mut query = ListQuery {
        // One more than is answered tells whether there are more.
        limit: (max + 1).clamp(PAGE_ROWS_MIN, LISTING_PAGE_MAX),
        marker: request.param("continuation-token").unwrap_or_default().to_owned(),
        prefix: Some(prefix.clone()).filter(|prefix| !prefix.is_empty()),
        ..ListQuery::default()
    };
    let mut buckets = Vec::new();
    // Where the next page of buckets begins, when there is one.
    let mut token = None;
    let mut pages = 0;
    'pages: loop {
        let op = ListContainers { account: request.account.clone(), query: query.clone() };
        let page = deps.store.list_containers(&request.cx, op).await?;
        let full = page.entries.len() == query.limit;
        for entry in page.entries {
            let ContainerEntry::Container(row) = entry else { continue };
            let hidden = !may_be_bucket(&row.name);
            if !hidden && buckets.len() >= max {
                token = Some(query.marker);
                break 'pages;
            }
            query.marker.clone_from(&row.name);
            if !hidden {
                buckets.push(row);
            }
        }
        if !full {
            break;
        }
        pages += 1;
        if pages >= PAGES_MAX {
            // Most of what was listed is not a bucket: the client asks for the rest.
            token = Some(query.marker);
            break;
        }
    }
    let mut out = Writer::new();
    out.root("ListAllMyBucketsResult");
    out.owner("Owner", &request.owner);
    out.open("Buckets");
    for bucket in &buckets {
        out.open("Bucket");
        out.text("Name", &bucket.name);
        out.text("CreationDate", &bucket.put_timestamp.iso_millis());
        out.close("Bucket");
    }
    out.close("Buckets");
    if !prefix.is_empty() {
        out.text("Prefix", &prefix);
    }
    if let Some(token) = token {
        out.text("ContinuationToken", &token);
    }
    out.close("ListAllMyBucketsResult");
    Ok(out.reply())
}

/// The document of a request that creates a bucket.
const DOCUMENT: xml::Schema =
    xml::Schema { root: "CreateBucketConfiguration", item: "LocationConstraint", items_max: 1 };

pub(super) async fn create(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let name = request.bucket.clone().unwrap_or_default();
    if !is_bucket_name(&name) || name.len() > deps.constraints.max_container_name_length {
        return Err(invalid_new_bucket_name(&name));
    }
    let container = request.container()?;
    // Rights come before the document.
    let ask = Authorize { action: Action::WriteContainer, container: container.clone() };
    match deps.store.authorize(&request.cx, ask).await {
        Err(error) if error.kind != apus_store::Kind::NotFound => return Err(error.into()),
        _ => {}
    }
    let body = super::object::put::verified_body(
        deps,
        request.payload,
        &request.head.headers,
        request.body,
    )?;
    let document = collect(body.body, xml::DOCUMENT_BYTES_MAX).await?;
    if !document.is_empty() {
        xml::read(&document, &DOCUMENT, |child| match child.name.as_str() {
            "LocationConstraint" => Ok(()),
            other => Err(S3Error::new(Code::NotImplemented).text(format!("{other} is not done"))),
        })?;
    }
    match deps
        .store
        .head_container(&request.cx, HeadContainer { container: container.clone() })
        .await
    {
        Ok(_) => {
            return Err(S3Error::new(Code::BucketAlreadyOwnedByYou).with("BucketName", name));
        }
        Err(error) if error.kind == apus_store::Kind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let op = PutContainer { container, metadata: Metadata::new(), policy: None };
    deps.store.put_container(&request.cx, op).await?;
    let mut response = status(StatusCode::OK);
    set(response.headers_mut(), "location", &format!("/{name}"));
    Ok(response)
}

pub(super) async fn head(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let op = HeadContainer { container: request.container()? };
    deps.store.head_container(&request.cx, op).await?;
    let mut response = status(StatusCode::OK);
    set(response.headers_mut(), "x-amz-bucket-region", &deps.config.region);
    Ok(response)
}

pub(super) async fn delete(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let container = request.container()?;
    let op = DeleteContainer { container: container.clone() };
    deps.store.delete_container(&request.cx, op).await?;
    // The hidden container goes with its bucket when no upload is under way in it.
    let hidden = format!("{}{SEGMENTS}", container.container);
    if let Ok(name) = apus_cluster::ContainerName::parse(&hidden) {
        let container = apus_cluster::ContainerPath::new(container.account, name);
        let _ = deps.store.delete_container(&request.cx, DeleteContainer { container }).await;
    }
    Ok(status(StatusCode::NO_CONTENT))
}

pub(super) async fn location(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let op = HeadContainer { container: request.container()? };
    deps.store.head_container(&request.cx, op).await?;
    let mut out = Writer::new();
    out.root("LocationConstraint");
    // The default region has always been spelled as nothing.
    let mut document = out.finish();
    if deps.config.region != "us-east-1" {
        document.push_str(&deps.config.region);
    }
    document.push_str("</LocationConstraint>");
    Ok(xml::document(document))
}

/// No bucket was ever versioned: an empty configuration is the truth.
pub(super) async fn versioning(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let op = HeadContainer { container: request.container()? };
    deps.store.head_container(&request.cx, op).await?;
    let mut out = Writer::new();
    out.root("VersioningConfiguration");
    out.close("VersioningConfiguration");
    Ok(out.reply())
}

/// The grants of a bucket or object: its owner's, and nobody else's.
pub(super) async fn acl(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    if request.key.is_some() {
        request.check_version()?;
        let op = HeadObject::new(request.object()?);
        deps.store.head_object(&request.cx, op).await?;
    } else {
        let op = HeadContainer { container: request.container()? };
        deps.store.head_container(&request.cx, op).await?;
    }
    let mut out = Writer::new();
    out.root("AccessControlPolicy");
    out.owner("Owner", &request.owner);
    out.open("AccessControlList");
    out.open("Grant");
    out.open("Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\"");
    out.text("ID", &request.owner);
    out.text("DisplayName", &request.owner);
    out.close("Grantee");
    out.text("Permission", "FULL_CONTROL");
    out.close("Grant");
    out.close("AccessControlList");
    out.close("AccessControlPolicy");
    Ok(out.reply())
}
