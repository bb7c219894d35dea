//! ACLs of buckets and objects: `?acl`.
//!
//! The ACL that an object was written with is system metadata of its data, as Swift's s3api stores it.
//! A later PutObjectAcl is a setting of the object (`apus_store::settings`), which changes neither its
//! data nor its time, and takes precedence.

mod document;
mod headers;
mod owner;
mod upload;

use apus_bucket::acl::{AccessControlList, AclError, AclResource, BUCKET_ACL, RequestedAcl};
use apus_bucket::bucket_acls::{BucketAcls, BucketAclsError};
use apus_bucket::ownership::{OwnershipError, changes_acl};
use apus_bucket::public_access::PublicAclBlocked;
use apus_cluster::Metadata;
use apus_daemon::http::{set, status};
use apus_policy::Permission;
use apus_store::body::collect;
use apus_store::operation::{
    Authorize, HeadContainer, HeadObject, ObjectHead, PostContainer, SettingChange, UpdateObject,
};
use apus_store::settings::acl_of;
use http::StatusCode;

pub(super) use self::document::{fuzz_document, render};
pub(super) use self::headers::{fuzz_headers, requested};
pub(super) use self::owner::{BucketOwner, belongs_to, of_bucket, of_upload};
pub(super) use self::upload::{add_to_upload, of_new_bucket};
use super::error::{Code, Result, S3Error};
use super::object::put::verified_body;
use super::request::S3Request;
use super::xml;
use crate::deps::ProxyDeps;
use crate::reply::Reply;

impl From<AclError> for S3Error {
    fn from(error: AclError) -> Self {
        let argument = |name: &str, value: &str| {
            Self::new(Code::InvalidArgument).text(error.to_string()).argument(name, value)
        };
        match &error {
            AclError::HeaderFormat(text) => argument("x-amz-grant", text),
            AclError::UserId(id) => argument("CanonicalUser/ID", id),
            AclError::Group(uri) => argument("uri", uri),
            AclError::Email(address) => Self::new(Code::UnresolvableGrantByEmailAddress)
                .text(error.to_string())
                .with("EmailAddress", address),
            AclError::TooMany(_) | AclError::TooLong(_) => {
                Self::new(Code::MalformedACLError).text(error.to_string())
            }
            AclError::Damaged(_) => {
                tracing::error!(%error, "Failed to read an ACL");
                Self::new(Code::InternalError)
            }
        }
    }
}

impl From<BucketAclsError> for S3Error {
    fn from(error: BucketAclsError) -> Self {
        match error {
            BucketAclsError::Acl(error) => error.into(),
            BucketAclsError::Setting(error) => error.into(),
        }
    }
}

impl From<OwnershipError> for S3Error {
    fn from(error: OwnershipError) -> Self {
        let code = match error {
            OwnershipError::AclsDisabled => Code::AccessControlListNotSupported,
            OwnershipError::GrantsToOthers => Code::InvalidBucketAclWithObjectOwnership,
        };
        Self::new(code).text(error.to_string())
    }
}

impl From<PublicAclBlocked> for S3Error {
    fn from(error: PublicAclBlocked) -> Self {
        Self::new(Code::AccessDenied).text(format!("Access Denied: {error}"))
    }
}

/// Refuses canonical ids that no user and no account here can have: users are `account:user`, accounts
/// begin with the reseller's prefix.
fn check_ids(deps: &ProxyDeps, acl: &RequestedAcl) -> Result<()> {
    let RequestedAcl::Grants(grants) = acl else { return Ok(()) };
    let prefix = deps.auth.reseller_prefix();
    for grant in grants {
        let apus_bucket::acl::Grantee::User(id) = &grant.grantee else { continue };
        let is_user = id
            .split_once(':')
            .is_some_and(|(account, user)| !account.is_empty() && !user.is_empty());
        let is_account = id.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
        if !is_user && !is_account {
            return Err(S3Error::new(Code::InvalidArgument)
                .text("Invalid id: expected account:user, or the name of an account")
                .argument("CanonicalUser/ID", id));
        }
    }
    Ok(())
}

/// Reads the ACL that a PUT asks for, from its headers or from its document, for a resource of this
/// owner.
async fn read_requested(
    deps: &ProxyDeps,
    request: S3Request,
    resource: AclResource,
    owner: &str,
) -> Result<RequestedAcl> {
    let in_headers = requested(&request.head.headers, resource)?;
    let verified = verified_body(deps, request.payload, &request.head.headers, request.body)?;
    let document = collect(verified.body, xml::DOCUMENT_BYTES_MAX).await?;
    let found = match (in_headers, document.is_empty()) {
        (Some(acl), true) => acl,
        (Some(_), false) => {
            return Err(S3Error::new(Code::UnexpectedContent)
                .text("This request does not support content: its headers have the ACL"));
        }
        (None, true) => {
            return Err(S3Error::new(Code::MissingSecurityHeader)
                .text("Your request was missing a required header: x-amz-acl, x-amz-grant-*, or a document")
                .with("MissingHeaderName", "x-amz-acl"));
        }
        (None, false) => {
            let acl = document::parse(&document)?;
            if acl.owner != owner {
                return Err(S3Error::new(Code::AccessDenied).text(
                    "Access Denied: the Owner in the document is not the owner of the resource",
                ));
            }
            RequestedAcl::Grants(acl.grants)
        }
    };
    check_ids(deps, &found)?;
    Ok(found)
}

/// The ACL that has an effect: where ACLs have none, that of a resource of the bucket's owner.
fn effective(
    deps: &ProxyDeps,
    rules: &BucketAcls,
    acl: Option<AccessControlList>,
    owner: &str,
) -> AccessControlList {
    let has_acls = rules.ownership(deps.config.default_object_ownership).has_acls();
    acl.filter(|_| has_acls).unwrap_or_else(|| AccessControlList::private(owner))
}

/// GetBucketAcl.
pub(super) async fn get_bucket(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let container = request.container()?;
    let op = HeadContainer { container: container.clone() };
    let head = deps.store.head_container(&request.cx, op).await?;
    let rules = BucketAcls::of(&head.headers)?;
    let owner = of_bucket(&request.cx, &container, &rules);
    Ok(render(&effective(deps, &rules, rules.acl.clone(), &owner)).reply())
}

/// PutBucketAcl.
pub(super) async fn put_bucket(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let (container, cx) = (request.container()?, request.cx.clone());
    let op = HeadContainer { container: container.clone() };
    // Rights come before the document.
    let authorize = Authorize::container(Permission::PutBucketAcl, container.clone());
    deps.store.authorize(&cx, authorize).await?;
    let rules = BucketAcls::of(&deps.store.head_container(&cx, op).await?.headers)?;
    let owner = of_bucket(&cx, &container, &rules);
    let acl = read_requested(deps, request, AclResource::Bucket, &owner).await?;
    let acl = acl.resolve(&owner, &owner);
    let before = effective(deps, &rules, rules.acl.clone(), &owner);
    let ownership = rules.ownership(deps.config.default_object_ownership);
    let changes = changes_acl(ownership, &before, &acl)?;
    rules.block.check_acl(&acl)?;
    if !changes {
        return Ok(status(StatusCode::OK));
    }
    let metadata = Metadata::from([(BUCKET_ACL.to_owned(), acl.to_stored()?)]);
    deps.store.post_container(&cx, PostContainer { container, metadata, versioning: None }).await?;
    Ok(status(StatusCode::OK))
}

/// A response with the version whose ACL it is about.
fn about_version(mut response: Reply, head: &ObjectHead) -> Reply {
    if let Some(version) = head.version {
        set(response.headers_mut(), "x-amz-version-id", &version.to_string());
    }
    response
}

/// GetObjectAcl.
pub(super) async fn get_object(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let object = request.object()?;
    let container = object.container.clone();
    let op = HeadObject { version: request.version()?, ..HeadObject::new(object) };
    let head = deps.store.head_object(&request.cx, op).await?;
    let info =
        deps.store.container_info(&request.cx, HeadContainer { container: container.clone() });
    let rules = BucketAcls::of(&info.await?.headers)?;
    let owner = of_bucket(&request.cx, &container, &rules);
    let acl = effective(deps, &rules, acl_of(&head.metadata)?, &owner);
    Ok(about_version(render(&acl).reply(), &head))
}

/// PutObjectAcl.
pub(super) async fn put_object(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let (object, version, cx) = (request.object()?, request.version()?, request.cx.clone());
    let container = object.container.clone();
    let op = HeadObject { version, ..HeadObject::new(object.clone()) };
    let head = deps.store.head_object(&cx, op).await?;
    let before = acl_of(&head.metadata)?;
    let info = deps.store.container_info(&cx, HeadContainer { container: container.clone() });
    let rules = BucketAcls::of(&info.await?.headers)?;
    let bucket_owner = of_bucket(&cx, &container, &rules);
    let owner_before = before.as_ref().map(|acl| acl.owner.clone());
    let before = effective(deps, &rules, before, &bucket_owner);
    let owner = before.owner.as_str();
    let acl = read_requested(deps, request, AclResource::Object, owner).await?;
    let acl = acl.resolve(owner, &bucket_owner);
    let ownership = rules.ownership(deps.config.default_object_ownership);
    let changes = changes_acl(ownership, &before, &acl)?;
    rules.block.check_acl(&acl)?;
    if !changes {
        // Not even the time of the object.
        return Ok(about_version(status(StatusCode::OK), &head));
    }
    let change = SettingChange::Acl { acl: acl.to_stored()?, owner_before };
    let head = deps.store.update_object(&cx, UpdateObject { object, version, change }).await?;
    Ok(about_version(status(StatusCode::OK), &head))
}
