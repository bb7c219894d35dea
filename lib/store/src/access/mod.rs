//! Identities, permissions and the interface of the authorizer.

mod bucket;
pub mod noted;

use std::sync::Arc;

use apus_cluster::{AccountName, ContainerName, Metadata, ObjectName};
use apus_policy::{IdentityPolicies, Permission};

pub use self::bucket::{BucketAccess, BucketPolicy, BucketPolicyState};
use crate::operation::VersionId;

/// The caller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Name of the user, such as `account:user`, which is also its canonical id in S3; `None` for an
    /// anonymous caller.
    pub user: Option<String>,
    /// The account to which the caller belongs; `None` for an anonymous caller.
    pub account: Option<AccountName>,
    /// Groups, among them `account`, `account:user` and, for administrators, the account's name.
    pub groups: Vec<String>,
    /// The `Referer`, which referrer ACLs look at.
    pub referrer: Option<String>,
    /// The rights of a temporary URL. The caller has these and no others.
    pub grant: Option<TemporaryGrant>,
    /// Policies that give the caller its rights; `None` when its groups do.
    pub policies: Option<Arc<IdentityPolicies>>,
}

impl Identity {
    /// Whether it administers all accounts, as Swift's `.reseller_admin`.
    pub fn is_reseller_admin(&self) -> bool {
        self.groups.iter().any(|group| group == ".reseller_admin")
    }
}

/// The right to read, write and list objects, which the owner of a key gave by a temporary URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemporaryGrant {
    /// The account whose objects are opened.
    pub account: AccountName,
    /// The one container, unless all of the account are opened.
    pub container: Option<ContainerName>,
}

impl TemporaryGrant {
    /// Whether it opens this target to an action.
    pub fn allows(&self, action: Action, target: &Target) -> bool {
        let is_object_action =
            matches!(action, Action::ReadObject | Action::WriteObject | Action::ReadContainer);
        let is_within =
            self.container.as_ref().is_none_or(|own| target.container.as_ref() == Some(own));
        is_object_action && is_within && self.account == target.account
    }
}

/// A kind of access, as Swift's access lists distinguish them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// List or head an account.
    ReadAccount,
    /// Change an account's metadata.
    WriteAccount,
    /// Create or delete an account.
    ManageAccount,
    /// List or head a container.
    ReadContainer,
    /// Create, change or delete a container.
    WriteContainer,
    /// Read an object.
    ReadObject,
    /// Write, change or delete an object.
    WriteObject,
}

impl Action {
    /// The kind of access that a permission is. Lists of Swift grant no configuration of a bucket, not
    /// even to read it, and no ACL.
    pub fn of(permission: Permission) -> Self {
        use Permission::*;
        match permission {
            ListAllMyBuckets => Self::ReadAccount,
            PutAccountMetadata => Self::WriteAccount,
            ManageAccount => Self::ManageAccount,
            ListBucket
            | ListBucketVersions
            | ListBucketMultipartUploads
            | GetBucketLocation
            | GetBucketVersioning => Self::ReadContainer,
            GetObject
            | GetObjectVersion
            | GetObjectAttributes
            | GetObjectVersionAttributes
            | GetObjectTagging
            | GetObjectVersionTagging
            | GetObjectRetention
            | GetObjectLegalHold => Self::ReadObject,
            PutObject
            | DeleteObject
            | DeleteObjectVersion
            | PutObjectTagging
            | PutObjectVersionTagging
            | DeleteObjectTagging
            | DeleteObjectVersionTagging
            | PutObjectRetention
            | PutObjectLegalHold
            | AbortMultipartUpload
            | ListMultipartUploadParts
            | RestoreObject => Self::WriteObject,
            _ => Self::WriteContainer,
        }
    }
}

/// What is accessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The account.
    pub account: AccountName,
    /// The container, unless it is the account itself.
    pub container: Option<ContainerName>,
    /// The object, unless it is the container or the account.
    pub object: Option<ObjectName>,
    /// The version of the object that the request names.
    pub version: Option<VersionId>,
}

impl Target {
    /// An account.
    pub fn account(account: AccountName) -> Self {
        Self { account, container: None, object: None, version: None }
    }
}

/// The access lists that the owner of the target has set in Swift's dialect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lists {
    /// `X-Container-Read`.
    pub read: String,
    /// `X-Container-Write`.
    pub write: String,
    /// `X-Account-Access-Control` as JSON.
    pub account: String,
}

/// What is known of the object that a request names.
#[derive(Debug, Clone, Copy)]
pub enum ObjectFacts<'a> {
    /// It was not read yet: [`Decision::NeedsObject`] asks for it.
    Unread,
    /// It does not exist.
    Absent,
    /// Its stored metadata.
    Present(&'a Metadata),
}

/// What a request contains that conditions of policies compare.
pub trait RequestFacts: Send + Sync + std::fmt::Debug {
    /// The values of a condition key in lower case, such as `aws:sourceip` or `s3:prefix`; none when
    /// the request does not have it.
    fn values(&self, key: &str) -> Vec<String>;
}

/// A question to the authorizer.
#[derive(Debug, Clone, Copy)]
pub struct AccessRequest<'a> {
    /// The caller.
    pub identity: &'a Identity,
    /// The permission that the operation needs.
    pub permission: Permission,
    /// What is accessed.
    pub target: &'a Target,
    /// Lists of Swift's dialect.
    pub lists: &'a Lists,
    /// The rules of the bucket; `None` for accounts and for buckets that do not exist.
    pub bucket: Option<&'a BucketAccess>,
    /// The object.
    pub object: ObjectFacts<'a>,
    /// The request for conditions of policies; `None` where no client asks.
    pub facts: Option<&'a dyn RequestFacts>,
}

/// The decision of the authorizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Allowed.
    Allow {
        /// Whether the caller owns the account, and therefore sees what only owners see.
        owner: bool,
    },
    /// Not allowed.
    Deny,
    /// It depends on the object: the same question is to be asked with its [`ObjectFacts`].
    NeedsObject,
}

/// Decides on access. Implementations must deny what they do not know.
pub trait Authorizer: Send + Sync + std::fmt::Debug {
    /// Whether the caller may do what the request names.
    fn decide(&self, request: &AccessRequest<'_>) -> Decision;
}

/// Denies every caller, where only the system itself uses the store.
#[derive(Debug, Clone, Copy)]
pub struct DenyAll;

impl Authorizer for DenyAll {
    fn decide(&self, _: &AccessRequest<'_>) -> Decision {
        Decision::Deny
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apus_policy::PermissionScope;

    #[test]
    fn lists_of_swift_grant_no_configuration_of_buckets_and_no_acl() {
        for permission in Permission::ALL {
            let action = Action::of(*permission);
            let name = permission.name();
            match permission.scope() {
                PermissionScope::Account => {
                    assert!(!matches!(action, Action::ReadObject | Action::WriteObject), "{name}");
                }
                PermissionScope::Bucket => {
                    let reads = ["List", "GetBucketLocation", "GetBucketVersioning"];
                    let reads = reads.iter().any(|word| name.contains(word));
                    assert_eq!(action == Action::ReadContainer, reads, "{name}");
                    assert!(!matches!(action, Action::ReadObject | Action::WriteObject), "{name}");
                }
                PermissionScope::Object => {
                    let owners = name.contains("Acl") || name.contains("Bypass");
                    assert_eq!(action == Action::WriteContainer, owners, "{name}");
                }
            }
        }
    }
}
