//! Suffix hashes of a partition, and their pickled forms.
//!
//! Source: `swift/obj/diskfile.py`, `read_hashes`, and `swift/obj/server.py`, `REPLICATE`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use apus_cluster::pickle::{self, Value};

use super::place::is_suffix;

/// The stored hashes of a partition.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct SuffixHashes {
    /// By suffix; `None` is to be computed again.
    pub(crate) suffixes: BTreeMap<String, Option<String>>,
    /// Whether all existing suffixes are listed. If not, nothing in it is trusted.
    pub(crate) valid: bool,
    /// Seconds since 1970 of the last write: distinguishes two states with the same hashes.
    pub(crate) updated: f64,
}

/// The stored hashes after invalidations were folded in.
#[derive(Debug, Default)]
pub(crate) struct Consolidated {
    pub(crate) hashes: SuffixHashes,
    /// Suffixes that may be written to at this moment.
    pub(crate) unsettled: BTreeSet<String>,
}

/// The stored hashes of a partition that are valid.
#[derive(Debug, Default)]
pub(crate) struct KnownHashes {
    /// As in [`SuffixHashes`]; `None` if they are not valid as a whole.
    pub(crate) suffixes: Option<BTreeMap<String, Option<String>>>,
    /// Those that were invalidated since.
    pub(crate) invalidated: BTreeSet<String>,
}

impl KnownHashes {
    /// The hash of a suffix, which is `None` for one without objects; `None` if it is not valid.
    pub(crate) fn of(&self, suffix: &str) -> Option<Option<&str>> {
        let suffixes = self.suffixes.as_ref()?;
        if self.invalidated.contains(suffix) {
            return None;
        }
        match suffixes.get(suffix) {
            None => Some(None),
            Some(None) => None,
            Some(Some(hash)) => Some(Some(hash)),
        }
    }
}

impl SuffixHashes {
    /// Complete hashes, as of `now`.
    pub(crate) fn new(suffixes: BTreeMap<String, Option<String>>, now: Duration) -> Self {
        Self { suffixes, valid: true, updated: now.as_secs_f64() }
    }

    /// Parses the content of `hashes.pkl`; `None` when it is damaged or holds fragments' hashes.
    pub(crate) fn decode(pickled: &[u8]) -> Option<Self> {
        let Value::Dict(items) = pickle::loads(pickled).ok()? else { return None };
        // A file without these keys was written by an old Swift and is trusted.
        let mut hashes = Self { valid: true, updated: -1.0, ..Self::default() };
        for (key, value) in items {
            match (key.to_text()?.as_str(), value) {
                ("valid", value) => hashes.valid = value.as_int()? != 0,
                ("updated", value) => hashes.updated = value.as_float()?,
                (suffix, Value::None) if is_suffix(suffix) => {
                    hashes.suffixes.insert(suffix.to_owned(), None);
                }
                (suffix, value) if is_suffix(suffix) => {
                    let hash = value.to_text()?;
                    hashes.suffixes.insert(suffix.to_owned(), Some(hash));
                }
                _ => return None,
            }
        }
        Some(hashes)
    }

    /// The content of `hashes.pkl`.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let text = |text: &str| Value::Str(text.to_owned());
        let suffixes = self
            .suffixes
            .iter()
            .map(|(suffix, hash)| (text(suffix), hash.as_deref().map_or(Value::None, text)));
        let own = [
            (text("valid"), Value::Bool(self.valid)),
            (text("updated"), Value::Float(self.updated)),
        ];
        pickle::dumps(&Value::Dict(suffixes.chain(own).collect()))
    }
}

/// Encodes the response to `REPLICATE`: suffix → hash.
pub(crate) fn encode_reply(hashes: &BTreeMap<String, String>) -> Vec<u8> {
    let text = |text: &str| Value::Str(text.to_owned());
    let items = hashes.iter().map(|(suffix, hash)| (text(suffix), text(hash)));
    pickle::dumps(&Value::Dict(items.collect()))
}

/// Decodes it; leaves out suffixes without a hash.
pub(crate) fn decode_reply(pickled: &[u8]) -> Option<BTreeMap<String, String>> {
    let hashes = SuffixHashes::decode(pickled)?;
    Some(hashes.suffixes.into_iter().filter_map(|(suffix, hash)| Some((suffix, hash?))).collect())
}
