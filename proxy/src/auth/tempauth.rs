//! Users from the configuration, and tokens that prove a sign-in.
//!
//! Tokens carry their user and expiry under an HMAC with the cluster's token key: every proxy can
//! check them, none needs a shared cache, and a restart forgets nobody.
//! Source of the rules: `swift/common/middleware/tempauth.py`.

use std::collections::BTreeMap;

use apus_cluster::{HashConf, percent};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use apus_store::access::Identity;

/// Seconds that a token is good for.
pub const TOKEN_LIFE_SECONDS: u64 = 86_400;

/// A user of the configuration.
#[derive(Clone)]
struct User {
    key: String,
    groups: Vec<String>,
    /// Storage URL path if the configuration names another one.
    account: String,
}

/// All users.
#[derive(Clone)]
pub struct TempAuth {
    users: BTreeMap<String, User>,
    reseller_prefix: String,
    token_key: Vec<u8>,
}

impl std::fmt::Debug for TempAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TempAuth").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

impl TempAuth {
    /// From the options of `[filter:tempauth]`: `user_<account>_<user> = <key> [group…] [url]`.
    ///
    /// Tokens are signed with `token_key`. A configuration of Swift has none: then the key comes
    /// from what all proxies of the cluster share and nobody else knows, the cluster's hash prefix
    /// and suffix and the users' keys.
    ///
    /// # Errors
    /// Text that names the option and what was expected.
    pub fn from_options<'a>(
        options: impl Iterator<Item = (&'a str, &'a str)>,
        hash: &HashConf,
    ) -> Result<Self, String> {
        let mut auth = Self {
            users: BTreeMap::new(),
            reseller_prefix: "AUTH_".to_owned(),
            token_key: Vec::new(),
        };
        let mut lines = Vec::new();
        for (option, value) in options {
            if let Some(name) = option.strip_prefix("user_") {
                lines.push((name, value));
            } else if option == "reseller_prefix" {
                let prefix = value.split(',').next().unwrap_or_default().trim();
                auth.reseller_prefix = prefix.trim_end_matches('_').to_owned();
                if !auth.reseller_prefix.is_empty() {
                    auth.reseller_prefix.push('_');
                }
            } else if option == "token_key" {
                if value.len() < 32 {
                    return Err(
                        "[filter:tempauth] token_key: expected at least 32 characters".to_owned()
                    );
                }
                auth.token_key = value.as_bytes().to_vec();
            }
        }
        if auth.token_key.is_empty() {
            auth.token_key = shared_key(hash, &lines);
        }
        for (name, value) in lines {
            let (account, user) = name.split_once('_').ok_or_else(|| {
                format!("[filter:tempauth] user_{name}: expected user_<account>_<user>")
            })?;
            let mut words = value.split_whitespace();
            let key = words.next().ok_or_else(|| {
                format!("[filter:tempauth] user_{name}: expected a key as its first word")
            })?;
            let account_name = format!("{}{account}", auth.reseller_prefix);
            let mut groups = vec![account.to_owned(), format!("{account}:{user}")];
            for group in words.filter(|word| !word.contains("://")) {
                groups.push(group.to_owned());
                if group == ".admin" {
                    groups.push(account_name.clone());
                }
            }
            let user_record = User { key: key.to_owned(), groups, account: account_name };
            auth.users.insert(format!("{account}:{user}"), user_record);
        }
        Ok(auth)
    }

    /// Prefix of the accounts that these users have.
    pub fn reseller_prefix(&self) -> &str {
        &self.reseller_prefix
    }

    fn identity(name: &str, user: &User) -> Identity {
        Identity { user: Some(name.to_owned()), groups: user.groups.clone(), referrer: None }
    }

    /// Checks a user's key; gives a token and the user's account.
    pub fn sign_in(&self, name: &str, key: &str, now_seconds: u64) -> Option<(String, String)> {
        let user = self.users.get(name);
        // The comparison costs the same whether or not there is such a user.
        let expected = user.map_or("", |user| user.key.as_str());
        let equal = bool::from(expected.as_bytes().ct_eq(key.as_bytes()));
        let user = user.filter(|_| equal)?;
        let expires = now_seconds + TOKEN_LIFE_SECONDS;
        let payload = format!("{expires:x}.{}", percent::encode_path(name));
        let token = format!("{}tk{payload}.{}", self.reseller_prefix, self.mac(&payload));
        Some((token, user.account.clone()))
    }

    fn mac(&self, payload: &str) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.token_key) else {
            return String::new();
        };
        mac.update(payload.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    /// Who a token belongs to, if it is ours and not expired.
    pub fn token(&self, token: &str, now_seconds: u64) -> Option<Identity> {
        let rest = token.strip_prefix(&self.reseller_prefix)?.strip_prefix("tk")?;
        let (payload, mac) = rest.rsplit_once('.')?;
        if !bool::from(self.mac(payload).as_bytes().ct_eq(mac.as_bytes())) {
            return None;
        }
        let (expires, name) = payload.split_once('.')?;
        if u64::from_str_radix(expires, 16).ok()? <= now_seconds {
            return None;
        }
        let name = percent::decode_utf8(name)?;
        Some(Self::identity(&name, self.users.get(&name)?))
    }

    /// The secret, identity and account of an S3 access key, which is `account:user`.
    pub fn s3_user(&self, access_key: &str) -> Option<(&str, Identity, &str)> {
        let user = self.users.get(access_key)?;
        Some((&user.key, Self::identity(access_key, user), &user.account))
    }
}

/// A key that every proxy with the same `swift.conf` and users makes.
fn shared_key(hash: &HashConf, users: &[(&str, &str)]) -> Vec<u8> {
    let secret = [hash.prefix.as_slice(), b"\0", &hash.suffix].concat();
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&secret) else { return Vec::new() };
    mac.update(b"tempauth token key");
    let mut users = users.to_vec();
    users.sort_unstable();
    for (name, value) in users {
        mac.update(format!("\n{name}={value}").as_bytes());
    }
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(suffix: &str) -> HashConf {
        HashConf { prefix: Vec::new(), suffix: suffix.into() }
    }

    #[test]
    fn proxies_of_one_cluster_know_each_others_tokens_and_nobody_elses() {
        let users = [("user_a_b", "key .admin"), ("user_c_d", "other")];
        let one = TempAuth::from_options(users.into_iter(), &hash("x")).unwrap();
        let two = TempAuth::from_options(users.into_iter().rev(), &hash("x")).unwrap();
        let foreign = TempAuth::from_options(users.into_iter(), &hash("y")).unwrap();
        let fewer = TempAuth::from_options(users.into_iter().take(1), &hash("x")).unwrap();
        let (token, _) = one.sign_in("a:b", "key", 1000).unwrap();
        assert!(two.token(&token, 1000).is_some());
        assert!(foreign.token(&token, 1000).is_none());
        assert!(fewer.token(&token, 1000).is_none());
    }

    fn auth() -> TempAuth {
        let options = [
            ("token_key", "0123456789abcdef0123456789abcdef"),
            ("user_test_tester", "testing .admin"),
            ("user_test_tester3", "testing3"),
        ];
        TempAuth::from_options(options.into_iter(), &hash("x")).unwrap()
    }

    #[test]
    fn a_token_tells_its_user_until_it_expires_or_is_changed() {
        let auth = auth();
        let (token, account) = auth.sign_in("test:tester", "testing", 1000).unwrap();
        assert_eq!(account, "AUTH_test");
        let identity = auth.token(&token, 1001).unwrap();
        assert!(identity.groups.contains(&"AUTH_test".to_owned()));
        assert_eq!(auth.token(&token, 1000 + TOKEN_LIFE_SECONDS), None);
        let other = token.replace("tester", "tester3");
        assert_eq!(auth.token(&other, 1001), None);
    }

    #[test]
    fn a_wrong_key_or_user_gets_nothing() {
        assert_eq!(auth().sign_in("test:tester", "nope", 1), None);
        assert_eq!(auth().sign_in("test:nobody", "", 1), None);
    }
}
