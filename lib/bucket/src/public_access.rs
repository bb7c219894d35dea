//! Settings that block public access to a bucket, whatever its ACLs and its policy are.
//!
//! Source: "Blocking public access to your Amazon S3 storage" in AWS's documentation.

use serde::{Deserialize, Serialize};

use crate::acl::AccessControlList;

/// The settings; all are off in a bucket that was given none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PublicAccessBlock {
    /// Public ACLs are refused when they are put.
    pub block_public_acls: bool,
    /// Grants to all callers, and to all that sign, have no effect.
    pub ignore_public_acls: bool,
    /// Public policies are refused when they are put.
    pub block_public_policy: bool,
    /// A public policy gives access only to the bucket's account and to the service.
    pub restrict_public_buckets: bool,
}

/// A public ACL was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ACL grants public access, which the bucket's BlockPublicAcls refuses")]
pub struct PublicAclBlocked;

impl PublicAccessBlock {
    /// Checks an ACL that is put.
    ///
    /// # Errors
    /// [`PublicAclBlocked`].
    pub fn check_acl(self, acl: &AccessControlList) -> Result<(), PublicAclBlocked> {
        match self.block_public_acls && acl.is_public() {
            true => Err(PublicAclBlocked),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::{CannedAcl, RequestedAcl};

    #[test]
    fn only_public_acls_are_refused_and_only_by_their_setting() {
        let blocking = PublicAccessBlock { block_public_acls: true, ..Default::default() };
        let others = PublicAccessBlock {
            block_public_acls: false,
            ignore_public_acls: true,
            block_public_policy: true,
            restrict_public_buckets: true,
        };
        for (canned, refused) in [
            (CannedAcl::Private, false),
            (CannedAcl::PublicRead, true),
            (CannedAcl::PublicReadWrite, true),
            (CannedAcl::AuthenticatedRead, true),
            (CannedAcl::BucketOwnerRead, false),
            (CannedAcl::LogDeliveryWrite, false),
        ] {
            let acl = RequestedAcl::Canned(canned).resolve("a:owner", "b:bucket");
            assert_eq!(blocking.check_acl(&acl).is_err(), refused, "{canned:?}");
            assert!(others.check_acl(&acl).is_ok(), "{canned:?}");
        }
    }

    #[test]
    fn settings_that_are_not_stored_are_off() {
        let stored: PublicAccessBlock =
            serde_json::from_str(r#"{"ignore_public_acls":true}"#).unwrap();
        let expected = PublicAccessBlock { ignore_public_acls: true, ..Default::default() };
        assert_eq!(stored, expected);
    }
}
