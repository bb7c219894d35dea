use std::sync::Arc;

use apus_bucket::public_access::PublicAccessBlock;
use apus_cluster::{AccountName, ContainerName, Metadata, ObjectName};
use apus_policy::{DocumentKind, IdentityPolicies, PolicyDocument};
use apus_store::access::{Authorizer, BucketAccess, Decision, Lists, RequestFacts, Target};

use super::*;
use crate::auth::authorize::Rules;

#[derive(Debug)]
struct Prefix(&'static str);

impl RequestFacts for Prefix {
    fn values(&self, key: &str) -> Vec<String> {
        if key == "s3:prefix" { vec![self.0.to_owned()] } else { Vec::new() }
    }
}

fn identity(user: &str, admin: bool) -> Identity {
    if user.is_empty() {
        return Identity::default();
    }
    let (account, _) = user.split_once(':').unwrap();
    let mut groups = vec![account.to_owned(), user.to_owned()];
    if admin {
        groups.push(format!("AUTH_{account}"));
    }
    Identity {
        user: Some(user.to_owned()),
        account: Some(AccountName::parse(&format!("AUTH_{account}")).unwrap()),
        groups,
        ..Identity::default()
    }
}

fn statement(effect: &str, principal: &str, action: &str, condition: &str) -> String {
    format!(
        r#"{{"Effect":"{effect}","Principal":{principal},"Action":"{action}",
        "Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"],"Condition":{{{condition}}}}}"#
    )
}

fn access(statements: &[String]) -> BucketAccess {
    let text = format!(r#"{{"Statement":[{}]}}"#, statements.join(","));
    let document = PolicyDocument::parse(&text, DocumentKind::Bucket { name: "b" }).unwrap();
    let policy = BucketPolicy { is_public: document.is_public(), document, binds_owner: false };
    BucketAccess { policy: BucketPolicyState::Set(Box::new(policy)), ..BucketAccess::default() }
}

fn decide(
    identity: &Identity,
    permission: Permission,
    access: &BucketAccess,
    object: ObjectFacts<'_>,
) -> Decision {
    let is_of_object = permission.scope() == apus_policy::PermissionScope::Object;
    let target = Target {
        container: Some(ContainerName::parse("b").unwrap()),
        object: is_of_object.then(|| ObjectName::parse("k").unwrap()),
        ..Target::account(AccountName::parse("AUTH_test").unwrap())
    };
    Rules::new("AUTH_").decide(&AccessRequest {
        identity,
        permission,
        target: &target,
        lists: &Lists { read: "test3:reader".to_owned(), ..Lists::default() },
        bucket: Some(access),
        object,
        facts: Some(&Prefix("public/x")),
    })
}

const OWNER: Decision = Decision::Allow { owner: true };
const ALLOW: Decision = Decision::Allow { owner: false };
const ALL: &str = "\"*\"";

#[test]
fn a_deny_binds_the_owner_and_those_on_lists() {
    let access = access(&[statement("Deny", ALL, "s3:GetObject", "")]);
    for (user, admin) in [("test:tester", true), ("test3:reader", false), ("", false)] {
        let identity = identity(user, admin);
        let denied = decide(&identity, Permission::GetObject, &access, ObjectFacts::Unread);
        assert_eq!(denied, Decision::Deny, "{user}");
    }
    let owner = identity("test:tester", true);
    assert_eq!(decide(&owner, Permission::PutObject, &access, ObjectFacts::Unread), OWNER);
}

#[test]
fn the_owner_can_correct_a_policy_that_denies_everything() {
    let mut access = access(&[statement("Deny", ALL, "s3:*", "")]);
    let owner = identity("test:tester", true);
    let ask = |access: &BucketAccess, identity: &Identity| {
        [Permission::GetBucketPolicy, Permission::PutBucketPolicy, Permission::DeleteBucketPolicy]
            .map(|permission| decide(identity, permission, access, ObjectFacts::Unread))
    };
    assert_eq!(ask(&access, &owner), [OWNER; 3]);
    assert_eq!(ask(&access, &identity("test:user", false)), [Decision::Deny; 3]);
    let BucketPolicyState::Set(policy) = &mut access.policy else { panic!() };
    policy.binds_owner = true;
    assert_eq!(ask(&access, &owner), [Decision::Deny; 3]);
    access.policy = BucketPolicyState::Damaged;
    assert_eq!(ask(&access, &owner), [OWNER; 3]);
    let denied = decide(&owner, Permission::GetObject, &access, ObjectFacts::Unread);
    assert_eq!(denied, Decision::Deny);
}

#[test]
fn an_allow_is_for_the_principals_it_names() {
    for (principal, user, expected) in [
        (ALL, "", ALLOW),
        (ALL, "test2:tester2", ALLOW),
        (r#"{"AWS":"test2"}"#, "test2:tester2", ALLOW),
        (r#"{"AWS":"AUTH_test2"}"#, "test2:tester2", ALLOW),
        (r#"{"AWS":"arn:aws:iam::test2:root"}"#, "test2:tester2", ALLOW),
        (r#"{"AWS":"arn:aws:iam::AUTH_test2:user/tester2"}"#, "test2:tester2", ALLOW),
        (r#"{"AWS":"arn:aws:iam::test2:user/test2:tester2"}"#, "test2:tester2", ALLOW),
        (r#"{"AWS":"arn:aws:iam::test2:user/tester2"}"#, "test3:tester2", Decision::Deny),
        (r#"{"AWS":"arn:aws:iam::test2:user/tester2"}"#, "", Decision::Deny),
        (r#"{"CanonicalUser":"test2:tester2"}"#, "test2:tester2", ALLOW),
        (r#"{"CanonicalUser":"AUTH_test2"}"#, "test2:tester2", ALLOW),
    ] {
        let access = access(&[statement("Allow", principal, "s3:GetObject", "")]);
        let identity = identity(user, false);
        let decided = decide(&identity, Permission::GetObject, &access, ObjectFacts::Unread);
        assert_eq!(decided, expected, "{principal} {user}");
        let other = decide(&identity, Permission::PutObject, &access, ObjectFacts::Unread);
        assert_eq!(other, Decision::Deny, "{principal} {user}");
    }
}

#[test]
fn tags_of_the_object_decide_once_it_was_read() {
    let condition = r#""StringEquals":{"s3:ExistingObjectTag/team":"x"}"#;
    let allowed = access(&[statement("Allow", ALL, "s3:GetObject", condition)]);
    let denied = access(&[statement("Deny", ALL, "s3:GetObject", condition)]);
    let tagged = |tags: &str| Metadata::from([(TAGGING.to_owned(), tags.to_owned())]);
    let (x, y) = (tagged("a=b&team=x"), tagged("team=y"));
    let (other, owner) = (identity("test2:u", false), identity("test:tester", true));
    for (identity, access, object, expected) in [
        (&other, &allowed, ObjectFacts::Unread, Decision::NeedsObject),
        (&other, &allowed, ObjectFacts::Present(&x), ALLOW),
        (&other, &allowed, ObjectFacts::Present(&y), Decision::Deny),
        (&other, &allowed, ObjectFacts::Absent, Decision::Deny),
        // The owner needs no grant, so the object is not read for it.
        (&owner, &allowed, ObjectFacts::Unread, OWNER),
        (&owner, &denied, ObjectFacts::Unread, Decision::NeedsObject),
        (&owner, &denied, ObjectFacts::Present(&x), Decision::Deny),
        (&owner, &denied, ObjectFacts::Absent, OWNER),
    ] {
        let decided = decide(identity, Permission::GetObject, access, object);
        assert_eq!(decided, expected, "{identity:?} {object:?}");
    }
}

#[test]
fn conditions_see_the_request_and_the_caller() {
    for (condition, expected) in [
        (r#""StringLike":{"s3:prefix":"public/*"}"#, ALLOW),
        (r#""StringLike":{"s3:prefix":"private/*"}"#, Decision::Deny),
        (r#""StringEquals":{"aws:username":"u"}"#, ALLOW),
        (r#""StringEquals":{"aws:userid":"test2:u"}"#, ALLOW),
        (r#""StringEquals":{"aws:PrincipalAccount":"test2"}"#, ALLOW),
        (r#""StringNotEquals":{"aws:PrincipalAccount":"AUTH_test2"}"#, Decision::Deny),
        (r#""ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::test2:user/*"}"#, ALLOW),
        (r#""StringEquals":{"s3:ResourceAccount":"test"}"#, ALLOW),
        (r#""Null":{"s3:delimiter":"true"}"#, ALLOW),
    ] {
        let access = access(&[statement("Allow", ALL, "s3:ListBucket", condition)]);
        let identity = identity("test2:u", false);
        let decided = decide(&identity, Permission::ListBucket, &access, ObjectFacts::Unread);
        assert_eq!(decided, expected, "{condition}");
    }
}

#[test]
fn a_restricted_public_policy_is_for_the_account_alone() {
    let mut access = access(&[statement("Allow", ALL, "s3:GetObject", "")]);
    access.public_access =
        PublicAccessBlock { restrict_public_buckets: true, ..PublicAccessBlock::default() };
    for (user, expected) in [("", Decision::Deny), ("test2:u", Decision::Deny), ("test:u", ALLOW)] {
        let identity = identity(user, false);
        let decided = decide(&identity, Permission::GetObject, &access, ObjectFacts::Unread);
        assert_eq!(decided, expected, "{user}");
    }
}

#[test]
fn no_policy_gives_other_accounts_the_policy_itself() {
    let access = access(&[statement("Allow", ALL, "s3:*", "")]);
    for (user, expected) in [("", Decision::Deny), ("test2:u", Decision::Deny), ("test:u", ALLOW)] {
        let identity = identity(user, false);
        let decided = decide(&identity, Permission::PutBucketPolicy, &access, ObjectFacts::Unread);
        assert_eq!(decided, expected, "{user}");
    }
}

#[test]
fn policies_of_the_caller_give_rights_and_take_them() {
    let document = |effect: &str, action: &str| {
        let text = format!(
            r#"{{"Statement":{{"Effect":"{effect}","Action":"{action}","Resource":"*"}}}}"#
        );
        Arc::new(PolicyDocument::parse(&text, DocumentKind::Identity).unwrap())
    };
    let with = |attached: Vec<Arc<PolicyDocument>>| {
        let policies = IdentityPolicies { attached, ..IdentityPolicies::default() };
        Identity { policies: Some(Arc::new(policies)), ..identity("test:u", false) }
    };
    let none = BucketAccess::default();
    let ask = |identity: &Identity, access: &BucketAccess| {
        decide(identity, Permission::GetObject, access, ObjectFacts::Unread)
    };
    assert_eq!(ask(&with(vec![]), &none), Decision::Deny);
    assert_eq!(ask(&with(vec![document("Allow", "s3:Get*")]), &none), ALLOW);
    let both = with(vec![document("Allow", "s3:*"), document("Deny", "s3:GetObject")]);
    assert_eq!(ask(&both, &none), Decision::Deny);
    let denied = access(&[statement("Deny", ALL, "s3:GetObject", "")]);
    assert_eq!(ask(&with(vec![document("Allow", "s3:*")]), &denied), Decision::Deny);
    let allowed = access(&[statement("Allow", ALL, "s3:GetObject", "")]);
    assert_eq!(ask(&with(vec![document("Deny", "s3:GetObject")]), &allowed), Decision::Deny);
}

#[test]
fn an_owner_is_exempt_from_the_policy_of_the_bucket_but_not_from_its_own() {
    let denied = access(&[statement("Deny", ALL, "s3:*", "")]);
    let text = r#"{"Statement":{"Effect":"Deny","Action":"s3:PutBucketPolicy","Resource":"*"}}"#;
    let document = Arc::new(PolicyDocument::parse(text, DocumentKind::Identity).unwrap());
    let policies =
        IdentityPolicies { is_administrator: true, attached: vec![document], ..Default::default() };
    let owner = Identity { policies: Some(Arc::new(policies)), ..identity("test:tester", true) };
    let damaged = BucketAccess { policy: BucketPolicyState::Damaged, ..BucketAccess::default() };
    for access in [&denied, &damaged, &BucketAccess::default()] {
        let ask = |permission| decide(&owner, permission, access, ObjectFacts::Unread);
        assert_eq!(ask(Permission::DeleteBucketPolicy), OWNER);
        assert_eq!(ask(Permission::PutBucketPolicy), Decision::Deny);
    }
}

#[test]
fn no_policy_gives_the_permissions_of_operators() {
    let text = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
    let document = Arc::new(PolicyDocument::parse(text, DocumentKind::Identity).unwrap());
    let policies = IdentityPolicies { attached: vec![document], ..IdentityPolicies::default() };
    let user = Identity { policies: Some(Arc::new(policies)), ..identity("test:u", false) };
    let ask = |permission| {
        let target = Target::account(AccountName::parse("AUTH_test").unwrap());
        Rules::new("AUTH_").decide(&AccessRequest {
            identity: &user,
            permission,
            target: &target,
            lists: &Lists::default(),
            bucket: None,
            object: ObjectFacts::Absent,
            facts: None,
        })
    };
    assert_eq!(ask(Permission::ManageAccount), Decision::Deny);
    assert_eq!(ask(Permission::PutAccountMetadata), ALLOW);
    assert_eq!(ask(Permission::ListAllMyBuckets), ALLOW);
}
