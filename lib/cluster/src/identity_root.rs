//! Root secrets of the cluster's identities: `[apus]` of `swift.conf`.
//!
//! The secrets of access keys are encrypted with keys that are derived from them. They must never
//! reach a log: [`RootSecret`] has no `Display`, and its `Debug` does not show it.

use apus_options::{options, text};

use crate::backend_auth::SECTION;
use crate::hashed_path::HashConf;
use crate::option_error::{GivenOptions, OptionError};

/// Shortest root secret, in bytes.
const SECRET_BYTES_MIN: usize = 32;
/// The beginning of the names of these options, which are never sent to other nodes.
pub const OPTION_PREFIX: &str = "identity_root_secret";

options! {
    /// Options of `[apus]` for identities.
    #[derive(Debug)]
    pub struct IdentityOptions {
        /// Secret from which the keys are derived that encrypt the secrets of access keys, the same on all proxies: hexadecimal digits.
        pub identity_root_secret: Option<String> = text("", EXPECTED)
            .checked(is_secret).unset("derived from the hash prefix and suffix").secret(),
        /// The previous secret, with which existing access keys are still read.
        pub identity_root_secret_previous: Option<String> = text("", EXPECTED)
            .checked(is_secret).unset("none").secret(),
    }
}

const EXPECTED: &str = "at least 64 hexadecimal digits (`openssl rand -hex 32` makes some)";
const _: () = assert!(SECRET_BYTES_MIN * 2 == 64);

fn is_secret(text: &str) -> bool {
    parse(text).is_some()
}

fn parse(text: &str) -> Option<RootSecret> {
    let bytes = hex::decode(text).ok()?;
    (bytes.len() >= SECRET_BYTES_MIN).then_some(RootSecret(bytes))
}

/// A secret that all proxies of a cluster share.
#[derive(Clone)]
pub struct RootSecret(Vec<u8>);

impl std::fmt::Debug for RootSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RootSecret(..)")
    }
}

impl RootSecret {
    /// From bytes, for tests and for secrets of other sources.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The secret itself.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The secret of a cluster that sets none: what every node knows, and no client.
    fn of_hashes(hash: &HashConf) -> Self {
        Self([b"apus identities\0", hash.prefix.as_slice(), b"\0", &hash.suffix].concat())
    }
}

/// The root secrets: the first one encrypts, all of them decrypt.
#[derive(Debug, Clone, Default)]
pub struct RootSecrets(Vec<RootSecret>);

impl RootSecrets {
    /// The given secrets of the section `[apus]`.
    ///
    /// # Errors
    /// An option that is not as expected, without the secret.
    pub fn from_options(options: &[(&str, &str)]) -> Result<Self, OptionError> {
        let given = IdentityOptions::read(&GivenOptions { section: SECTION, options })?;
        let secret = |text: Option<String>| text.as_deref().and_then(parse);
        let current = secret(given.identity_root_secret);
        let previous = secret(given.identity_root_secret_previous);
        if current.is_none() && previous.is_some() {
            let expected = "an identity_root_secret as well";
            return Err(OptionError::hidden(SECTION, "identity_root_secret_previous", expected));
        }
        Ok(Self(current.into_iter().chain(previous).collect()))
    }

    /// Adds the secret that is derived from the hash prefix and suffix: keys that were made before
    /// the first root secret was set stay readable.
    #[must_use]
    pub fn with_hashes(mut self, hash: &HashConf) -> Self {
        self.0.push(RootSecret::of_hashes(hash));
        self
    }

    /// The secrets; the first one encrypts.
    pub fn iter(&self) -> impl Iterator<Item = &RootSecret> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    const TWO: &str = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn the_given_secret_is_the_first_and_the_derived_one_the_last() {
        let hash = HashConf { prefix: b"p".to_vec(), suffix: b"s".to_vec() };
        let options = [("identity_root_secret_previous", TWO), ("identity_root_secret", ONE)];
        let secrets = RootSecrets::from_options(&options).unwrap().with_hashes(&hash);
        let bytes: Vec<_> = secrets.iter().map(RootSecret::bytes).collect();
        assert_eq!(bytes.len(), 3);
        assert_eq!((bytes[0][0], bytes[1][0]), (0, 0xff));
        assert_eq!(bytes[2], b"apus identities\0p\0s");
        assert!(!format!("{secrets:?}").contains("17"), "{secrets:?}");
    }

    #[test]
    fn a_wrong_secret_is_refused_without_showing_it() {
        for options in [
            vec![("identity_root_secret", "0011")],
            vec![("identity_root_secret", "a passphrase of more than thirty-two characters")],
            vec![("identity_root_secret_previous", ONE)],
        ] {
            let error = RootSecrets::from_options(&options).unwrap_err().to_string();
            assert!(error.contains("identity_root_secret"), "{error}");
            assert!(!error.contains(options[0].1), "{error}");
        }
    }
}
