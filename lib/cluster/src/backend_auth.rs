//! `[apus]` of `swift.conf`: the cluster key with which servers sign their requests to each other.
//!
//! Swift's programs do not read this section. The key must never reach a log: [`ClusterKey`] has
//! no `Display`, and its `Debug` tells nothing.

use crate::swift_conf::RingChanges;

/// The section's name.
pub const SECTION: &str = "apus";
/// Shortest key, in bytes.
const KEY_BYTES_MIN: usize = 32;
/// All options of the section: a misspelt one must not leave a cluster open.
const OPTIONS: [&str; 3] = ["cluster_key", "cluster_key_previous", "backend_auth"];

/// A secret that all nodes of a cluster share.
#[derive(Clone)]
pub struct ClusterKey(Vec<u8>);

impl std::fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterKey(..)")
    }
}

impl ClusterKey {
    /// Reads hexadecimal digits; `None` when they are too few or no such digits.
    pub fn parse(hex: &str) -> Option<Self> {
        let digits: Option<Vec<u8>> = hex
            .chars()
            .map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok()))
            .collect();
        let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
        let bytes =
            digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |all, one| all << 4 | one));
        let bytes: Vec<u8> = bytes.collect();
        (bytes.len() >= KEY_BYTES_MIN).then_some(Self(bytes))
    }

    /// The secret itself.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What a server does with requests of other servers that are not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Refuses them.
    Signed,
    /// Accepts them, as Swift's servers do. One with a wrong signature is refused all the same.
    Open,
}

/// How servers of a cluster know each other.
#[derive(Debug, Clone)]
pub struct BackendAuth {
    /// What becomes of unsigned requests.
    pub mode: Mode,
    /// The key that signs, then the previous one, which is still accepted; or none.
    pub keys: Vec<ClusterKey>,
}

impl Default for BackendAuth {
    /// A cluster that Swift made: no key, everybody is believed.
    fn default() -> Self {
        Self { mode: Mode::Open, keys: Vec::new() }
    }
}

impl BackendAuth {
    /// From the options of the section `[apus]`.
    ///
    /// # Errors
    /// Text that names the option and what was expected, but never a key.
    pub fn from_options(options: &[(&str, &str)]) -> Result<Self, String> {
        let known = [&OPTIONS[..], &RingChanges::OPTIONS].concat();
        if let Some((name, _)) = options.iter().find(|(name, _)| !known.contains(name)) {
            return Err(format!("[{SECTION}] {name}: expected one of {}", known.join(", ")));
        }
        let option = |name: &str| {
            options.iter().find(|(key, _)| *key == name).map(|(_, value)| value.trim())
        };
        let key = |name: &str| {
            let parse = |hex| {
                ClusterKey::parse(hex).ok_or_else(|| {
                    format!(
                        "[{SECTION}] {name}: expected at least {} hexadecimal digits (`openssl rand -hex 32` makes some)",
                        2 * KEY_BYTES_MIN
                    )
                })
            };
            option(name).map(parse).transpose()
        };
        let (current, previous) = (key("cluster_key")?, key("cluster_key_previous")?);
        if current.is_none() && previous.is_some() {
            return Err(format!(
                "[{SECTION}] cluster_key_previous: expected only beside cluster_key"
            ));
        }
        let mode = match (option("backend_auth"), &current) {
            (Some("open"), _) | (None, None) => Mode::Open,
            (Some("signed") | None, Some(_)) => Mode::Signed,
            (Some("signed"), None) => {
                return Err(format!(
                    "[{SECTION}] backend_auth = \"signed\": expected a cluster_key beside it"
                ));
            }
            (Some(other), _) => {
                return Err(format!(
                    "[{SECTION}] backend_auth = {other:?}: expected signed or open"
                ));
            }
        };
        Ok(Self { mode, keys: current.into_iter().chain(previous).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "00112233445566778899aabbccddeeffFFEEDDCCBBAA99887766554433221100";

    #[test]
    fn a_key_means_signed_and_no_key_means_open_unless_said_otherwise() {
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
    fn what_would_leave_a_cluster_open_by_mistake_is_refused_by_name_and_without_the_key() {
        for (options, word) in [
            (vec![("cluster_key", "0123456789abcdef0123456789abcdef")], "cluster_key"),
            (vec![("cluster_key", "xyz123")], "cluster_key"),
            (vec![("cluster_key_previous", KEY)], "cluster_key_previous"),
            (vec![("clusterkey", KEY)], "clusterkey"),
            (vec![("backend_auth", "signed")], "cluster_key"),
            (vec![("cluster_key", KEY), ("backend_auth", "yes")], "backend_auth"),
        ] {
            let error = BackendAuth::from_options(&options).unwrap_err();
            assert!(error.contains(word), "{error}");
            assert!(
                options.iter().all(|(_, key)| !error.contains(key) || key.len() < 10),
                "{error}"
            );
        }
    }
}
