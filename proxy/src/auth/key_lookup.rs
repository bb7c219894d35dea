//! The user of an access key: one of the configuration, or one of the cluster's own.

use apus_identity::{AccessKeyId, SecretKey};
use apus_store::Result;
use apus_store::access::Identity;

use super::tempauth::TempAuth;
use crate::deps::ProxyDeps;

/// Users by their access keys, as the verification of signatures needs them.
pub(crate) trait KeyUsers: Sync {
    /// The secret, identity and account of an access key.
    fn s3_user(&self, access_key: &str) -> Option<(&str, Identity, &str)>;
}

impl KeyUsers for TempAuth {
    fn s3_user(&self, access_key: &str) -> Option<(&str, Identity, &str)> {
        Self::s3_user(self, access_key)
    }
}

/// The key that a request claims to be signed with, and its user, found before the signature is
/// verified.
#[derive(Debug, Default)]
pub(crate) struct ClaimedKey {
    access_key: String,
    user: Option<ClaimedUser>,
}

struct ClaimedUser {
    secret: SecretKey,
    identity: Identity,
    account: String,
}

impl std::fmt::Debug for ClaimedUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClaimedUser").field("account", &self.account).finish_non_exhaustive()
    }
}

impl ClaimedKey {
    /// Finds the user of a key. The cluster is asked only about keys that the configuration does not
    /// have and that it can have made.
    ///
    /// # Errors
    /// Those of the cluster.
    pub(crate) async fn find(deps: &ProxyDeps, access_key: &str) -> Result<Self> {
        let user = match deps.auth.s3_user(access_key) {
            Some((secret, identity, account)) => Some(ClaimedUser {
                secret: SecretKey::new(secret.to_owned()),
                identity,
                account: account.to_owned(),
            }),
            None => match AccessKeyId::parse(access_key) {
                Some(id) => {
                    let found = deps.identities.user_of(&id, deps.clock.now()).await?;
                    found.filter(|found| !deps.auth.has_user(&found.identity)).map(|found| {
                        ClaimedUser {
                            secret: found.secret,
                            identity: found.identity,
                            account: found.account.to_string(),
                        }
                    })
                }
                None => None,
            },
        };
        Ok(Self { access_key: access_key.to_owned(), user })
    }
}

impl KeyUsers for ClaimedKey {
    fn s3_user(&self, access_key: &str) -> Option<(&str, Identity, &str)> {
        // Another key than the one that was looked for is unknown.
        let user = self.user.as_ref().filter(|_| self.access_key == access_key)?;
        Some((user.secret.as_str(), user.identity.clone(), &user.account))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_that_was_looked_for_is_known() {
        let user = ClaimedUser {
            secret: SecretKey::new("s".to_owned()),
            identity: Identity::default(),
            account: "AUTH_a".to_owned(),
        };
        let key = ClaimedKey { access_key: "k".to_owned(), user: Some(user) };
        assert_eq!(key.s3_user("k").unwrap().0, "s");
        assert!(key.s3_user("other").is_none() && key.s3_user("").is_none());
        assert!(ClaimedKey::default().s3_user("").is_none());
        assert!(!format!("{key:?}").contains("secret"));
    }
}
