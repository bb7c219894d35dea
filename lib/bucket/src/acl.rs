//! Access control lists of buckets and objects: grants, canned ACLs, grant headers, evaluation.
//!
//! Sources: "Access control list (ACL) overview" in AWS's documentation, and for the stored form
//! Swift's `swift/common/middleware/s3api/subresource.py`, `encode_acl` and `decode_acl`.

mod grantee;
mod stored;

use std::fmt;

pub use self::grantee::{Grantee, GranteeGroup};
pub use self::stored::{AclError, BUCKET_ACL, OBJECT_ACL, UPLOAD_ACL};

/// Most grants of an ACL.
pub const GRANTS_MAX: usize = 100;

/// A permission that a grant gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AclPermission {
    /// List the objects of a bucket; read an object.
    Read,
    /// Write and delete the objects of a bucket. It has no meaning for an object.
    Write,
    /// Read the ACL.
    ReadAcp,
    /// Change the ACL.
    WriteAcp,
    /// All of them.
    FullControl,
}

impl AclPermission {
    /// All permissions.
    pub const ALL: [Self; 5] =
        [Self::Read, Self::Write, Self::ReadAcp, Self::WriteAcp, Self::FullControl];

    /// Its name in documents and in the stored form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "READ",
            Self::Write => "WRITE",
            Self::ReadAcp => "READ_ACP",
            Self::WriteAcp => "WRITE_ACP",
            Self::FullControl => "FULL_CONTROL",
        }
    }

    /// The header whose grantees get it.
    pub const fn header(self) -> &'static str {
        match self {
            Self::Read => "x-amz-grant-read",
            Self::Write => "x-amz-grant-write",
            Self::ReadAcp => "x-amz-grant-read-acp",
            Self::WriteAcp => "x-amz-grant-write-acp",
            Self::FullControl => "x-amz-grant-full-control",
        }
    }

    /// The permission of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

/// A grant: who has which permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who.
    pub grantee: Grantee,
    /// Which.
    pub permission: AclPermission,
}

impl Grant {
    /// A grant to a user.
    pub fn to_user(id: &str, permission: AclPermission) -> Self {
        Self { grantee: Grantee::User(id.to_owned()), permission }
    }

    /// A grant to a group.
    pub const fn to_group(group: GranteeGroup, permission: AclPermission) -> Self {
        Self { grantee: Grantee::Group(group), permission }
    }

    /// Whether it gives access to callers whom the owner does not know: all, or all that are signed.
    pub fn is_public(&self) -> bool {
        matches!(
            self.grantee,
            Grantee::Group(GranteeGroup::AllUsers | GranteeGroup::AuthenticatedUsers)
        )
    }
}

/// The kind of resource that has an ACL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AclResource {
    /// A bucket.
    Bucket,
    /// An object.
    Object,
}

/// A named list of grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CannedAcl {
    /// The owner alone.
    Private,
    /// Everyone reads.
    PublicRead,
    /// Everyone reads and writes.
    PublicReadWrite,
    /// Everyone who signs reads.
    AuthenticatedRead,
    /// The owner of the bucket reads.
    BucketOwnerRead,
    /// The owner of the bucket has all permissions.
    BucketOwnerFullControl,
    /// Access logs are delivered to the bucket.
    LogDeliveryWrite,
}

impl CannedAcl {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Private,
        Self::PublicRead,
        Self::PublicReadWrite,
        Self::AuthenticatedRead,
        Self::BucketOwnerRead,
        Self::BucketOwnerFullControl,
        Self::LogDeliveryWrite,
    ];

    /// Its name in `x-amz-acl`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::PublicRead => "public-read",
            Self::PublicReadWrite => "public-read-write",
            Self::AuthenticatedRead => "authenticated-read",
            Self::BucketOwnerRead => "bucket-owner-read",
            Self::BucketOwnerFullControl => "bucket-owner-full-control",
            Self::LogDeliveryWrite => "log-delivery-write",
        }
    }

    /// The canned ACL of this name for a resource of this kind.
    pub fn parse(name: &str, resource: AclResource) -> Option<Self> {
        let found = Self::ALL.into_iter().find(|known| known.name() == name)?;
        (found != Self::LogDeliveryWrite || resource == AclResource::Bucket).then_some(found)
    }

    /// Its grants for a resource of `owner` in a bucket of `bucket_owner`.
    fn grants(self, owner: &str, bucket_owner: &str) -> Vec<Grant> {
        use AclPermission::{FullControl, Read, ReadAcp, Write};
        use GranteeGroup::{AllUsers, AuthenticatedUsers, LogDelivery};
        let mut grants = match self {
            Self::Private => Vec::new(),
            Self::PublicRead => vec![Grant::to_group(AllUsers, Read)],
            Self::PublicReadWrite => {
                vec![Grant::to_group(AllUsers, Read), Grant::to_group(AllUsers, Write)]
            }
            Self::AuthenticatedRead => vec![Grant::to_group(AuthenticatedUsers, Read)],
            // The owner has it anyway.
            Self::BucketOwnerRead | Self::BucketOwnerFullControl if owner == bucket_owner => {
                Vec::new()
            }
            Self::BucketOwnerRead => vec![Grant::to_user(bucket_owner, Read)],
            Self::BucketOwnerFullControl => vec![Grant::to_user(bucket_owner, FullControl)],
            Self::LogDeliveryWrite => {
                vec![Grant::to_group(LogDelivery, Write), Grant::to_group(LogDelivery, ReadAcp)]
            }
        };
        grants.push(Grant::to_user(owner, FullControl));
        grants
    }
}

/// The ACL that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestedAcl {
    /// A canned one.
    Canned(CannedAcl),
    /// These grants, and no others.
    Grants(Vec<Grant>),
}

impl RequestedAcl {
    /// The ACL for a resource of `owner` in a bucket of `bucket_owner`.
    pub fn resolve(self, owner: &str, bucket_owner: &str) -> AccessControlList {
        let grants = match self {
            Self::Canned(canned) => canned.grants(owner, bucket_owner),
            Self::Grants(grants) => grants,
        };
        AccessControlList { owner: owner.to_owned(), grants }
    }
}

/// The caller whose access is evaluated.
#[derive(Debug, Clone, Copy)]
pub struct AclCaller<'a> {
    /// Canonical ids of the caller: of the user and of its account. Empty for an anonymous caller.
    pub ids: &'a [&'a str],
    /// Whether grants to `AllUsers` and `AuthenticatedUsers` count.
    pub public_grants: bool,
}

impl AclCaller<'_> {
    /// Whether an id is one of the caller's.
    pub fn is(&self, id: &str) -> bool {
        self.ids.contains(&id)
    }

    fn is_in(&self, grantee: &Grantee) -> bool {
        match grantee {
            Grantee::User(id) => self.is(id),
            Grantee::Group(GranteeGroup::AllUsers) => self.public_grants,
            Grantee::Group(GranteeGroup::AuthenticatedUsers) => {
                self.public_grants && !self.ids.is_empty()
            }
            // The service itself, which is never a caller.
            Grantee::Group(GranteeGroup::LogDelivery) => false,
        }
    }
}

/// An access control list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessControlList {
    /// Canonical id of the owner, who may always read and change the ACL.
    pub owner: String,
    /// The grants.
    pub grants: Vec<Grant>,
}

impl AccessControlList {
    /// The ACL of a resource that was given none.
    pub fn private(owner: &str) -> Self {
        RequestedAcl::Canned(CannedAcl::Private).resolve(owner, owner)
    }

    /// Whether the caller has a permission.
    pub fn allows(&self, caller: AclCaller<'_>, permission: AclPermission) -> bool {
        use AclPermission::{FullControl, ReadAcp, WriteAcp};
        let owns = matches!(permission, ReadAcp | WriteAcp) && caller.is(&self.owner);
        owns || self.grants.iter().any(|grant| {
            let gives = grant.permission == permission || grant.permission == FullControl;
            gives && caller.is_in(&grant.grantee)
        })
    }

    /// Whether it gives access to callers whom the owner does not know.
    pub fn is_public(&self) -> bool {
        self.grants.iter().any(Grant::is_public)
    }

    /// Whether only the owner has access.
    pub fn is_private(&self) -> bool {
        let owners =
            |grant: &Grant| matches!(&grant.grantee, Grantee::User(id) if *id == self.owner);
        self.grants.iter().all(owners)
    }

    /// The grants, those to groups first, as S3's implementations list them.
    pub fn listed(&self) -> impl Iterator<Item = &Grant> {
        let is_group = |grant: &&Grant| matches!(grant.grantee, Grantee::Group(_));
        self.grants.iter().filter(is_group).chain(self.grants.iter().filter(move |g| !is_group(g)))
    }
}

impl fmt::Display for AclPermission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AclPermission::{FullControl, Read, ReadAcp, Write, WriteAcp};

    const ANONYMOUS: AclCaller<'_> = AclCaller { ids: &[], public_grants: true };

    fn user<'a>(ids: &'a [&'a str]) -> AclCaller<'a> {
        AclCaller { ids, public_grants: true }
    }

    /// The permissions that a caller has.
    fn permissions(acl: &AccessControlList, caller: AclCaller<'_>) -> Vec<AclPermission> {
        AclPermission::ALL.into_iter().filter(|one| acl.allows(caller, *one)).collect()
    }

    #[test]
    fn canned_acls_give_what_aws_documents() {
        let (owner, other) = (user(&["a:owner"]), user(&["b:other", "AUTH_b"]));
        let bucket_owner = user(&["c:bucket"]);
        let all = AclPermission::ALL.to_vec();
        let none = Vec::new;
        for (canned, anonymous, signed, bucket_owners) in [
            (CannedAcl::Private, none(), none(), none()),
            (CannedAcl::PublicRead, vec![Read], vec![Read], vec![Read]),
            (CannedAcl::PublicReadWrite, vec![Read, Write], vec![Read, Write], vec![Read, Write]),
            (CannedAcl::AuthenticatedRead, none(), vec![Read], vec![Read]),
            (CannedAcl::BucketOwnerRead, none(), none(), vec![Read]),
            (CannedAcl::BucketOwnerFullControl, none(), none(), all.clone()),
            (CannedAcl::LogDeliveryWrite, none(), none(), none()),
        ] {
            let acl = RequestedAcl::Canned(canned).resolve("a:owner", "c:bucket");
            assert_eq!(permissions(&acl, owner), all, "{canned:?}");
            assert_eq!(permissions(&acl, ANONYMOUS), anonymous, "{canned:?}");
            assert_eq!(permissions(&acl, other), signed, "{canned:?}");
            assert_eq!(permissions(&acl, bucket_owner), bucket_owners, "{canned:?}");
            // Public grants do not count.
            let ignoring = |ids| AclCaller { ids, public_grants: false };
            assert_eq!(permissions(&acl, ignoring(&["b:other"])), none(), "{canned:?}");
            assert_eq!(permissions(&acl, ignoring(&[])), none(), "{canned:?}");
            assert_eq!(permissions(&acl, ignoring(&["a:owner"])), all, "{canned:?}");
            let parse = |resource| CannedAcl::parse(canned.name(), resource);
            assert_eq!(parse(AclResource::Bucket), Some(canned));
            let of_objects = (canned != CannedAcl::LogDeliveryWrite).then_some(canned);
            assert_eq!(parse(AclResource::Object), of_objects);
        }
        assert_eq!(CannedAcl::parse("public-ready", AclResource::Bucket), None);
    }

    #[test]
    fn an_owner_always_reads_and_changes_the_acl() {
        let empty = AccessControlList { owner: "a:owner".to_owned(), grants: Vec::new() };
        assert_eq!(permissions(&empty, user(&["a:owner"])), [ReadAcp, WriteAcp]);
        assert_eq!(permissions(&empty, user(&["b:other"])), []);
        assert_eq!(permissions(&empty, ANONYMOUS), []);
    }

    #[test]
    fn each_permission_is_given_alone() {
        for permission in AclPermission::ALL {
            let grants = vec![Grant::to_user("AUTH_b", permission)];
            let acl = AccessControlList { owner: "a:owner".to_owned(), grants };
            let expected = match permission {
                FullControl => AclPermission::ALL.to_vec(),
                one => vec![one],
            };
            assert_eq!(permissions(&acl, user(&["b:u", "AUTH_b"])), expected);
            assert_eq!(permissions(&acl, user(&["b:u"])), []);
            assert_eq!(AclPermission::parse(permission.name()), Some(permission));
        }
        assert_eq!(AclPermission::parse("read"), None);
    }

    #[test]
    fn groups_are_listed_first_and_public_grants_are_known() {
        let grants = vec![
            Grant::to_user("a:owner", FullControl),
            Grant::to_group(GranteeGroup::AllUsers, Read),
        ];
        let acl = AccessControlList { owner: "a:owner".to_owned(), grants };
        let listed: Vec<_> = acl.listed().map(|grant| grant.permission).collect();
        assert_eq!(listed, [Read, FullControl]);
        assert!(acl.is_public() && !acl.is_private());
        assert!(AccessControlList::private("a:owner").is_private());
        let logs = RequestedAcl::Canned(CannedAcl::LogDeliveryWrite).resolve("a", "a");
        assert!(!logs.is_public() && !logs.is_private());
    }

    #[test]
    fn the_owner_of_the_bucket_is_not_granted_what_it_owns() {
        for canned in [CannedAcl::BucketOwnerRead, CannedAcl::BucketOwnerFullControl] {
            let acl = RequestedAcl::Canned(canned).resolve("a:owner", "a:owner");
            assert_eq!(acl, AccessControlList::private("a:owner"));
        }
    }
}
