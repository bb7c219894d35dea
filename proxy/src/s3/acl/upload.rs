//! ACLs of new buckets and objects.
//!
//! A private object of the bucket's owner is stored without an ACL.

use apus_bucket::acl::{AclResource, BUCKET_ACL, CannedAcl, OBJECT_ACL, RequestedAcl};
use apus_bucket::bucket_acls::BucketAcls;
use apus_bucket::ownership::{ObjectOwnership, Uploader, acl_of_upload, check_bucket};
use apus_cluster::{Metadata, ObjectPath};
use apus_policy::Permission;
use apus_store::Context;
use apus_store::operation::{Authorize, HeadContainer};
use http::HeaderMap;

use super::super::error::Result;
use super::super::request::S3Request;
use super::{belongs_to, check_ids, of_bucket, requested};
use crate::deps::ProxyDeps;

/// The metadata of a new bucket with its ACL, which names its owner. `ownership` is the one that the
/// request sets.
///
/// # Errors
/// `InvalidArgument`; `InvalidBucketAclWithObjectOwnership` when others are granted access and ACLs
/// have no effect.
pub(in crate::s3) fn of_new_bucket(
    deps: &ProxyDeps,
    request: &S3Request,
    ownership: Option<ObjectOwnership>,
) -> Result<Metadata> {
    let requested = requested(&request.head.headers, AclResource::Bucket)?;
    let requested = requested.unwrap_or(RequestedAcl::Canned(CannedAcl::Private));
    check_ids(deps, &requested)?;
    let user = request.cx.identity.user.as_deref();
    let owner = user.unwrap_or(request.account.as_str());
    let acl = requested.resolve(owner, owner);
    check_bucket(ownership.unwrap_or(deps.config.default_object_ownership), Some(&acl))?;
    Ok(Metadata::from([(BUCKET_ACL.to_owned(), acl.to_stored()?)]))
}

/// Adds the ACL of an upload to its metadata, if it needs one.
///
/// # Errors
/// `InvalidArgument`, `InvalidRequest`; `AccessControlListNotSupported` when ACLs have no effect;
/// `AccessDenied` when the bucket refuses public ones.
pub(in crate::s3) async fn add_to_upload(
    deps: &ProxyDeps,
    (cx, headers): (&Context, &HeaderMap),
    object: &ObjectPath,
    metadata: &mut Metadata,
) -> Result<()> {
    let container = &object.container;
    let requested = requested(headers, AclResource::Object)?;
    let own = cx.identity.user.is_none() || belongs_to(&cx.identity, &container.account);
    if requested.is_none() && own {
        return Ok(());
    }
    // Rights come before the settings of the bucket.
    let authorize = Authorize::object(cx.needs(Permission::PutObject), object);
    deps.store.authorize(cx, authorize).await?;
    let op = HeadContainer { container: container.clone() };
    let rules = BucketAcls::of(&deps.store.container_info(cx, op).await?.headers)?;
    if let Some(requested) = &requested {
        check_ids(deps, requested)?;
    }
    let bucket_owner = of_bucket(cx, container, &rules);
    let uploader = Uploader {
        writer: cx.identity.user.as_deref().filter(|_| !own),
        bucket_owner: &bucket_owner,
    };
    let ownership = rules.ownership(deps.config.default_object_ownership);
    if let Some(acl) = acl_of_upload(ownership, uploader, requested)? {
        rules.block.check_acl(&acl)?;
        metadata.insert(OBJECT_ACL.to_owned(), acl.to_stored()?);
    }
    Ok(())
}
