//! The account of the bucket that a request names.

use apus_cluster::{AccountName, ContainerName};
use apus_store::operation::FindBucket;
use apus_store::{BucketNamespace, Context};

use super::address;
use super::anonymous;
use super::error::{Code, Result, S3Error};
use super::operation::Operation;
use crate::deps::ProxyDeps;

/// The account of a bucket: that of the caller, if it has the bucket, or else the one that the
/// cluster knows by the name, or else the account that is open to anonymous callers. A caller with
/// an account finds the bucket missing there.
///
/// # Errors
/// `NoSuchBucket`; `AccessDenied` for anonymous callers where names are those of accounts.
pub(super) async fn account(
    deps: &ProxyDeps,
    cx: &Context,
    own: Option<&AccountName>,
    bucket: &str,
) -> Result<AccountName> {
    let found = match ContainerName::parse(bucket) {
        Ok(name) if address::may_be_bucket(bucket) => {
            deps.store.find_bucket(cx, FindBucket { name, own: own.cloned() }).await?
        }
        // The operation refuses the name.
        _ => None,
    };
    match found.or_else(|| own.cloned()) {
        Some(account) => Ok(account),
        None => open_account(deps, bucket),
    }
}

/// The account in which an operation works: that of its bucket, or that of the caller for the list of
/// buckets and a new one.
///
/// # Errors
/// As [`account`].
pub(super) async fn of_request(
    deps: &ProxyDeps,
    cx: &Context,
    own: Option<&AccountName>,
    (operation, bucket): (Operation, Option<&str>),
) -> Result<AccountName> {
    match (bucket, own) {
        (Some(bucket), _) if operation != Operation::CreateBucket => {
            account(deps, cx, own, bucket).await
        }
        (_, Some(own)) => Ok(own.clone()),
        (_, None) => anonymous::account(deps),
    }
}

/// The account of a bucket of anonymous callers that the cluster does not know.
fn open_account(deps: &ProxyDeps, bucket: &str) -> Result<AccountName> {
    let is_global = deps.config.bucket_namespace == BucketNamespace::Cluster;
    if is_global && deps.config.anonymous_account.is_empty() {
        return Err(match address::may_be_bucket(bucket) {
            true => S3Error::new(Code::NoSuchBucket).with("BucketName", bucket),
            false => address::invalid_bucket_name(bucket),
        });
    }
    anonymous::account(deps)
}
