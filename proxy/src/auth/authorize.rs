//! Authorization as in Swift's tempauth, which denies everything unknown.

use apus_store::access::{Action, Authorizer, Decision, Identity, Lists, Target};

use super::account_acl::AccountAcl;
use super::acl::Acl;

/// The rules of authorization.
#[derive(Debug, Clone)]
pub struct Rules {
    reseller_prefix: String,
}

impl Rules {
    /// For accounts with this prefix.
    pub fn new(reseller_prefix: &str) -> Self {
        Self { reseller_prefix: reseller_prefix.to_owned() }
    }
}

fn is_read(action: Action) -> bool {
    matches!(action, Action::ReadAccount | Action::ReadContainer | Action::ReadObject)
}

impl Authorizer for Rules {
    fn decide(
        &self,
        identity: &Identity,
        action: Action,
        target: &Target,
        lists: &Lists,
    ) -> Decision {
        let account = target.account.as_str();
        let is_ours = account.starts_with(&self.reseller_prefix) && account != self.reseller_prefix;
        if !is_ours || target.account.is_internal() {
            return Decision::Deny;
        }
        let in_group = |group: &str| identity.groups.iter().any(|own| own == group);
        if in_group(".reseller_admin") {
            return Decision::Allow { owner: true };
        }
        if in_group(".reseller_reader") && is_read(action) {
            return Decision::Allow { owner: false };
        }
        if in_group(account) && action != Action::ManageAccount {
            return Decision::Allow { owner: true };
        }
        if !lists.account.is_empty() {
            let acl = AccountAcl::stored(&lists.account);
            let listed = |list: &[String]| AccountAcl::names(list, &identity.groups);
            if listed(&acl.admin) && action != Action::ManageAccount {
                return Decision::Allow { owner: true };
            }
            let on_account = matches!(action, Action::WriteAccount | Action::ManageAccount);
            if listed(&acl.read_write) && !on_account {
                return Decision::Allow { owner: false };
            }
            if listed(&acl.read_only) && is_read(action) {
                return Decision::Allow { owner: false };
            }
        }
        let list = match action {
            Action::ReadContainer | Action::ReadObject => Acl::parse(&lists.read),
            Action::WriteObject => Acl::parse(&lists.write),
            Action::ReadAccount
            | Action::WriteAccount
            | Action::ManageAccount
            | Action::WriteContainer => return Decision::Deny,
        };
        let listing_allowed = action == Action::ReadObject || list.listings;
        if is_read(action) && listing_allowed && list.allows_referrer(identity.referrer.as_deref())
        {
            return Decision::Allow { owner: false };
        }
        if list.groups.iter().any(|group| in_group(group)) {
            return Decision::Allow { owner: false };
        }
        Decision::Deny
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apus_cluster::{AccountName, ContainerName};

    fn decide(groups: &[&str], action: Action, read: &str, write: &str) -> Decision {
        let identity = Identity {
            user: groups.first().map(|group| (*group).to_owned()),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            referrer: None,
        };
        let target = Target {
            account: AccountName::parse("AUTH_test").unwrap(),
            container: Some(ContainerName::parse("c").unwrap()),
        };
        let lists = Lists { read: read.into(), write: write.into(), account: String::new() };
        Rules::new("AUTH_").decide(&identity, action, &target, &lists)
    }

    #[test]
    fn owners_have_all_rights_except_to_manage_accounts() {
        let owner = ["test", "test:tester", "AUTH_test"];
        assert_eq!(decide(&owner, Action::WriteContainer, "", ""), Decision::Allow { owner: true });
        assert_eq!(decide(&owner, Action::ManageAccount, "", ""), Decision::Deny);
    }

    #[test]
    fn lists_grant_exactly_the_rights_they_name() {
        let other = ["test2", "test2:tester2"];
        let allow = Decision::Allow { owner: false };
        assert_eq!(decide(&other, Action::ReadObject, "", ""), Decision::Deny);
        assert_eq!(decide(&other, Action::ReadObject, "test2", ""), allow);
        assert_eq!(decide(&other, Action::WriteObject, "test2", ""), Decision::Deny);
        assert_eq!(decide(&other, Action::WriteObject, "", "test2:tester2"), allow);
        assert_eq!(decide(&other, Action::WriteContainer, "test2", "test2"), Decision::Deny);
        assert_eq!(decide(&[], Action::ReadObject, ".r:*", ""), allow);
        assert_eq!(decide(&[], Action::ReadContainer, ".r:*", ""), Decision::Deny);
        assert_eq!(decide(&[], Action::ReadContainer, ".r:*,.rlistings", ""), allow);
        assert_eq!(decide(&[], Action::WriteObject, ".r:*", ".r:*"), Decision::Deny);
    }

    #[test]
    fn words_of_administrators_grant_nothing_in_other_accounts() {
        let admin = ["test2", "test2:tester2", "AUTH_test2", ".admin"];
        for word in [".admin", "%2Eadmin", ".rlistings", ".r", "."] {
            for action in [Action::ReadObject, Action::ReadContainer, Action::WriteObject] {
                assert_eq!(decide(&admin, action, word, word), Decision::Deny, "{word} {action:?}");
            }
        }
        let reader = ["ops", "ops:reader", ".reseller_reader"];
        let allow = Decision::Allow { owner: false };
        assert_eq!(decide(&reader, Action::ReadObject, "", ""), allow);
        assert_eq!(decide(&reader, Action::WriteObject, "", ""), Decision::Deny);
    }

    #[test]
    fn a_list_of_an_account_grants_rights_to_its_users_and_groups() {
        let decide = |groups: &[&str], account: &str| {
            let identity = Identity {
                user: Some("x".to_owned()),
                groups: groups.iter().map(|group| (*group).to_owned()).collect(),
                referrer: None,
            };
            let target =
                Target { account: AccountName::parse("AUTH_test").unwrap(), container: None };
            let lists = Lists { account: account.to_owned(), ..Lists::default() };
            Rules::new("AUTH_").decide(&identity, Action::WriteAccount, &target, &lists)
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
            referrer: None,
        };
        let account = AccountName::parse(".expiring_objects").unwrap();
        let target = Target { account, container: None };
        let decided =
            Rules::new("").decide(&identity, Action::ReadAccount, &target, &Lists::default());
        assert_eq!(decided, Decision::Deny);
    }
}
