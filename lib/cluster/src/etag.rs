//! Entity tags, quoted and bare, and the lists of conditional headers.

/// Removes surrounding white space, the mark of a weak tag, and quotes.
pub fn unquote(etag: &str) -> &str {
    let etag = etag.trim();
    let etag = etag.strip_prefix("W/").unwrap_or(etag);
    etag.strip_prefix('"').and_then(|etag| etag.strip_suffix('"')).unwrap_or(etag)
}

/// The list of an `If-Match` or `If-None-Match` header: `*`, or tags without their quotes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EtagList(Vec<String>);

impl EtagList {
    /// Parses a header value.
    pub fn parse(value: &str) -> Self {
        Self(
            value
                .split(',')
                .map(|tag| unquote(tag).to_owned())
                .filter(|tag| !tag.is_empty())
                .collect(),
        )
    }

    /// The tags, bare.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Adds bare tags.
    pub fn extend(&mut self, tags: impl IntoIterator<Item = String>) {
        self.0.extend(tags);
    }

    /// Whether the list contains this (bare) tag or `*`.
    pub fn matches(&self, etag: &str) -> bool {
        self.0.iter().any(|tag| tag == "*" || tag == etag)
    }

    /// Whether the list contains `*`.
    pub fn any(&self) -> bool {
        self.0.iter().any(|tag| tag == "*")
    }

    /// As a header value.
    pub fn to_header(&self) -> String {
        self.0
            .iter()
            .map(|tag| if tag == "*" { tag.clone() } else { format!("\"{tag}\"") })
            .collect::<Vec<_>>()
            .join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_match_bare_and_quoted_tags() {
        let list = EtagList::parse("\"abc\", W/\"def\", ghi");
        assert!(list.matches("abc") && list.matches("def") && list.matches("ghi"));
        assert!(!list.matches("xyz") && !list.any());
        assert!(EtagList::parse("*").matches("anything"));
    }
}
