//! Requests without a signature: the account of their bucket.

use apus_cluster::AccountName;

use super::error::{Code, Result, S3Error};
use crate::deps::ProxyDeps;

/// The account whose buckets requests without a signature name.
///
/// # Errors
/// `AccessDenied` when the configuration has no such account.
pub(super) fn account(deps: &ProxyDeps) -> Result<AccountName> {
    let account = &deps.config.anonymous_account;
    if account.is_empty() {
        return Err(refusal());
    }
    AccountName::parse(account).map_err(|_| S3Error::new(Code::AccessDenied))
}

/// The refusal of a request that is not signed.
pub(super) fn refusal() -> S3Error {
    S3Error::new(Code::AccessDenied).text(
        "Access Denied: the request is not signed. It has neither an Authorization header nor the \
         parameters of a presigned URL, and no account is open to anonymous requests",
    )
}
