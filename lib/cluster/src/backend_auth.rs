//! The cluster key with which servers sign requests to each other: `[apus]` of `swift.conf`.
//!
//! Swift's programs do not read this section. The key must never reach a log: [`ClusterKey`] has
//! no `Display`, and its `Debug` does not show it.

use apus_options::{choice, options, text};

use crate::identity_root::IdentityOptions;
use crate::option_error::{GivenOptions, OptionError};
use crate::ring_changes::RingOptions;

/// The section's name.
pub const SECTION: &str = "apus";
/// Shortest key, in bytes.
const KEY_BYTES_MIN: usize = 32;

options! {
    /// Options of `[apus]` for the authentication of servers.
    #[derive(Debug)]
    pub struct BackendAuthOptions {
        /// Key that all servers of the cluster share, with which they sign requests to each other: hexadecimal digits.
        pub cluster_key: Option<String> = text("", KEY_EXPECTED)
            .checked(is_key).unset("none: requests are not signed").secret(),
        /// The previous key, which is still accepted while the key is changed.
        pub cluster_key_previous: Option<String> = text("", KEY_EXPECTED)
            .checked(is_key).unset("none").secret(),
        /// Whether servers refuse requests of servers that are not signed.
        pub backend_auth: Option<String> = choice("", &["signed", "open"])
            .unset("`signed` with a key, `open` without"),
    }
}

const KEY_EXPECTED: &str = "at least 64 hexadecimal digits (`openssl rand -hex 32` makes some)";
const _: () = assert!(KEY_BYTES_MIN * 2 == 64);

fn is_key(text: &str) -> bool {
    ClusterKey::parse(text).is_some()
}

/// A secret that all nodes of a cluster share.
#[derive(Clone)]
pub struct ClusterKey(Vec<u8>);

impl std::fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterKey(..)")
    }
}

impl ClusterKey {
    /// Reads hexadecimal digits; `None` when there are too few or other characters.
    pub fn parse(hex: &str) -> Option<Self> {
        let bytes = hex::decode(hex).ok()?;
        (bytes.len() >= KEY_BYTES_MIN).then_some(Self(bytes))
    }

    /// The secret itself.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Whether a server accepts requests of other servers that are not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It refuses them.
    Signed,
    /// It accepts them, as Swift's servers do, but refuses those with a wrong signature.
    Open,
}

/// How the servers of a cluster authenticate each other.
#[derive(Debug, Clone)]
pub struct BackendAuth {
    /// Whether unsigned requests are accepted.
    pub mode: Mode,
    /// The key that signs, then the previous one, which is still accepted; may be empty.
    pub keys: Vec<ClusterKey>,
}

impl Default for BackendAuth {
    /// A cluster made by Swift: without a key, every request is accepted.
    fn default() -> Self {
        Self { mode: Mode::Open, keys: Vec::new() }
    }
}

impl BackendAuth {
    /// From the options of the section `[apus]`.
    ///
    /// # Errors
    /// An option that is not as expected, without the key.
    pub fn from_options(options: &[(&str, &str)]) -> Result<Self, OptionError> {
        // A misspelt name must not leave a cluster open.
        let known = BackendAuthOptions::OPTIONS.iter().chain(RingOptions::OPTIONS);
        let known = known.chain(IdentityOptions::OPTIONS);
        let known: Vec<&str> = known.map(|option| option.name).collect();
        if let Some((name, _)) = options.iter().find(|(name, _)| !known.contains(name)) {
            let expected = format!("one of {}", known.join(", "));
            return Err(OptionError::hidden(SECTION, name, &expected));
        }
        let given = BackendAuthOptions::read(&GivenOptions { section: SECTION, options })?;
        let key = |text: Option<String>| text.as_deref().and_then(ClusterKey::parse);
        let (current, previous) = (key(given.cluster_key), key(given.cluster_key_previous));
        if current.is_none() && previous.is_some() {
            let expected = "a cluster_key as well";
            return Err(OptionError::hidden(SECTION, "cluster_key_previous", expected));
        }
        let mode = match (given.backend_auth.as_deref(), &current) {
            (Some("open"), _) | (None, None) => Mode::Open,
            (Some(_), None) => {
                let expected = "a cluster_key as well";
                return Err(OptionError::value(SECTION, "backend_auth", "signed", expected));
            }
            (Some(_) | None, Some(_)) => Mode::Signed,
        };
        Ok(Self { mode, keys: current.into_iter().chain(previous).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "00112233445566778899aabbccddeeffFFEEDDCCBBAA99887766554433221100";

    #[test]
    fn the_mode_is_signed_with_a_key_and_open_without_unless_it_is_given() {
        let mode = |options: &[(&str, &str)]| BackendAuth::from_options(options).unwrap().mode;
        assert_eq!(mode(&[]), Mode::Open);
        assert_eq!(mode(&[("cluster_key", KEY)]), Mode::Signed);
        assert_eq!(mode(&[("cluster_key", KEY), ("backend_auth", "open")]), Mode::Open);
        let both = [("cluster_key_previous", KEY), ("cluster_key", KEY)];
        assert_eq!(BackendAuth::from_options(&both).unwrap().keys.len(), 2);
    }

    #[test]
    fn keys_are_read_as_bytes_and_never_shown() {
        let key = ClusterKey::parse(KEY).unwrap();
        assert_eq!((key.bytes()[1], key.bytes()[16], key.bytes().len()), (0x11, 0xff, 32));
        assert_eq!(format!("{key:?}"), "ClusterKey(..)");
    }

    #[test]
    fn a_mistake_that_would_leave_a_cluster_open_is_refused_without_showing_the_key() {
        for (options, word) in [
            (vec![("cluster_key", "0123456789abcdef0123456789abcdef")], "cluster_key"),
            (vec![("cluster_key", "xyz123")], "cluster_key"),
            (vec![("cluster_key_previous", KEY)], "cluster_key_previous"),
            (vec![("clusterkey", KEY)], "clusterkey"),
            (vec![("backend_auth", "signed")], "cluster_key"),
            (vec![("cluster_key", KEY), ("backend_auth", "yes")], "backend_auth"),
        ] {
            let error = BackendAuth::from_options(&options).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
            assert!(
                options.iter().all(|(_, key)| !error.contains(key) || key.len() < 10),
                "{error}"
            );
        }
    }
}
