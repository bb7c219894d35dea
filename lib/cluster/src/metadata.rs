//! Stored metadata: header names in Swift's title case, and their values.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::constraints::Constraints;

/// Stored headers by title-cased name (`X-Object-Meta-Color`).
pub type Metadata = BTreeMap<String, String>;

/// Headers other than metadata that an object keeps from its PUT, as Swift's `allowed_headers`.
pub const OBJECT_HEADERS: [&str; 9] = [
    "Content-Disposition",
    "Content-Encoding",
    "X-Delete-At",
    "X-Object-Manifest",
    "X-Static-Large-Object",
    "Cache-Control",
    "Content-Language",
    "Expires",
    "X-Robots-Tag",
];

/// What kind of resource a metadata header belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// `X-Account-…`
    Account,
    /// `X-Container-…`
    Container,
    /// `X-Object-…`
    Object,
}

impl Resource {
    /// `Account`, `Container` or `Object`, as in headers.
    pub fn word(self) -> &'static str {
        match self {
            Self::Account => "Account",
            Self::Container => "Container",
            Self::Object => "Object",
        }
    }

    /// `X-Object-Meta-`.
    pub fn user_prefix(self) -> &'static str {
        match self {
            Self::Account => "X-Account-Meta-",
            Self::Container => "X-Container-Meta-",
            Self::Object => "X-Object-Meta-",
        }
    }

    /// `X-Object-Sysmeta-`.
    pub fn system_prefix(self) -> &'static str {
        match self {
            Self::Account => "X-Account-Sysmeta-",
            Self::Container => "X-Container-Sysmeta-",
            Self::Object => "X-Object-Sysmeta-",
        }
    }
}

/// `X-Object-Transient-Sysmeta-`: system metadata that a POST replaces.
pub const TRANSIENT_PREFIX: &str = "X-Object-Transient-Sysmeta-";

/// Title case as Python's `str.title()` gives for header names: `x-object-meta-a1b` becomes
/// `X-Object-Meta-A1B`. Swift's `HeaderKeyDict` spells stored keys that way.
pub fn title_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut start = true;
    for character in name.chars() {
        if start {
            out.extend(character.to_uppercase());
        } else {
            out.extend(character.to_lowercase());
        }
        start = !character.is_alphabetic();
    }
    out
}

/// Prefix under which Swift's encryption stores its data of an item of user metadata.
const CRYPTO_META_PREFIX: &str = "x-object-transient-sysmeta-crypto-meta-";

/// Prefix and rest of a name that Swift spells without underscores.
fn spelled(name: &str) -> Option<(&str, &str)> {
    let prefixes = [Resource::Object.user_prefix(), CRYPTO_META_PREFIX];
    let prefix = prefixes.into_iter().find(|prefix| has_prefix(name, prefix))?;
    name.split_at_checked(prefix.len())
}

/// The name under which a header of an object is stored. Headers in Swift cannot contain an
/// underscore, so its S3 API spells one in the name of user metadata `=5F` (`s3api/s3request.py`).
pub fn stored_name(header: &str) -> String {
    match spelled(header) {
        Some((prefix, key)) if key.contains('_') => {
            title_case(&format!("{prefix}{}", key.replace('_', "=5F")))
        }
        _ => title_case(header),
    }
}

/// The header of a stored name; in contrast to Swift it may contain underscores.
pub fn header_name(stored: &str) -> Cow<'_, str> {
    match stored.contains("=5") && spelled(stored).is_some() {
        true => Cow::Owned(stored.replace("=5F", "_").replace("=5f", "_")),
        false => Cow::Borrowed(stored),
    }
}

/// Whether `name` (in any case) starts with `prefix` and has something after it.
pub fn has_prefix(name: &str, prefix: &str) -> bool {
    name.len() > prefix.len()
        && name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
}

/// Whether a header of an object's PUT is stored with it.
pub fn is_stored_with_object(name: &str) -> bool {
    is_object_metadata(name) || OBJECT_HEADERS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether the name is user, system or transient metadata of an object.
pub fn is_object_metadata(name: &str) -> bool {
    has_prefix(name, Resource::Object.user_prefix())
        || has_prefix(name, Resource::Object.system_prefix())
        || has_prefix(name, TRANSIENT_PREFIX)
}

/// Whether the name survives a POST to the object: it belongs to the data file.
pub fn belongs_to_data(name: &str) -> bool {
    has_prefix(name, Resource::Object.system_prefix())
        || ["Content-Length", "ETag", "X-Static-Large-Object", "deleted"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name))
}

/// The UTF-8 text that Python's WSGI spelled with a character for each byte; other text is returned
/// unchanged. Swift under Python 3 stores header values of objects that way, and only those:
/// databases contain the text itself.
pub fn from_wsgi(text: &str) -> String {
    let bytes: Option<Vec<u8>> =
        text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| text.to_owned())
}

/// Why user metadata was refused; the texts are Swift's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserMetadataError {
    /// The value of another header.
    #[error("Header value too long: {0}")]
    HeaderValue(String),
    /// Nothing follows the prefix.
    #[error("Metadata name cannot be empty")]
    EmptyName,
    /// A name.
    #[error("Metadata name too long: {0}")]
    Name(String),
    /// A value.
    #[error("Metadata value longer than {max}: {name}")]
    Value {
        /// The limit in bytes.
        max: usize,
        /// The whole name of the header.
        name: String,
    },
    /// Too many items.
    #[error("Too many metadata items; max {0}")]
    Count(usize),
    /// All names and values together.
    #[error("Total metadata too large; max {0}")]
    Size(usize),
}

/// Checks the metadata among the headers of a request against the limits.
///
/// # Errors
/// See [`UserMetadataError`].
pub fn check_user_metadata<'a>(
    items: impl Iterator<Item = (&'a str, &'a str)>,
    prefix: &str,
    constraints: &Constraints,
) -> Result<(), UserMetadataError> {
    let mut count = 0;
    let mut size = 0;
    for (name, value) in items {
        if !name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix)) {
            if value.len() > constraints.max_header_size {
                let shown = name.len().min(constraints.max_meta_name_length);
                let shown = name.get(..shown).unwrap_or(name);
                return Err(UserMetadataError::HeaderValue(shown.to_owned()));
            }
            continue;
        }
        let key = name.get(prefix.len()..).unwrap_or_default();
        if key.is_empty() {
            return Err(UserMetadataError::EmptyName);
        }
        if key.len() > constraints.max_meta_name_length {
            return Err(UserMetadataError::Name(format!("{prefix}{key}")));
        }
        if value.len() > constraints.max_meta_value_length {
            let max = constraints.max_meta_value_length;
            return Err(UserMetadataError::Value { max, name: format!("{prefix}{key}") });
        }
        count += 1;
        size += key.len() + value.len();
        if count > constraints.max_meta_count {
            return Err(UserMetadataError::Count(constraints.max_meta_count));
        }
        if size > constraints.max_meta_overall_size {
            return Err(UserMetadataError::Size(constraints.max_meta_overall_size));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn title_case_is_pythons() {
        assert_eq!(title_case("x-object-meta-a1b-cOLOR"), "X-Object-Meta-A1B-Color");
        assert_eq!(title_case("etag"), "Etag");
    }

    #[test]
    fn underscores_of_user_metadata_are_stored_as_swifts_s3_spells_them() {
        let stored = "X-Object-Meta-Foo=5Fbar=5F1-Baz";
        assert_eq!(stored_name("x-object-meta-foo_bar_1-baz"), stored);
        assert_eq!(header_name(stored).to_lowercase(), "x-object-meta-foo_bar_1-baz");
        let stored = "X-Object-Transient-Sysmeta-Crypto-Meta-Foo=5Fbar";
        assert_eq!(stored_name("x-object-transient-sysmeta-crypto-meta-foo_bar"), stored);
        assert_eq!(header_name(stored), stored.replace("=5F", "_"));
        for other in ["X-Object-Sysmeta-A_B", "X-Object-Meta-A-B", "X-Object-Meta-\u{dc}"] {
            assert_eq!(stored_name(other), other);
            assert_eq!(header_name(other), other);
        }
    }

    #[test]
    fn wsgi_spelling_is_undone() {
        assert_eq!(from_wsgi("\u{c3}\u{bc}"), "ü");
        for text in ["plain", "значение ☃", "ü"] {
            let spelled: String = text.bytes().map(char::from).collect();
            assert_eq!(from_wsgi(&spelled), text);
        }
        assert_eq!(from_wsgi("☃"), "☃");
    }

    #[test]
    fn limits_are_exact() {
        let constraints = Constraints::default();
        let value = "v".repeat(constraints.max_meta_value_length);
        let check = |name: &str, value: &str| {
            check_user_metadata([(name, value)].into_iter(), "X-Object-Meta-", &constraints)
        };
        assert!(check("X-Object-Meta-A", &value).is_ok());
        assert!(check("X-Object-Meta-A", &format!("{value}v")).is_err());
        assert!(check("X-Object-Meta-", "v").is_err());
    }
}
