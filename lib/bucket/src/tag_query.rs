//! Tags as a query: the `x-amz-tagging` header, and the stored form of an object's tags.

use apus_cluster::percent;

use crate::tagging::{Tag, TagError, TagSet, TaggedResource};

/// Why the tags of a header were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagQueryError {
    /// It does not decode to UTF-8.
    #[error("expected URL-encoded pairs of UTF-8, as in key=value&key=value")]
    Encoding,
    /// A tag breaks a rule.
    #[error(transparent)]
    Tag(#[from] TagError),
}

/// Key and value of each pair. Empty pairs do not count.
fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

impl TagSet {
    /// Parses a header, in which a plus sign is a space.
    ///
    /// # Errors
    /// See [`TagQueryError`].
    pub fn from_query(text: &str, resource: TaggedResource) -> Result<Self, TagQueryError> {
        let decode = |text: &str| percent::decode_utf8(&text.replace('+', " "));
        let mut tags = Vec::new();
        for (key, value) in pairs(text) {
            let tag = decode(key).zip(decode(value)).map(|(key, value)| Tag { key, value });
            tags.push(tag.ok_or(TagQueryError::Encoding)?);
        }
        Ok(Self::new(tags, resource)?)
    }

    /// The text that is stored with an object: pairs by key, with only such characters encoded that
    /// have a meaning there or in a header. It is also a query.
    pub fn to_stored(&self) -> String {
        let mut tags: Vec<&Tag> = self.tags().iter().collect();
        tags.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        let mut out = String::new();
        for tag in tags {
            if !out.is_empty() {
                out.push('&');
            }
            encode_into(&mut out, &tag.key);
            out.push('=');
            encode_into(&mut out, &tag.value);
        }
        out
    }

    /// Reads a stored text. What another program stored there is read as far as it can be.
    pub fn from_stored(text: &str) -> Self {
        let decode = |text: &str| String::from_utf8_lossy(&percent::decode(text)).into_owned();
        let tag = |(key, value)| Tag { key: decode(key), value: decode(value) };
        Self(pairs(text).map(tag).collect())
    }
}

/// Spaces are encoded, since headers lose those at an end.
fn encode_into(out: &mut String, text: &str) {
    for character in text.chars() {
        let is_special = matches!(character, '%' | '&' | '=' | '+')
            || character.is_whitespace()
            || character.is_control();
        if is_special {
            percent::encode_into(out, character.encode_utf8(&mut [0; 4]).as_bytes(), b"");
        } else {
            out.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<TagSet, TagQueryError> {
        TagSet::from_query(text, TaggedResource::Object)
    }

    #[test]
    fn a_header_is_an_encoded_query() {
        for (header, stored) in [
            ("", ""),
            ("foo=bar&bar", "bar=&foo=bar"),
            ("a%20b=c+d&", "a%20b=c%20d"),
            ("a=b=c", "a=b%3Dc"),
            ("gr%C3%B6%C3%9Fe=x", "gr\u{f6}\u{df}e=x"),
        ] {
            assert_eq!(query(header).unwrap().to_stored(), stored, "{header}");
        }
        for (header, error) in [
            ("a=%ff", TagQueryError::Encoding),
            ("a=1&a=2", TagError::Duplicate("a".to_owned()).into()),
            ("=x", TagError::Key(String::new()).into()),
        ] {
            assert_eq!(query(header), Err(error), "{header}");
        }
    }

    #[test]
    fn the_stored_text_reads_back() {
        let tag = |key: &str, value: &str| Tag { key: key.to_owned(), value: value.to_owned() };
        let tags = TagSet(vec![tag(" a&b", "x=y+% "), tag("e", ""), tag("\u{65e5}", "\u{672c}\n")]);
        let stored = tags.to_stored();
        assert_eq!(stored, "%20a%26b=x%3Dy%2B%25%20&e=&\u{65e5}=\u{672c}%0A");
        assert_eq!(TagSet::from_stored(&stored), tags);
        assert_eq!(TagSet::from_stored(""), TagSet::default());
        assert_eq!(TagSet::from_stored("a&=&b=%ff").tags().len(), 3);
    }
}
