//! Authorization of both dialects: policies first, then accounts and lists as in Swift's tempauth, then
//! ACLs of S3.
//!
//! What no rule allows is denied.

use apus_bucket::bucket_acls::BucketAcls;
use apus_bucket::ownership::ObjectOwnership;
use apus_cluster::AccountName;
use apus_store::access::{AccessRequest, Action, Authorizer, Decision, Identity, Lists, noted};

use super::account_acl::AccountAcl;
use super::acl::Acl;
use super::policy_rules::{self, PolicyAnswer};
use super::s3_acl;

/// The rules of authorization.
#[derive(Debug, Clone)]
pub struct Rules {
    reseller_prefix: String,
    /// The ownership of buckets that do not set it.
    ownership: ObjectOwnership,
}

impl Rules {
    /// For accounts with this prefix.
    pub fn new(reseller_prefix: &str) -> Self {
        let ownership = ObjectOwnership::default();
        Self { reseller_prefix: reseller_prefix.to_owned(), ownership }
    }

    /// The same rules with this ownership of buckets that do not set it.
    #[must_use]
    pub fn with_ownership(self, ownership: ObjectOwnership) -> Self {
        Self { ownership, ..self }
    }

    /// The ACLs of the bucket, if ACLs have an effect there.
    fn acls<'a>(&self, request: &AccessRequest<'a>) -> Option<&'a BucketAcls> {
        let acls = request.bucket?.acls.as_ref()?;
        acls.ownership(self.ownership).has_acls().then_some(acls)
    }
}

fn is_read(action: Action) -> bool {
    matches!(action, Action::ReadAccount | Action::ReadContainer | Action::ReadObject)
}

fn in_group(identity: &Identity, group: &str) -> bool {
    identity.groups.iter().any(|own| own == group)
}

impl Rules {
    /// Whether accounts of this name are ours to decide about.
    fn is_ours(&self, account: &AccountName) -> bool {
        let name = account.as_str();
        name.starts_with(&self.reseller_prefix)
            && name != self.reseller_prefix
            && !account.is_internal()
    }
}

/// The rights that a caller has in an account, whatever its containers allow.
fn rights_in_account(
    identity: &Identity,
    action: Action,
    account: &str,
    list: &str,
) -> Option<Decision> {
    if in_group(identity, ".reseller_admin") {
        return Some(Decision::Allow { owner: true });
    }
    if in_group(identity, ".reseller_reader") && is_read(action) {
        return Some(Decision::Allow { owner: false });
    }
    if in_group(identity, account) && action != Action::ManageAccount {
        return Some(Decision::Allow { owner: true });
    }
    if list.is_empty() {
        return None;
    }
    let acl = AccountAcl::stored(list);
    let listed = |list: &[String]| AccountAcl::names(list, &identity.groups);
    if listed(&acl.admin) && action != Action::ManageAccount {
        return Some(Decision::Allow { owner: true });
    }
    let on_account = matches!(action, Action::WriteAccount | Action::ManageAccount);
    if listed(&acl.read_write) && !on_account {
        return Some(Decision::Allow { owner: false });
    }
    (listed(&acl.read_only) && is_read(action)).then_some(Decision::Allow { owner: false })
}

/// Whether a container's access lists grant an action.
fn is_listed(identity: &Identity, action: Action, lists: &Lists) -> bool {
    let list = match action {
        Action::ReadContainer | Action::ReadObject => Acl::parse(&lists.read),
        Action::WriteObject => Acl::parse(&lists.write),
        Action::ReadAccount
        | Action::WriteAccount
        | Action::ManageAccount
        | Action::WriteContainer => return false,
    };
    let listing_allowed = action == Action::ReadObject || list.listings;
    (is_read(action) && listing_allowed && list.allows_referrer(identity.referrer.as_deref()))
        || list.groups.iter().any(|group| in_group(identity, group))
}

impl Authorizer for Rules {
    fn decide(&self, request: &AccessRequest<'_>) -> Decision {
        let AccessRequest { identity, target, lists, .. } = *request;
        if !self.is_ours(&target.account) {
            return Decision::Deny;
        }
        let action = Action::of(request.permission);
        let account = target.account.as_str();
        let acls = self.acls(request);
        let in_account = match &identity.grant {
            // A temporary URL opens this and nothing else.
            Some(grant) if grant.allows(action, target) => Some(Decision::Allow { owner: false }),
            Some(_) => Some(Decision::Deny),
            None => rights_in_account(identity, action, account, &lists.account),
        };
        let is_owner = in_account == Some(Decision::Allow { owner: true });
        let by_policy = policy_rules::answer(request, &self.reseller_prefix, is_owner);
        match (by_policy, in_account) {
            (PolicyAnswer::Deny, _) => Decision::Deny,
            (PolicyAnswer::NeedsObject { may_deny: true }, _) => Decision::NeedsObject,
            (_, Some(decision)) if identity.grant.is_some() => {
                noted::rule("temporary URL");
                decision
            }
            (PolicyAnswer::Allow, Some(decision)) => decision,
            (_, Some(decision)) => {
                let is_operator = in_group(identity, ".reseller_admin");
                let acls = acls.filter(|_| !is_operator);
                let withheld = acls.and_then(|acls| s3_acl::decide_for_account(request, acls));
                noted::rule(match withheld {
                    Some(_) => "ACL of the object",
                    None => "rights in the account",
                });
                withheld.unwrap_or(decision)
            }
            (PolicyAnswer::Allow, None) => Decision::Allow { owner: false },
            (_, None) if is_listed(identity, action, lists) => {
                noted::rule("access list of the container");
                Decision::Allow { owner: false }
            }
            (by_policy, None) => {
                match acls.map_or(Decision::Deny, |acls| s3_acl::decide(request, acls)) {
                    Decision::Deny if by_policy != PolicyAnswer::Silent => Decision::NeedsObject,
                    Decision::Deny => {
                        noted::rule("no rule allows it");
                        Decision::Deny
                    }
                    allowed => {
                        noted::rule("ACL");
                        allowed
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apus_cluster::ContainerName;
    use apus_policy::Permission;
    use apus_store::access::{ObjectFacts, Target};

    const ALLOW: Decision = Decision::Allow { owner: false };

    fn ask(
        rules: &Rules,
        identity: &Identity,
        permission: Permission,
        target: &Target,
        lists: &Lists,
    ) -> Decision {
        rules.decide(&AccessRequest {
            identity,
            permission,
            target,
            lists,
            bucket: None,
            object: ObjectFacts::Unread,
            facts: None,
        })
    }

    fn decide(groups: &[&str], permission: Permission, read: &str, write: &str) -> Decision {
        let identity = Identity {
            user: groups.first().map(|group| (*group).to_owned()),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..Identity::default()
        };
        let target = Target {
            container: Some(ContainerName::parse("c").unwrap()),
            ..Target::account(AccountName::parse("AUTH_test").unwrap())
        };
        let lists = Lists { read: read.into(), write: write.into(), account: String::new() };
        ask(&Rules::new("AUTH_"), &identity, permission, &target, &lists)
    }

    #[test]
    fn owners_have_all_rights_except_to_manage_accounts() {
        let owner = ["test", "test:tester", "AUTH_test"];
        assert_eq!(
            decide(&owner, Permission::PutBucketMetadata, "", ""),
            Decision::Allow { owner: true }
        );
        assert_eq!(decide(&owner, Permission::ManageAccount, "", ""), Decision::Deny);
    }

    #[test]
    fn lists_grant_exactly_the_rights_they_name() {
        let other = ["test2", "test2:tester2"];
        assert_eq!(decide(&other, Permission::GetObject, "", ""), Decision::Deny);
        assert_eq!(decide(&other, Permission::GetObject, "test2", ""), ALLOW);
        assert_eq!(decide(&other, Permission::PutObject, "test2", ""), Decision::Deny);
        assert_eq!(decide(&other, Permission::PutObject, "", "test2:tester2"), ALLOW);
        assert_eq!(decide(&other, Permission::PutBucketMetadata, "test2", "test2"), Decision::Deny);
        assert_eq!(decide(&[], Permission::GetObject, ".r:*", ""), ALLOW);
        assert_eq!(decide(&[], Permission::ListBucket, ".r:*", ""), Decision::Deny);
        assert_eq!(decide(&[], Permission::ListBucket, ".r:*,.rlistings", ""), ALLOW);
        assert_eq!(decide(&[], Permission::PutObject, ".r:*", ".r:*"), Decision::Deny);
    }

    #[test]
    fn words_of_administrators_grant_nothing_in_other_accounts() {
        let admin = ["test2", "test2:tester2", "AUTH_test2", ".admin"];
        for word in [".admin", "%2Eadmin", ".rlistings", ".r", "."] {
            for action in [Permission::GetObject, Permission::ListBucket, Permission::PutObject] {
                assert_eq!(decide(&admin, action, word, word), Decision::Deny, "{word} {action:?}");
            }
        }
        let reader = ["ops", "ops:reader", ".reseller_reader"];
        assert_eq!(decide(&reader, Permission::GetObject, "", ""), ALLOW);
        assert_eq!(decide(&reader, Permission::PutObject, "", ""), Decision::Deny);
    }

    #[test]
    fn a_list_of_an_account_grants_rights_to_its_users_and_groups() {
        let decide = |groups: &[&str], account: &str| {
            let identity = Identity {
                user: Some("x".to_owned()),
                groups: groups.iter().map(|group| (*group).to_owned()).collect(),
                ..Identity::default()
            };
            let target = Target::account(AccountName::parse("AUTH_test").unwrap());
            let lists = Lists { account: account.to_owned(), ..Lists::default() };
            let rules = Rules::new("AUTH_");
            ask(&rules, &identity, Permission::PutAccountMetadata, &target, &lists)
        };
        let admin = Decision::Allow { owner: true };
        assert_eq!(decide(&["test2", "test2:u"], r#"{"admin":["test2:u"]}"#), admin);
        assert_eq!(decide(&["test2", ".admin"], r#"{"admin":[".admin"]}"#), Decision::Deny);
        assert_eq!(decide(&["test2", "test2:u"], r#"[["test2:u"]]"#), Decision::Deny);
    }

    #[test]
    fn internal_accounts_are_denied_to_all() {
        let identity = Identity {
            user: Some("ops:admin".to_owned()),
            groups: vec![".reseller_admin".to_owned()],
            ..Identity::default()
        };
        let target = Target::account(AccountName::parse(".expiring_objects").unwrap());
        let (rules, lists) = (Rules::new(""), Lists::default());
        let decided = ask(&rules, &identity, Permission::ListAllMyBuckets, &target, &lists);
        assert_eq!(decided, Decision::Deny);
    }
}
