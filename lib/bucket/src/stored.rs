//! The stored form of a bucket's configurations: JSON in system metadata of its container.
//!
//! A short configuration is one header whose value is the JSON itself, in ASCII. A long one is
//! deflated (RFC 1950), written in base 64 and split into headers that Swift's servers accept:
//! `deflate:<number of pieces>:<first piece>`, and the others under the name with `-2`, `-3`, …
//! Headers beyond the number are left from an earlier configuration and have no meaning.

use std::io::{Read, Write};

use apus_cluster::Metadata;
use apus_cluster::python_json::in_ascii;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest value of one header, in bytes. Swift's servers accept lines of 8,192.
const PIECE_BYTES_MAX: usize = 4096;
/// Most headers of one configuration.
const PIECES_MAX: usize = 8;
/// Longest JSON of a configuration, in bytes.
const JSON_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// Start of the first header of a long configuration.
const DEFLATED: &str = "deflate:";

/// The configurations that a bucket may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigKind {
    /// Rules for requests from web pages of other sites.
    Cors,
    /// How new objects are encrypted.
    Encryption,
    /// Rules that delete or move objects with time.
    Lifecycle,
    /// Delivery of access logs.
    Logging,
    /// Receivers of events.
    Notification,
    /// Whether versions can be locked, and for how long by default.
    ObjectLock,
    /// The owner of objects that others write.
    Ownership,
    /// The policy.
    Policy,
    /// Settings that block public access.
    PublicAccess,
    /// Tags.
    Tagging,
    /// Hosting of a web site.
    Website,
}

impl ConfigKind {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::Cors,
        Self::Encryption,
        Self::Lifecycle,
        Self::Logging,
        Self::Notification,
        Self::ObjectLock,
        Self::Ownership,
        Self::Policy,
        Self::PublicAccess,
        Self::Tagging,
        Self::Website,
    ];

    /// Name of the container's metadata item, in title case.
    pub const fn header(self) -> &'static str {
        match self {
            Self::Cors => "X-Container-Sysmeta-Apus-S3-Cors",
            Self::Encryption => "X-Container-Sysmeta-Apus-S3-Encryption",
            Self::Lifecycle => "X-Container-Sysmeta-Apus-S3-Lifecycle",
            Self::Logging => "X-Container-Sysmeta-Apus-S3-Logging",
            Self::Notification => "X-Container-Sysmeta-Apus-S3-Notification",
            Self::ObjectLock => "X-Container-Sysmeta-Apus-S3-Object-Lock",
            Self::Ownership => "X-Container-Sysmeta-Apus-S3-Ownership",
            Self::Policy => "X-Container-Sysmeta-Apus-S3-Policy",
            Self::PublicAccess => "X-Container-Sysmeta-Apus-S3-Public-Access",
            Self::Tagging => "X-Container-Sysmeta-Apus-S3-Tagging",
            Self::Website => "X-Container-Sysmeta-Apus-S3-Website",
        }
    }

    /// Name of the item with a later piece; the second piece has number 2.
    fn piece(self, number: usize) -> String {
        format!("{}-{number}", self.header())
    }
}

/// Errors of configurations.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration does not fit into metadata.
    #[error("the configuration has {bytes} bytes when deflated, at most {bytes_max} can be stored")]
    TooLarge {
        /// Its length as stored, in bytes.
        bytes: usize,
        /// The largest one that can be stored, in bytes.
        bytes_max: usize,
    },
    /// What is stored is not a configuration.
    #[error("{header}: {reason}")]
    Damaged {
        /// Name of the metadata item.
        header: &'static str,
        /// What is wrong with it.
        reason: &'static str,
        /// The error of the decoder.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The configuration has no JSON form.
    #[error("the configuration cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

fn damaged(kind: ConfigKind, reason: &'static str) -> ConfigError {
    ConfigError::Damaged { header: kind.header(), reason, source: None }
}

fn caused(
    kind: ConfigKind,
    reason: &'static str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> ConfigError {
    ConfigError::Damaged { header: kind.header(), reason, source: Some(Box::new(source)) }
}

/// JSON in printable ASCII, as a header's value can have it.
pub(crate) fn ascii_json(config: &impl Serialize) -> Result<String, ConfigError> {
    Ok(in_ascii(serde_json::to_string(config)?))
}

/// The metadata items that store a configuration.
///
/// # Errors
/// [`ConfigError::TooLarge`].
pub fn store(kind: ConfigKind, config: &impl Serialize) -> Result<Metadata, ConfigError> {
    let json = ascii_json(config)?;
    if json.len() <= PIECE_BYTES_MAX {
        return Ok(Metadata::from([(kind.header().to_owned(), json)]));
    }
    let deflate = || {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(json.as_bytes())?;
        encoder.finish()
    };
    let deflated = deflate().map_err(|error| caused(kind, "cannot be deflated", error))?;
    let text = STANDARD_NO_PAD.encode(deflated);
    // The prefix of the first piece: `deflate:8:`.
    let piece_bytes = PIECE_BYTES_MAX - DEFLATED.len() - 2;
    let count = text.len().div_ceil(piece_bytes);
    let bytes_max = piece_bytes * PIECES_MAX;
    if text.len() > bytes_max || json.len() as u64 > JSON_BYTES_MAX {
        return Err(ConfigError::TooLarge { bytes: text.len(), bytes_max });
    }
    let mut items = Metadata::new();
    let mut rest = text.as_str();
    for number in 1..=count {
        let (piece, later) = rest.split_at(piece_bytes.min(rest.len()));
        rest = later;
        match number {
            1 => items.insert(kind.header().to_owned(), format!("{DEFLATED}{count}:{piece}")),
            _ => items.insert(kind.piece(number), piece.to_owned()),
        };
    }
    Ok(items)
}

/// The metadata items that remove a configuration, which are empty.
pub fn remove(kind: ConfigKind, stored: &Metadata) -> Metadata {
    let later = (2..=PIECES_MAX).map(|number| kind.piece(number));
    std::iter::once(kind.header().to_owned())
        .chain(later.filter(|name| stored.contains_key(name)))
        .map(|name| (name, String::new()))
        .collect()
}

/// The configuration in a container's metadata.
///
/// # Errors
/// [`ConfigError::Damaged`].
pub fn load<T: DeserializeOwned>(
    kind: ConfigKind,
    stored: &Metadata,
) -> Result<Option<T>, ConfigError> {
    let first = match stored.get(kind.header()).map(String::as_str) {
        None | Some("") => return Ok(None),
        Some(first) => first,
    };
    let parsed = match first.strip_prefix(DEFLATED) {
        None => serde_json::from_str(first),
        Some(long) => serde_json::from_slice(&inflate(kind, long, stored)?),
    };
    parsed.map(Some).map_err(|error| caused(kind, "is not the expected JSON", error))
}

/// The JSON of a long configuration; `long` is the first value after its prefix.
fn inflate(kind: ConfigKind, long: &str, stored: &Metadata) -> Result<Vec<u8>, ConfigError> {
    let (count, first) = long.split_once(':').ok_or_else(|| damaged(kind, "has no count"))?;
    let count = count.parse().ok().filter(|count| (1..=PIECES_MAX).contains(count));
    let count: usize = count.ok_or_else(|| damaged(kind, "has an invalid count"))?;
    let mut text = first.to_owned();
    for number in 2..=count {
        let piece = stored.get(&kind.piece(number));
        text.push_str(piece.ok_or_else(|| damaged(kind, "has a missing piece"))?);
    }
    let deflated =
        STANDARD_NO_PAD.decode(text).map_err(|error| caused(kind, "is not base 64", error))?;
    let mut json = Vec::new();
    let mut decoder = ZlibDecoder::new(deflated.as_slice()).take(JSON_BYTES_MAX + 1);
    decoder.read_to_end(&mut json).map_err(|error| caused(kind, "is not deflated", error))?;
    match json.len() as u64 > JSON_BYTES_MAX {
        true => Err(damaged(kind, "is too long")),
        false => Ok(json),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text that does not compress well.
    fn noise(bytes: usize) -> String {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            char::from(b'!' + (state >> 33) as u8 % 90)
        };
        (0..bytes).map(|_| next()).collect()
    }

    #[test]
    fn what_was_stored_is_loaded_whatever_it_was_before() {
        let mut metadata = Metadata::new();
        for text in ["short", "ü ☃ 𝄞 \u{7f} \" \\ \n", &noise(20_000), &"a".repeat(1 << 20), "x"]
        {
            metadata.extend(store(ConfigKind::Cors, &text).unwrap());
            let found: Option<String> = load(ConfigKind::Cors, &metadata).unwrap();
            assert_eq!(found.as_deref(), Some(text));
            for value in metadata.values() {
                assert!(value.len() <= PIECE_BYTES_MAX);
                assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            }
            assert_eq!(load::<String>(ConfigKind::Lifecycle, &metadata).unwrap(), None);
        }
        let removal = remove(ConfigKind::Cors, &metadata);
        assert_eq!(removal.keys().collect::<Vec<_>>(), metadata.keys().collect::<Vec<_>>());
        metadata.extend(removal);
        assert_eq!(load::<String>(ConfigKind::Cors, &metadata).unwrap(), None);
    }

    #[test]
    fn a_configuration_that_does_not_fit_is_refused() {
        let refused = store(ConfigKind::Website, &noise(60_000)).unwrap_err();
        assert!(matches!(refused, ConfigError::TooLarge { .. }), "{refused}");
        let refused = store(ConfigKind::Website, &"a".repeat(3 << 20)).unwrap_err();
        assert!(matches!(refused, ConfigError::TooLarge { .. }), "{refused}");
    }

    #[test]
    fn damaged_metadata_is_an_error() {
        let name = ConfigKind::Tagging.header();
        for value in [
            "{",
            "deflate:",
            "deflate:0:",
            "deflate:9:",
            "deflate:2:x",
            "deflate:1:?",
            "deflate:1:aaaa",
        ] {
            let metadata = Metadata::from([(name.to_owned(), value.to_owned())]);
            let error = load::<String>(ConfigKind::Tagging, &metadata).unwrap_err();
            assert!(error.to_string().starts_with(name), "{value}: {error}");
        }
    }

    #[test]
    fn names_are_spelled_as_swift_stores_them() {
        for kind in ConfigKind::ALL {
            assert_eq!(apus_cluster::metadata::title_case(kind.header()), kind.header());
        }
    }
}
