//! Operations on buckets, and the list of buckets.

use apus_bucket::acl::{AccessControlList, BUCKET_ACL};
use apus_bucket::name::is_bucket_name;
use apus_bucket::ownership::OwnershipControls;
use apus_bucket::{ConfigKind, stored};
use apus_cluster::constraints::LISTING_PAGE_MAX;
use apus_cluster::listing::{ContainerEntry, ContainerRow, ListQuery};
use apus_cluster::{ContainerName, ContainerPath, Metadata};
use apus_daemon::http::{set, status};
use apus_policy::Permission;
use apus_store::body::collect;
use apus_store::operation::{
    Authorize, CreateBucket, CreatedBucket, DeleteContainer, HeadContainer, ListContainers,
    PutContainer, Versioning,
};
use apus_store::{BucketNamespace, Kind};
use http::StatusCode;

use super::address::{invalid_new_bucket_name, may_be_bucket};
use super::error::{Code, Result, S3Error};
use super::object::put::verified_body;
use super::request::S3Request;
use super::xml::{self, Writer};
use super::{acl, bucket_lock, ownership};
use crate::deps::ProxyDeps;
use crate::reply::Reply;

/// Suffix of the containers that hold multipart uploads, which are not buckets.
const SEGMENTS: &str = "+segments";

/// Most buckets of one response, as in AWS.
const BUCKETS_MAX: usize = 10_000;
/// Most pages of containers that are read for one response.
const PAGES_MAX: usize = 10;
/// Fewest rows of a page, since not all are buckets.
const PAGE_ROWS_MIN: usize = 1000;

/// The parameters of a list of buckets.
#[derive(Debug)]
struct BucketParams {
    max: usize,
    prefix: String,
    /// The name after which the list begins.
    marker: String,
}

impl BucketParams {
    fn parse(request: &S3Request) -> Result<Self> {
        let max = match request.param("max-buckets") {
            None => BUCKETS_MAX,
            Some(text) => text
                .parse()
                .ok()
                .filter(|max| (1..=BUCKETS_MAX).contains(max))
                .ok_or_else(|| S3Error::new(Code::InvalidArgument))?,
        };
        Ok(Self {
            max,
            prefix: request.param("prefix").unwrap_or_default().to_owned(),
            marker: request.param("continuation-token").unwrap_or_default().to_owned(),
        })
    }

    /// The query of the first page, for one bucket more than is returned: it shows whether there are
    /// more.
    fn query(&self) -> ListQuery {
        ListQuery {
            limit: (self.max + 1).clamp(PAGE_ROWS_MIN, LISTING_PAGE_MAX),
            marker: self.marker.clone(),
            prefix: Some(self.prefix.clone()).filter(|prefix| !prefix.is_empty()),
            ..ListQuery::default()
        }
    }
}

/// The buckets of a response, and the token with which the next one begins.
#[derive(Debug, Default)]
struct BucketPage {
    buckets: Vec<ContainerRow>,
    token: Option<String>,
}

pub(super) async fn list_buckets(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let params = BucketParams::parse(&request)?;
    let mut query = params.query();
    let mut found = BucketPage::default();
    for page in 1..=PAGES_MAX {
        let op = ListContainers { account: request.account.clone(), query: query.clone() };
        let entries = deps.store.list_containers(&request.cx, op).await?.entries;
        let full = entries.len() == query.limit;
        add_buckets(&mut found, &params, &mut query, entries);
        if !full || found.token.is_some() {
            break;
        }
        if page == PAGES_MAX {
            // Most of what was listed is not a bucket: the client asks for the rest.
            found.token = Some(query.marker.clone());
        }
    }
    Ok(render_buckets(&request.owner, &params, &found))
}

/// Adds the buckets among the containers of one page, and moves the query behind it.
fn add_buckets(
    found: &mut BucketPage,
    params: &BucketParams,
    query: &mut ListQuery,
    entries: Vec<ContainerEntry>,
) {
    for entry in entries {
        let ContainerEntry::Container(row) = entry else { continue };
        let is_bucket = may_be_bucket(&row.name);
        if is_bucket && found.buckets.len() >= params.max {
            found.token = Some(query.marker.clone());
            return;
        }
        query.marker.clone_from(&row.name);
        if is_bucket {
            found.buckets.push(row);
        }
    }
}

fn render_buckets(owner: &str, params: &BucketParams, found: &BucketPage) -> Reply {
    let mut out = Writer::new();
    out.root("ListAllMyBucketsResult");
    out.owner("Owner", owner);
    out.open("Buckets");
    for bucket in &found.buckets {
        out.open("Bucket");
        out.text("Name", &bucket.name);
        out.text("CreationDate", &bucket.put_timestamp.iso_millis());
        out.close("Bucket");
    }
    out.close("Buckets");
    if !params.prefix.is_empty() {
        out.text("Prefix", &params.prefix);
    }
    if let Some(token) = &found.token {
        out.text("ContinuationToken", token);
    }
    out.close("ListAllMyBucketsResult");
    out.reply()
}

/// A list of the buckets among these containers, for snapshots.
#[cfg(test)]
pub(super) fn snapshot(request: &S3Request, entries: Vec<ContainerEntry>) -> Reply {
    let params = BucketParams::parse(request).unwrap();
    let (mut found, mut query) = (BucketPage::default(), params.query());
    add_buckets(&mut found, &params, &mut query, entries);
    render_buckets(&request.owner, &params, &found)
}

/// The document in a request that creates a bucket.
const CONFIGURATION: xml::Schema = xml::Schema {
    root: "CreateBucketConfiguration",
    item: "LocationConstraint",
    items_max: 1,
    within_max: xml::ELEMENTS_MAX,
};

pub(super) async fn create(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let container = parse_create(&request, deps.constraints.max_container_name_length)?;
    let lock = bucket_lock::of_new_bucket(&request.head.headers)?;
    let ownership = ownership::of_new_bucket(&request.head.headers)?;
    let mut metadata = acl::of_new_bucket(deps, &request, ownership)?;
    if let Some(ownership) = ownership {
        metadata.extend(stored::store(ConfigKind::Ownership, &OwnershipControls(ownership))?);
    }
    let name = request.bucket().to_owned();
    // Rights come before the document.
    let authorize = Authorize::container(Permission::CreateBucket, container.clone());
    match deps.store.authorize(&request.cx, authorize).await {
        Err(error) if error.kind != Kind::NotFound => return Err(error.into()),
        _ => {}
    }
    let verified = verified_body(deps, request.payload, &request.head.headers, request.body)?;
    check_configuration(&collect(verified.body, xml::DOCUMENT_BYTES_MAX).await?)?;
    // A lock needs versions.
    let versioning = lock.as_ref().map(|_| Versioning::Enabled);
    metadata.extend(lock.unwrap_or_default());
    let op = PutContainer { container, versioning, metadata: metadata.clone(), policy: None };
    match deps.store.create_bucket(&request.cx, CreateBucket { container: op }).await? {
        CreatedBucket::New => {}
        CreatedBucket::Existing(head) => {
            check_existing(deps, &name, (&metadata, &head.headers))?;
        }
    }
    let mut response = status(StatusCode::OK);
    set(response.headers_mut(), "location", &format!("/{name}"));
    Ok(response)
}

/// The region in which AWS accepts that a bucket is created again by its owner.
const RECREATING_REGION: &str = "us-east-1";

/// Refuses to create a bucket that the account has. In AWS's first region it succeeds, unless the
/// settings that the request has are not those of the bucket: nothing is changed.
fn check_existing(
    deps: &ProxyDeps,
    name: &str,
    (requested, stored): (&Metadata, &Metadata),
) -> Result<()> {
    let may_recreate = deps.config.bucket_namespace == BucketNamespace::Cluster
        && deps.config.region == RECREATING_REGION;
    if !may_recreate {
        return Err(S3Error::new(Code::BucketAlreadyOwnedByYou).with("BucketName", name));
    }
    // A bucket without an ACL is private.
    let is_private = |name: &str, value: &str| {
        name == BUCKET_ACL
            && !stored.contains_key(BUCKET_ACL)
            && AccessControlList::from_stored(value)
                .is_ok_and(|acl| acl.is_none_or(|acl| acl.is_private()))
    };
    let is_kept =
        |name: &str, value: &String| stored.get(name) == Some(value) || is_private(name, value);
    match requested.iter().all(|(name, value)| is_kept(name, value)) {
        true => Ok(()),
        false => Err(S3Error::new(Code::BucketAlreadyExists).with("BucketName", name)),
    }
}

/// The container of a new bucket, whose name follows AWS's rules.
fn parse_create(request: &S3Request, name_max: usize) -> Result<ContainerPath> {
    let name = request.bucket();
    if !is_bucket_name(name) || name.len() > name_max {
        return Err(invalid_new_bucket_name(name));
    }
    request.container()
}

/// Checks a `CreateBucketConfiguration`: only a region may be in it.
pub(super) fn check_configuration(document: &[u8]) -> Result<()> {
    if document.is_empty() {
        return Ok(());
    }
    xml::read(document, &CONFIGURATION, |child| match child.name.as_str() {
        "LocationConstraint" => Ok(()),
        other => {
            Err(S3Error::new(Code::NotImplemented).text(format!("{other} is not implemented")))
        }
    })
}

pub(super) async fn head(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let op = HeadContainer { container: request.container()? };
    deps.store.head_container(&request.cx, op).await?;
    let mut response = status(StatusCode::OK);
    let out = response.headers_mut();
    set(out, "x-amz-bucket-region", &deps.config.region);
    set(out, "content-type", "application/xml");
    Ok(response)
}

pub(super) async fn delete(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let container = request.container()?;
    let op = DeleteContainer { container: container.clone() };
    deps.store.delete_container(&request.cx, op).await?;
    if let Some(container) = uploads_of(&container) {
        // It stays while an upload is in progress in it.
        let _ = deps.store.delete_container(&request.cx, DeleteContainer { container }).await;
    }
    Ok(status(StatusCode::NO_CONTENT))
}

/// The hidden container of a bucket's uploads.
fn uploads_of(bucket: &ContainerPath) -> Option<ContainerPath> {
    let name = ContainerName::parse(&format!("{}{SEGMENTS}", bucket.container)).ok()?;
    Some(ContainerPath::new(bucket.account.clone(), name))
}

pub(super) async fn location(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let op = HeadContainer { container: request.container()? };
    deps.store.head_container(&request.cx, op).await?;
    Ok(render_location(&deps.config.region))
}

fn render_location(region: &str) -> Reply {
    let mut out = Writer::new();
    out.root("LocationConstraint");
    // AWS writes its first region as no text.
    out.content(if region == "us-east-1" { "" } else { region });
    out.close("LocationConstraint");
    out.reply()
}

#[cfg(test)]
mod tests {
    use apus_cluster::Timestamp;

    use super::*;

    fn rows(names: &[&str]) -> Vec<ContainerEntry> {
        let row = |name: &&str| ContainerRow {
            name: (*name).to_owned(),
            object_count: 0,
            bytes_used: 0,
            put_timestamp: Timestamp::ZERO,
            policy: 0,
        };
        names.iter().map(row).map(ContainerEntry::Container).collect()
    }

    #[test]
    fn hidden_containers_are_skipped_and_the_next_page_begins_after_the_last_bucket() {
        let request = S3Request::example("GET", "/?max-buckets=2", &[]);
        let params = BucketParams::parse(&request).unwrap();
        let (mut found, mut query) = (BucketPage::default(), params.query());
        let names = ["aaa", "aaa+segments", "bbb", "bbb+segments", "ccc"];
        add_buckets(&mut found, &params, &mut query, rows(&names));
        let buckets: Vec<_> = found.buckets.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(buckets, ["aaa", "bbb"]);
        assert_eq!(found.token.as_deref(), Some("bbb+segments"));
    }

    #[test]
    fn new_buckets_follow_awss_rules() {
        let create = |path: &str| parse_create(&S3Request::example("PUT", path, &[]), 256);
        assert!(create("/bucket").is_ok());
        assert_eq!(create("/Bucket").unwrap_err().code, Code::InvalidBucketName);
        assert!(check_configuration(b"").is_ok());
        let other = b"<CreateBucketConfiguration><Tags/></CreateBucketConfiguration>";
        assert_eq!(check_configuration(other).unwrap_err().code, Code::NotImplemented);
    }
}
