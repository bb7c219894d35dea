//! Names of users, groups and policies.
//!
//! The characters are those of IAM. Names differ in more than their case: their objects have the name
//! in lower case.

use std::fmt;

use apus_cluster::AccountName;

use crate::error::IdentityError;

macro_rules! identity_name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Checks a name.
            ///
            /// # Errors
            /// `Name`.
            pub fn parse(name: &str) -> Result<Self, IdentityError> {
                let is_allowed = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
                let refused =
                    || IdentityError::Name { kind: $kind, name: name.to_owned(), max: $max };
                match !name.is_empty() && name.len() <= $max && name.chars().all(is_allowed) {
                    true => Ok(Self(name.to_owned())),
                    false => Err(refused()),
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

identity_name! {
    /// Name of a user within an account.
    UserName, "user", 64
}
identity_name! {
    /// Name of a group within an account.
    GroupName, "group", 128
}
identity_name! {
    /// Name of a policy of a user or group.
    PolicyName, "policy", 128
}

/// An account that may have users.
pub(crate) fn check_account(account: &AccountName) -> Result<(), IdentityError> {
    let name = account.as_str();
    // The characters beyond these would be ambiguous in `account:user` and in paths.
    let is_plain = |c: char| !c.is_control() && !":,".contains(c);
    match account.is_internal() || !name.chars().all(is_plain) {
        true => Err(IdentityError::Account(name.to_owned())),
        false => Ok(()),
    }
}

macro_rules! in_account {
    ($(#[$doc:meta])* $name:ident, $part:ident: $kind:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name {
            /// The account.
            pub account: AccountName,
            /// The name within the account.
            pub $part: $kind,
        }

        impl $name {
            /// Puts both together.
            ///
            /// # Errors
            /// `Account` for an account that has no users.
            pub fn new(account: AccountName, $part: $kind) -> Result<Self, IdentityError> {
                check_account(&account)?;
                Ok(Self { account, $part })
            }

            /// Name of the object that has its stored form.
            pub(crate) fn object(&self) -> String {
                format!("{}/{}", self.account, self.$part.as_str().to_ascii_lowercase())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}:{}", self.account, self.$part)
            }
        }
    };
}

in_account! {
    /// A user of an account.
    AccountUser, user: UserName
}
in_account! {
    /// A group of an account.
    AccountGroup, group: GroupName
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_characters_of_iam() {
        for name in ["a", "Alice.B+c=d,e@f_g-h", &"x".repeat(64)] {
            assert_eq!(UserName::parse(name).unwrap().as_str(), name);
        }
        for name in ["", "a b", "a:b", "a/b", "ä", "a\0", "*", &"x".repeat(65)] {
            let error = UserName::parse(name).unwrap_err().to_string();
            assert!(error.contains("expected 1 to 64"), "{error}");
        }
        assert!(GroupName::parse(&"x".repeat(128)).is_ok());
    }

    #[test]
    fn names_that_differ_in_case_only_are_one_object() {
        let user = |name: &str| {
            let account = AccountName::parse("AUTH_Test").unwrap();
            AccountUser::new(account, UserName::parse(name).unwrap()).unwrap()
        };
        assert_eq!(user("Alice").object(), "AUTH_Test/alice");
        assert_eq!(user("Alice").object(), user("ALICE").object());
        assert_eq!(user("Alice").to_string(), "AUTH_Test:Alice");
    }

    #[test]
    fn internal_accounts_have_no_users() {
        for account in [".apus_iam", ".expiring_objects", "AUTH_a:b", "AUTH_a,b"] {
            let account = AccountName::parse(account).unwrap();
            let user = UserName::parse("u").unwrap();
            assert!(matches!(AccountUser::new(account, user), Err(IdentityError::Account(_))));
        }
    }
}
