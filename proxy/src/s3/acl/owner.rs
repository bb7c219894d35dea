//! Owners of buckets and uploads, by canonical id.
//!
//! The canonical id of a user is its name, `account:user`; that of an account is its own name. A
//! bucket that was created in S3 has its creator as the owner, in its ACL. Of one that was created in
//! Swift's dialect only the account is known.

use apus_bucket::acl::{AccessControlList, OBJECT_ACL, UPLOAD_ACL};
use apus_bucket::bucket_acls::BucketAcls;
use apus_cluster::{AccountName, ContainerPath, Metadata};
use apus_store::Context;
use apus_store::access::Identity;
use apus_store::operation::HeadContainer;

use super::super::error::Result;
use crate::deps::ProxyDeps;

/// Whether the caller is a user of an account.
pub(in crate::s3) fn belongs_to(identity: &Identity, account: &AccountName) -> bool {
    identity.account.as_ref() == Some(account)
}

/// The owner of a bucket: the one in its ACL, or else its account, which its own users see under
/// their name.
pub(in crate::s3) fn of_bucket(
    cx: &Context,
    container: &ContainerPath,
    rules: &BucketAcls,
) -> String {
    let caller = cx.identity.user.clone().filter(|_| belongs_to(&cx.identity, &container.account));
    let recorded = rules.acl.as_ref().map(|acl| acl.owner.clone());
    recorded.or(caller).unwrap_or_else(|| container.account.to_string())
}

/// The owner of a bucket, read when it is asked for.
#[derive(Debug, Clone, Copy)]
pub(in crate::s3) struct BucketOwner<'a> {
    pub(in crate::s3) cx: &'a Context,
    pub(in crate::s3) container: &'a ContainerPath,
}

impl BucketOwner<'_> {
    /// The canonical id.
    ///
    /// # Errors
    /// `NoSuchBucket`; `InternalError` when its ACL is damaged.
    pub(in crate::s3) async fn id(self, deps: &ProxyDeps) -> Result<String> {
        let op = HeadContainer { container: self.container.clone() };
        let info = deps.store.container_info(self.cx, op).await?;
        Ok(of_bucket(self.cx, self.container, &BucketAcls::of(&info.headers)?))
    }
}

/// The owner of the object that an upload creates, from the metadata of the upload.
///
/// # Errors
/// `InternalError` when its ACL is damaged.
pub(in crate::s3) fn of_upload(upload: &Metadata, bucket_owner: &str) -> Result<String> {
    let stored = upload.get(UPLOAD_ACL).or_else(|| upload.get(OBJECT_ACL));
    let acl = stored.map_or(Ok(None), |acl| AccessControlList::from_stored(acl))?;
    Ok(acl.map_or_else(|| bucket_owner.to_owned(), |acl| acl.owner))
}
