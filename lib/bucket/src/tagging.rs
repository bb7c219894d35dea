//! Tags of buckets and objects, and the limits that AWS sets for them.
//!
//! Source: "Categorizing your objects using tags" and `PutBucketTagging` in AWS's documentation.

use serde::{Deserialize, Serialize};

/// Longest key of a tag, in characters.
const KEY_CHARACTERS_MAX: usize = 128;
/// Longest value of a tag, in characters.
const VALUE_CHARACTERS_MAX: usize = 256;
/// Start of keys that only the service itself sets.
const RESERVED_PREFIX: &str = "aws:";

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// The key.
    pub key: String,
    /// The value, which may be empty.
    pub value: String,
}

/// The kind of resource that has tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaggedResource {
    /// A bucket.
    Bucket,
    /// An object.
    Object,
}

impl TaggedResource {
    /// Most tags.
    pub fn tags_max(self) -> usize {
        match self {
            Self::Bucket => 50,
            Self::Object => 10,
        }
    }
}

/// Reasons why tags are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// There are too many.
    #[error("{found} tags, expected at most {max}")]
    TooMany {
        /// Number of tags.
        found: usize,
        /// Most of them.
        max: usize,
    },
    /// A key is empty, too long, or has other characters than AWS allows.
    #[error("the tag key {0:?}, expected 1 to 128 letters, digits, spaces and + - = . _ : / @")]
    Key(String),
    /// A value is too long, or has other characters than AWS allows.
    #[error(
        "the tag value {0:?}, expected at most 256 letters, digits, spaces and + - = . _ : / @"
    )]
    Value(String),
    /// A key occurs twice.
    #[error("the tag key {0:?} is given more than once")]
    Duplicate(String),
    /// A key is reserved for the service.
    #[error("the tag key {0:?} is reserved: keys must not start with aws:")]
    Reserved(String),
}

/// Valid tags in the order in which they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TagSet(pub(crate) Vec<Tag>);

fn is_allowed(character: char) -> bool {
    character.is_alphanumeric() || character.is_whitespace() || "+-=._:/@".contains(character)
}

fn is_text(text: &str, max: usize) -> bool {
    text.chars().count() <= max && text.chars().all(is_allowed)
}

impl TagSet {
    /// Checks tags against the limits of the resource.
    ///
    /// # Errors
    /// See [`TagError`].
    pub fn new(tags: Vec<Tag>, resource: TaggedResource) -> Result<Self, TagError> {
        let max = resource.tags_max();
        if tags.len() > max {
            return Err(TagError::TooMany { found: tags.len(), max });
        }
        for (at, tag) in tags.iter().enumerate() {
            if tag.key.is_empty() || !is_text(&tag.key, KEY_CHARACTERS_MAX) {
                return Err(TagError::Key(tag.key.clone()));
            }
            if !is_text(&tag.value, VALUE_CHARACTERS_MAX) {
                return Err(TagError::Value(tag.value.clone()));
            }
            if tag.key.to_ascii_lowercase().starts_with(RESERVED_PREFIX) {
                return Err(TagError::Reserved(tag.key.clone()));
            }
            if tags.iter().take(at).any(|earlier| earlier.key == tag.key) {
                return Err(TagError::Duplicate(tag.key.clone()));
            }
        }
        Ok(Self(tags))
    }

    /// The tags.
    pub fn tags(&self) -> &[Tag] {
        &self.0
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|tag| tag.key == key).map(|tag| tag.value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str, value: &str) -> Tag {
        Tag { key: key.to_owned(), value: value.to_owned() }
    }

    fn many(count: usize) -> Vec<Tag> {
        (0..count).map(|number| tag(&format!("k{number}"), "v")).collect()
    }

    #[test]
    fn tags_have_awss_limits() {
        use TaggedResource::{Bucket, Object};
        let long = |count: usize| "ü".repeat(count);
        for (tags, resource, error) in [
            (vec![], Object, None),
            (vec![tag("a b+-=._:/@1ü", "")], Object, None),
            (vec![tag(&long(128), &long(256))], Object, None),
            (vec![tag("k", "v"), tag("K", "v")], Object, None),
            (many(10), Object, None),
            (many(50), Bucket, None),
            (many(11), Object, Some(TagError::TooMany { found: 11, max: 10 })),
            (many(51), Bucket, Some(TagError::TooMany { found: 51, max: 50 })),
            (vec![tag("", "v")], Object, Some(TagError::Key(String::new()))),
            (vec![tag(&long(129), "")], Object, Some(TagError::Key(long(129)))),
            (vec![tag("k", &long(257))], Object, Some(TagError::Value(long(257)))),
            (vec![tag("a?", "")], Object, Some(TagError::Key("a?".to_owned()))),
            (vec![tag("a", "<")], Object, Some(TagError::Value("<".to_owned()))),
            (vec![tag("k", "1"), tag("k", "2")], Bucket, Some(TagError::Duplicate("k".to_owned()))),
            (vec![tag("aws:k", "")], Bucket, Some(TagError::Reserved("aws:k".to_owned()))),
        ] {
            assert_eq!(TagSet::new(tags.clone(), resource).err(), error, "{tags:?}");
        }
    }
}
