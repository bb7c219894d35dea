//! Users from the configuration, and tokens that prove a sign-in.
//!
//! A token contains its user and expiry, authenticated by an HMAC with the cluster's token key: every
//! proxy can verify it without a shared cache, and it survives a restart.
//! Source of the rules: `swift/common/middleware/tempauth.py`.

use std::collections::BTreeMap;
use std::sync::Arc;

use apus_cluster::{AccountName, HashConf, percent};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use apus_options::{OptionDeclaration, OptionSource, choice, family, options, text, whole};
use apus_store::access::Identity;

use super::acl::is_group;
use super::failed_sign_ins::{FailedSignIns, PER_MINUTE};

/// Shortest key of tokens, in bytes.
const TOKEN_KEY_BYTES_MIN: usize = 32;
/// Lifetime of a token in seconds.
pub const TOKEN_LIFE_SECONDS: u64 = 86_400;

/// A user of the configuration.
#[derive(Clone)]
struct User {
    key: String,
    groups: Vec<String>,
    account: String,
    /// URL of the account, with `$HOST` for this cluster.
    url: String,
}

/// The token and URL of a user who has signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    /// Proves the sign-in for [`TOKEN_LIFE_SECONDS`].
    pub token: String,
    /// URL of the user's account.
    pub storage_url: String,
}

/// The users of the configuration, and the key of their tokens.
#[derive(Clone)]
pub struct TempAuth {
    users: BTreeMap<String, User>,
    reseller_prefix: String,
    token_key: Vec<u8>,
    /// Scheme that replaces the one of storage URLs.
    storage_url_scheme: Option<String>,
    /// The failures of the last minute.
    pub failed: Arc<FailedSignIns>,
}

impl std::fmt::Debug for TempAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TempAuth").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

/// An option of `[filter:tempauth]` with an invalid value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTempAuth {
    /// The value is not one of those expected.
    #[error("[filter:tempauth] {option} = {value:?}: expected {expected}")]
    Value {
        /// Name of the option.
        option: String,
        /// Its value.
        value: String,
        /// The values that are valid.
        expected: String,
    },
    /// The same for an option whose value is a secret.
    #[error("[filter:tempauth] {option}: expected {expected}")]
    Secret {
        /// Name of the option.
        option: String,
        /// The values that are valid.
        expected: String,
    },
}

options! {
    /// Options of `[filter:tempauth]`, with Swift's names.
    #[derive(Debug)]
    pub struct TempAuthOptions {
        /// Prefix of the accounts of these users. Of several prefixes the first counts.
        reseller_prefix: String = text("AUTH", "prefixes between commas"),
        /// Key that signs tokens, the same on all proxies: at least 32 characters.
        token_key: Option<String> = text("", "at least 32 characters")
            .checked(is_token_key)
            .unset("derived from the hash prefix and suffix and the users' keys")
            .secret(),
        /// Scheme of storage URLs.
        storage_url_scheme: String = choice("default", &["default", "http", "https"]),
        /// Failed sign-ins of a user in a minute, after which more are refused; 0 is unlimited.
        failed_sign_ins_per_minute: u32 = whole(PER_MINUTE as u64).to(u32::MAX as u64),
    }
}

/// The options with names of users in their names.
pub const USERS: &[OptionDeclaration] = &[
    family(
        "user_<account>_<user>",
        text("", "a key as its first word").checked(is_user).unset("none").secret(),
        "A user: its key, its groups separated by blanks, and perhaps the URL of its account.",
    ),
    family(
        "user64_<account>_<user>",
        text("", "a key as its first word").checked(is_user).unset("none").secret(),
        "The same with both names in base64.",
    ),
];

fn is_token_key(text: &str) -> bool {
    text.len() >= TOKEN_KEY_BYTES_MIN
}

fn is_user(text: &str) -> bool {
    text.split_whitespace().next().is_some()
}

/// The given options, as they are read.
struct GivenTempAuth<'a>(&'a [(&'a str, &'a str)]);

impl OptionSource for GivenTempAuth<'_> {
    type Error = InvalidTempAuth;

    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn refuse(&self, name: &str, value: &str, expected: &str) -> InvalidTempAuth {
        let (option, expected) = (name.to_owned(), expected.to_owned());
        InvalidTempAuth::Value { option, value: value.to_owned(), expected }
    }

    fn refuse_declared(&self, declaration: &OptionDeclaration, value: &str) -> InvalidTempAuth {
        let expected = declaration.expected();
        match declaration.is_secret {
            true => InvalidTempAuth::Secret { option: declaration.name.to_owned(), expected },
            false => self.refuse(declaration.name, value, &expected),
        }
    }
}

impl TempAuth {
    /// Parses the options of `[filter:tempauth]`: `user_<account>_<user> = <key> [group…] [url]`, the
    /// same with `user64_` and both names in base64, and those of Swift's manual.
    ///
    /// Tokens are signed with `token_key`. A configuration of Swift does not have it: then the key is
    /// derived from secrets that all proxies of the cluster share, the hash prefix and suffix and the
    /// users' keys.
    ///
    /// # Errors
    /// For an option with an invalid value.
    pub fn from_options<'a>(
        options: impl Iterator<Item = (&'a str, &'a str)>,
        hash: &HashConf,
    ) -> Result<Self, InvalidTempAuth> {
        let options: Vec<(&str, &str)> = options.collect();
        let given = TempAuthOptions::read(&GivenTempAuth(&options))?;
        let prefix = given.reseller_prefix.split(',').next().unwrap_or_default().trim();
        let mut reseller_prefix = prefix.trim_end_matches('_').to_owned();
        if !reseller_prefix.is_empty() {
            reseller_prefix.push('_');
        }
        let scheme = given.storage_url_scheme;
        let mut auth = Self {
            users: BTreeMap::new(),
            reseller_prefix,
            token_key: given.token_key.unwrap_or_default().into_bytes(),
            storage_url_scheme: (scheme != "default").then_some(scheme),
            failed: Arc::new(FailedSignIns::new(given.failed_sign_ins_per_minute)),
        };
        let is_user = |(name, _): &(&str, &str)| USERS.iter().any(|known| known.is_named(name));
        let lines: Vec<_> = options.into_iter().filter(is_user).collect();
        if auth.token_key.is_empty() {
            auth.token_key = shared_key(hash, &lines);
        }
        for (option, value) in lines {
            let (name, user) = auth.user(option, value)?;
            auth.users.insert(name, user);
        }
        Ok(auth)
    }

    /// The user of one option.
    fn user(&self, option: &str, value: &str) -> Result<(String, User), InvalidTempAuth> {
        let refused = |expected: &str| InvalidTempAuth::Secret {
            option: option.to_owned(),
            expected: expected.to_owned(),
        };
        let names = || refused("user_<account>_<user>, or user64_ with both names in base64");
        let (account, user) = user_names(option).ok_or_else(names)?;
        if account.is_empty() || user.is_empty() {
            return Err(names());
        }
        if account.starts_with('.') || account.contains(['/', ':', '\0']) {
            return Err(refused("an account without a dot before it and without : and /"));
        }
        let mut words: Vec<&str> = value.split_whitespace().collect();
        if words.is_empty() {
            return Err(refused("a key as its first word"));
        }
        let key = words.remove(0);
        let own_url = words.pop_if(|last| last.contains("://") || last.contains("$HOST"));
        let prefixed = format!("{}{account}", self.reseller_prefix);
        let url = own_url.map_or_else(
            || format!("$HOST/v1/{}", percent::encode_path(&prefixed)),
            |url| url.trim_end_matches('/').to_owned(),
        );
        let path = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let last = path.rsplit_once('/').and_then(|(_, last)| percent::decode_utf8(last));
        let own_account = last.filter(|name| AccountName::parse(name).is_ok());
        let own_account = own_account.ok_or_else(|| refused("a URL that ends in an account"))?;
        let name = format!("{account}:{user}");
        // A word that begins with a dot is a right, and not a group that a list could name.
        let mut groups = vec![account, name.clone()];
        groups.extend(words.iter().filter(|word| is_group(word)).map(|word| (*word).to_owned()));
        if words.contains(&".admin") {
            groups.push(prefixed);
            if !groups.contains(&own_account) {
                groups.push(own_account.clone());
            }
        }
        Ok((name, User { key: key.to_owned(), groups, account: own_account, url }))
    }

    /// Prefix of the accounts that these users have.
    pub fn reseller_prefix(&self) -> &str {
        &self.reseller_prefix
    }

    fn identity(name: &str, user: &User) -> Identity {
        Identity {
            user: Some(name.to_owned()),
            account: AccountName::parse(&user.account).ok(),
            groups: user.groups.clone(),
            ..Identity::default()
        }
    }

    /// Verifies a user's key. `base` is the cluster's URL, such as `http://127.0.0.1:8080`.
    pub fn sign_in(&self, name: &str, key: &str, base: &str, now_seconds: u64) -> Option<SignIn> {
        let user = self.users.get(name);
        // The comparison takes the same time whether or not the user exists.
        let expected = user.map_or("", |user| user.key.as_str());
        let equal = bool::from(expected.as_bytes().ct_eq(key.as_bytes()));
        let user = user.filter(|_| equal)?;
        let token = self.issue(name, now_seconds);
        Some(SignIn { token, storage_url: self.storage_url(&user.url, base) })
    }

    /// The sign-in of a user of the cluster, who has proved to have the secret of an access key.
    pub(crate) fn sign_in_of_key(
        &self,
        access_key: &str,
        account: &str,
        base: &str,
        now_seconds: u64,
    ) -> SignIn {
        let url = format!("$HOST/v1/{}", percent::encode_path(account));
        let token = self.issue(access_key, now_seconds);
        SignIn { token, storage_url: self.storage_url(&url, base) }
    }

    /// A token for a user of the configuration or an access key.
    fn issue(&self, subject: &str, now_seconds: u64) -> String {
        let expires = now_seconds + TOKEN_LIFE_SECONDS;
        let payload = format!("{expires:x}.{}", percent::encode_path(subject));
        format!("{}tk{payload}.{}", self.reseller_prefix, self.mac(&payload))
    }

    /// Source: `handle_get_token` in `swift/common/middleware/tempauth.py`.
    fn storage_url(&self, url: &str, base: &str) -> String {
        let url = url.replace("$HOST", base);
        match (&self.storage_url_scheme, url.split_once(':')) {
            (Some(scheme), Some((_, rest))) => format!("{scheme}:{rest}"),
            _ => url,
        }
    }

    fn mac(&self, payload: &str) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.token_key) else {
            return String::new();
        };
        mac.update(payload.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    /// The subject of a token that is valid and has not expired: a user of the configuration, or an
    /// access key.
    pub(crate) fn subject(&self, token: &str, now_seconds: u64) -> Option<String> {
        let rest = token.strip_prefix(&self.reseller_prefix)?.strip_prefix("tk")?;
        let (payload, mac) = rest.rsplit_once('.')?;
        if !bool::from(self.mac(payload).as_bytes().ct_eq(mac.as_bytes())) {
            return None;
        }
        let (expires, name) = payload.split_once('.')?;
        if u64::from_str_radix(expires, 16).ok()? <= now_seconds {
            return None;
        }
        percent::decode_utf8(name)
    }

    /// The identity of a user of the configuration.
    pub(crate) fn identity_of(&self, name: &str) -> Option<Identity> {
        Some(Self::identity(name, self.users.get(name)?))
    }

    /// The identity that a token of a user of the configuration proves.
    pub fn token(&self, token: &str, now_seconds: u64) -> Option<Identity> {
        self.identity_of(&self.subject(token, now_seconds)?)
    }

    /// Whether the configuration has a user of this name.
    pub fn has_name(&self, name: &str) -> bool {
        self.users.contains_key(name)
    }

    /// Whether the configuration has a user with the name of another one, whose rights it would share.
    pub(crate) fn has_user(&self, other: &Identity) -> bool {
        other.user.as_ref().is_some_and(|name| self.has_name(name))
    }

    /// The secret, identity and account of an S3 access key, which is `account:user`.
    pub fn s3_user(&self, access_key: &str) -> Option<(&str, Identity, &str)> {
        let user = self.users.get(access_key)?;
        Some((&user.key, Self::identity(access_key, user), &user.account))
    }
}

/// A name in base64, which an option's name can have without its padding.
/// The account and the user that an option of [`USERS`] names, in either of its spellings.
pub fn user_names(option: &str) -> Option<(String, String)> {
    let (kind, rest) = option.split_once('_')?;
    let (account, user) = rest.split_once('_')?;
    match kind {
        "user64" => Some((decoded(account)?, decoded(user)?)),
        "user" => Some((account.to_owned(), user.to_owned())),
        _ => None,
    }
}

fn decoded(word: &str) -> Option<String> {
    let bytes = STANDARD_NO_PAD.decode(word.trim_end_matches('=')).ok()?;
    String::from_utf8(bytes).ok()
}

/// The key that every proxy with the same `swift.conf` and users derives.
fn shared_key(hash: &HashConf, users: &[(&str, &str)]) -> Vec<u8> {
    let secret = [hash.prefix.as_slice(), b"\0", &hash.suffix].concat();
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&secret) else { return Vec::new() };
    mac.update(b"tempauth token key");
    let mut users = users.to_vec();
    users.sort_unstable();
    for (name, value) in users {
        let name = name.strip_prefix("user_").unwrap_or(name);
        mac.update(format!("\n{name}={value}").as_bytes());
    }
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "http://127.0.0.1:8080";

    fn hash(suffix: &str) -> HashConf {
        HashConf { prefix: Vec::new(), suffix: suffix.into() }
    }

    #[test]
    fn proxies_of_one_cluster_verify_each_others_tokens_and_no_others() {
        let users = [("user_a_b", "key .admin"), ("user_c_d", "other")];
        let one = TempAuth::from_options(users.into_iter(), &hash("x")).unwrap();
        let two = TempAuth::from_options(users.into_iter().rev(), &hash("x")).unwrap();
        let foreign = TempAuth::from_options(users.into_iter(), &hash("y")).unwrap();
        let fewer = TempAuth::from_options(users.into_iter().take(1), &hash("x")).unwrap();
        let token = one.sign_in("a:b", "key", BASE, 1000).unwrap().token;
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
    fn a_token_identifies_its_user_until_it_expires_or_is_changed() {
        let auth = auth();
        let SignIn { token, storage_url } =
            auth.sign_in("test:tester", "testing", BASE, 1000).unwrap();
        assert_eq!(storage_url, "http://127.0.0.1:8080/v1/AUTH_test");
        let identity = auth.token(&token, 1001).unwrap();
        assert!(identity.groups.contains(&"AUTH_test".to_owned()));
        assert_eq!(auth.token(&token, 1000 + TOKEN_LIFE_SECONDS), None);
        let other = token.replace("tester", "tester3");
        assert_eq!(auth.token(&other, 1001), None);
    }

    #[test]
    fn a_wrong_key_or_user_is_refused() {
        assert_eq!(auth().sign_in("test:tester", "nope", BASE, 1), None);
        assert_eq!(auth().sign_in("test:unknown", "", BASE, 1), None);
    }

    fn with(options: &[(&'static str, &'static str)]) -> Result<TempAuth, InvalidTempAuth> {
        TempAuth::from_options(options.iter().copied(), &hash("x"))
    }

    #[test]
    fn storage_urls_follow_the_configuration() {
        let url = |user: &'static str, options: &[(&'static str, &'static str)]| {
            let auth = with(&[&[("user_a_b", user)][..], options].concat()).unwrap();
            auth.sign_in("a:b", "key", BASE, 0).unwrap().storage_url
        };
        let https: &[_] = &[("storage_url_scheme", "https")];
        for (user, options, expected) in [
            ("key .admin", &[][..], "http://127.0.0.1:8080/v1/AUTH_a"),
            ("key .admin", https, "https://127.0.0.1:8080/v1/AUTH_a"),
            ("key", &[("storage_url_scheme", "default")][..], "http://127.0.0.1:8080/v1/AUTH_a"),
            ("key $HOST/v1/AUTH_other", &[][..], "http://127.0.0.1:8080/v1/AUTH_other"),
            ("key https://store.example/v1/AUTH_a", &[][..], "https://store.example/v1/AUTH_a"),
            ("key http://store.example/v1/AUTH_a/", https, "https://store.example/v1/AUTH_a"),
        ] {
            assert_eq!(url(user, options), expected, "{user} {options:?}");
        }
    }

    #[test]
    fn groups_are_names_and_rights_of_resellers() {
        let groups = |value: &'static str| {
            let auth = with(&[("user_a_b", value)]).unwrap();
            let token = auth.sign_in("a:b", "key", BASE, 0).unwrap().token;
            auth.token(&token, 1).unwrap().groups
        };
        assert_eq!(groups("key"), ["a", "a:b"]);
        assert_eq!(groups("key .admin staff"), ["a", "a:b", "staff", "AUTH_a"]);
        assert_eq!(groups("key .rlistings .r .x"), ["a", "a:b"]);
        assert_eq!(groups("key .reseller_admin"), ["a", "a:b", ".reseller_admin"]);
        assert_eq!(groups("key .reseller_reader"), ["a", "a:b", ".reseller_reader"]);
        let own = groups("key .admin http://h/v1/AUTH_own%20one");
        assert_eq!(own, ["a", "a:b", "AUTH_a", "AUTH_own one"]);
        assert_eq!(groups("key $HOST/v1/AUTH_own"), ["a", "a:b"]);
    }

    #[test]
    fn names_in_base64_are_users_too() {
        // dGVzdF8x is test_1, dTpz is u:s, YQ is a.
        let auth = with(&[("user64_dGVzdF8x_dTpz", "key"), ("user64_YQ_YQ==", "key")]).unwrap();
        assert!(auth.sign_in("test_1:u:s", "key", BASE, 0).is_some());
        assert!(auth.sign_in("a:a", "key", BASE, 0).is_some());
    }

    #[test]
    fn bad_options_are_refused_by_name() {
        for (option, value) in [
            ("user_a", "key"),
            ("user__b", "key"),
            ("user_a_", "key"),
            ("user_a_b", ""),
            ("user_.reseller_admin_b", "key"),
            ("user64_%%_YQ", "key"),
            ("user_a_b", "key http://store.example/"),
            ("storage_url_scheme", "ftp"),
            ("failed_sign_ins_per_minute", "-1"),
            ("token_key", "short"),
        ] {
            let error = with(&[(option, value)]).unwrap_err().to_string();
            assert!(error.contains(option) && error.contains("expected"), "{error}");
        }
    }
}
