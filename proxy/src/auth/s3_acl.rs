//! What ACLs of S3 allow.
//!
//! Source: "Mapping of ACL permissions and access policy permissions" in AWS's documentation.

use apus_bucket::acl::AclPermission;
use apus_bucket::bucket_acls::BucketAcls;
use apus_policy::Permission;
use apus_store::access::{AccessRequest, Decision, ObjectFacts};
use apus_store::settings::acl_of;

/// The ACL that decides about a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DecidingAcl {
    /// The bucket's.
    Bucket(AclPermission),
    /// The object's.
    Object(AclPermission),
}

/// The ACL that may give a permission; `None` for what ACLs never give.
fn deciding(permission: Permission) -> Option<DecidingAcl> {
    use DecidingAcl::{Bucket, Object};
    use Permission as P;
    Some(match permission {
        P::ListBucket | P::ListBucketVersions | P::ListBucketMultipartUploads => {
            Bucket(AclPermission::Read)
        }
        P::PutObject | P::DeleteObject | P::AbortMultipartUpload | P::ListMultipartUploadParts => {
            Bucket(AclPermission::Write)
        }
        P::GetBucketAcl => Bucket(AclPermission::ReadAcp),
        P::PutBucketAcl => Bucket(AclPermission::WriteAcp),
        P::GetObject | P::GetObjectVersion => Object(AclPermission::Read),
        P::GetObjectAcl | P::GetObjectVersionAcl => Object(AclPermission::ReadAcp),
        P::PutObjectAcl | P::PutObjectVersionAcl => Object(AclPermission::WriteAcp),
        _ => return None,
    })
}

/// The canonical ids of the caller.
fn ids<'a>(request: &AccessRequest<'a>) -> Vec<&'a str> {
    let identity = request.identity;
    let account = identity.account.as_ref().map(|account| account.as_str());
    identity.user.as_deref().into_iter().chain(account).collect()
}

fn decision(allowed: bool) -> Decision {
    if allowed { Decision::Allow { owner: false } } else { Decision::Deny }
}

/// What the ACLs of a bucket and its object allow to a caller who has no other right. Ownership must
/// let ACLs have an effect.
pub(super) fn decide(request: &AccessRequest<'_>, rules: &BucketAcls) -> Decision {
    let ids = ids(request);
    let caller = rules.caller(&ids);
    let bucket_allows =
        |permission| rules.acl.as_ref().is_some_and(|acl| acl.allows(caller, permission));
    match deciding(request.permission) {
        None => Decision::Deny,
        Some(DecidingAcl::Bucket(permission)) => decision(bucket_allows(permission)),
        Some(DecidingAcl::Object(permission)) => match request.object {
            ObjectFacts::Unread => Decision::NeedsObject,
            // That an object does not exist is reported to callers who may list the bucket.
            ObjectFacts::Absent => decision(bucket_allows(AclPermission::Read)),
            ObjectFacts::Present(metadata) => {
                // An object without an ACL, and one whose ACL is damaged, are the bucket owner's.
                let acl = acl_of(metadata).ok().flatten();
                decision(acl.is_some_and(|acl| acl.allows(caller, permission)))
            }
        },
    }
}

/// The decision about the ACL of an object for a user of the bucket's account, who has all other
/// rights: it belongs to the object's owner. `None` for what is not about one.
pub(super) fn decide_for_account(
    request: &AccessRequest<'_>,
    rules: &BucketAcls,
) -> Option<Decision> {
    let Some(DecidingAcl::Object(permission)) = deciding(request.permission) else { return None };
    if permission == AclPermission::Read {
        return None;
    }
    match request.object {
        ObjectFacts::Unread => Some(Decision::NeedsObject),
        ObjectFacts::Absent => None,
        ObjectFacts::Present(metadata) => {
            let mut ids = ids(request);
            ids.extend(rules.acl.as_ref().map(|acl| acl.owner.as_str()));
            let caller = rules.caller(&ids);
            // The ids include the bucket's owner, who always has the rights of an owner.
            let acl = acl_of(metadata).ok().flatten()?;
            (!acl.allows(caller, permission)).then_some(Decision::Deny)
        }
    }
}

#[cfg(test)]
mod tests {
    use apus_bucket::acl::{AccessControlList, CannedAcl, Grant, RequestedAcl};
    use apus_cluster::{AccountName, ContainerName, Metadata, ObjectName};
    use apus_store::access::{Identity, Lists, Target};

    use super::*;

    const ALLOW: Decision = Decision::Allow { owner: false };

    fn identity(user: &str) -> Identity {
        let account = user.split(':').next().map(|name| format!("AUTH_{name}"));
        Identity {
            user: Some(user.to_owned()),
            account: account.and_then(|name| AccountName::parse(&name).ok()),
            ..Identity::default()
        }
    }

    fn target() -> Target {
        Target {
            container: Some(ContainerName::parse("b").unwrap()),
            object: Some(ObjectName::parse("k").unwrap()),
            ..Target::account(AccountName::parse("AUTH_a").unwrap())
        }
    }

    fn ask(
        who: &Identity,
        permission: Permission,
        object: ObjectFacts<'_>,
        decide: impl Fn(&AccessRequest<'_>) -> Decision,
    ) -> Decision {
        let (target, lists) = (target(), Lists::default());
        decide(&AccessRequest {
            identity: who,
            permission,
            target: &target,
            lists: &lists,
            bucket: None,
            object,
            facts: None,
        })
    }

    fn rules(canned: CannedAcl) -> BucketAcls {
        let acl = RequestedAcl::Canned(canned).resolve("a:owner", "a:owner");
        BucketAcls { acl: Some(acl), ..BucketAcls::default() }
    }

    fn object(acl: &AccessControlList) -> Metadata {
        Metadata::from([(apus_bucket::acl::OBJECT_ACL.to_owned(), acl.to_stored().unwrap())])
    }

    #[test]
    fn acls_of_buckets_give_listings_and_writes() {
        let (other, anonymous) = (identity("b:u"), Identity::default());
        for (canned, permission, signed, unsigned) in [
            (CannedAcl::Private, Permission::ListBucket, false, false),
            (CannedAcl::PublicRead, Permission::ListBucket, true, true),
            (CannedAcl::PublicRead, Permission::ListBucketVersions, true, true),
            (CannedAcl::PublicRead, Permission::PutObject, false, false),
            (CannedAcl::PublicReadWrite, Permission::PutObject, true, true),
            (CannedAcl::PublicReadWrite, Permission::DeleteObject, true, true),
            (CannedAcl::PublicReadWrite, Permission::DeleteObjectVersion, false, false),
            (CannedAcl::PublicReadWrite, Permission::GetBucketAcl, false, false),
            (CannedAcl::PublicReadWrite, Permission::PutBucketPolicy, false, false),
            (CannedAcl::PublicReadWrite, Permission::DeleteBucket, false, false),
            (CannedAcl::AuthenticatedRead, Permission::ListBucket, true, false),
        ] {
            let rules = rules(canned);
            let of = |who| ask(who, permission, ObjectFacts::Unread, |asked| decide(asked, &rules));
            let expected = (decision(signed), decision(unsigned));
            assert_eq!((of(&other), of(&anonymous)), expected, "{canned:?} {permission:?}");
            let mut ignoring = rules.clone();
            ignoring.block.ignore_public_acls = true;
            let of =
                |who| ask(who, permission, ObjectFacts::Unread, |asked| decide(asked, &ignoring));
            assert_eq!(of(&other), Decision::Deny, "{canned:?} {permission:?}");
        }
    }

    #[test]
    fn acls_of_objects_decide_about_reads() {
        let (other, anonymous) = (identity("b:u"), Identity::default());
        let rules = rules(CannedAcl::Private);
        let of = |who: &Identity, permission, facts: ObjectFacts<'_>| {
            ask(who, permission, facts, |asked| decide(asked, &rules))
        };
        let read = Permission::GetObject;
        assert_eq!(of(&anonymous, read, ObjectFacts::Unread), Decision::NeedsObject);
        let public = RequestedAcl::Canned(CannedAcl::PublicRead).resolve("a:owner", "a:owner");
        let public = object(&public);
        let present = ObjectFacts::Present(&public);
        assert_eq!(of(&anonymous, read, present), ALLOW);
        assert_eq!(of(&anonymous, Permission::GetObjectVersion, present), ALLOW);
        assert_eq!(of(&other, Permission::GetObjectAcl, present), Decision::Deny);
        assert_eq!(of(&other, Permission::GetObjectTagging, present), Decision::Deny);
        let plain = Metadata::new();
        assert_eq!(of(&other, read, ObjectFacts::Present(&plain)), Decision::Deny);
        let damaged = Metadata::from([(apus_bucket::acl::OBJECT_ACL.to_owned(), "{".to_owned())]);
        assert_eq!(of(&other, read, ObjectFacts::Present(&damaged)), Decision::Deny);
        // An account is granted what its users then have.
        let grants = vec![Grant::to_user("AUTH_b", AclPermission::FullControl)];
        let granted = object(&AccessControlList { owner: "a:owner".to_owned(), grants });
        let present = ObjectFacts::Present(&granted);
        assert_eq!(of(&other, read, present), ALLOW);
        assert_eq!(of(&other, Permission::PutObjectAcl, present), ALLOW);
        assert_eq!(of(&identity("c:u"), read, present), Decision::Deny);
    }

    #[test]
    fn that_an_object_does_not_exist_is_reported_to_those_who_may_list() {
        let anonymous = Identity::default();
        for (canned, expected) in [
            (CannedAcl::PublicRead, ALLOW),
            (CannedAcl::Private, Decision::Deny),
            (CannedAcl::AuthenticatedRead, Decision::Deny),
        ] {
            let rules = rules(canned);
            let asked = |asked: &AccessRequest<'_>| decide(asked, &rules);
            let found = ask(&anonymous, Permission::GetObject, ObjectFacts::Absent, asked);
            assert_eq!(found, expected, "{canned:?}");
        }
    }

    #[test]
    fn the_acl_of_another_owners_object_is_not_the_buckets() {
        let rules = rules(CannedAcl::PublicReadWrite);
        let of = |permission, facts: ObjectFacts<'_>| {
            let asked = |asked: &AccessRequest<'_>| {
                decide_for_account(asked, &rules).unwrap_or(Decision::Allow { owner: true })
            };
            ask(&identity("a:admin"), permission, facts, asked)
        };
        let allow = Decision::Allow { owner: true };
        let private = object(&AccessControlList::private("b:writer"));
        assert_eq!(of(Permission::GetObjectAcl, ObjectFacts::Unread), Decision::NeedsObject);
        assert_eq!(of(Permission::GetObjectAcl, ObjectFacts::Present(&private)), Decision::Deny);
        assert_eq!(of(Permission::PutObjectAcl, ObjectFacts::Present(&private)), Decision::Deny);
        assert_eq!(of(Permission::GetObject, ObjectFacts::Present(&private)), allow);
        assert_eq!(of(Permission::DeleteObject, ObjectFacts::Present(&private)), allow);
        let shared = RequestedAcl::Canned(CannedAcl::BucketOwnerFullControl);
        let shared = object(&shared.resolve("b:writer", "a:owner"));
        assert_eq!(of(Permission::GetObjectAcl, ObjectFacts::Present(&shared)), allow);
        let read = vec![Grant::to_user("a:owner", AclPermission::ReadAcp)];
        let read = object(&AccessControlList { owner: "b:writer".to_owned(), grants: read });
        assert_eq!(of(Permission::GetObjectAcl, ObjectFacts::Present(&read)), allow);
        assert_eq!(of(Permission::PutObjectAcl, ObjectFacts::Present(&read)), Decision::Deny);
        let own = object(&AccessControlList { owner: "a:owner".to_owned(), grants: Vec::new() });
        assert_eq!(of(Permission::PutObjectAcl, ObjectFacts::Present(&own)), allow);
        assert_eq!(of(Permission::PutObjectAcl, ObjectFacts::Present(&Metadata::new())), allow);
        assert_eq!(of(Permission::PutObjectAcl, ObjectFacts::Absent), allow);
    }
}
