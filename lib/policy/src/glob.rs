//! Patterns with `*` (any characters) and `?` (one character).

/// One item of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GlobItem {
    Char(char),
    /// `?`
    One,
    /// `*`
    Any,
}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Glob {
    /// No wildcard.
    Literal(String),
    /// Text and one `*` at its end.
    Prefix(String),
    /// Any other pattern.
    Items(Vec<GlobItem>),
}

impl Glob {
    /// A pattern in which `*` and `?` are wildcards.
    pub(crate) fn parse(text: &str) -> Self {
        Self::compile(text.chars().map(|character| match character {
            '*' => GlobItem::Any,
            '?' => GlobItem::One,
            other => GlobItem::Char(other),
        }))
    }

    /// The pattern of these items.
    pub(crate) fn compile(items: impl IntoIterator<Item = GlobItem>) -> Self {
        let mut kept: Vec<GlobItem> = Vec::new();
        for item in items {
            if item != GlobItem::Any || kept.last() != Some(&GlobItem::Any) {
                kept.push(item);
            }
        }
        let ends_open = kept.last() == Some(&GlobItem::Any);
        let text_items = kept.len() - usize::from(ends_open);
        let text: Option<String> = kept
            .iter()
            .take(text_items)
            .map(|item| match item {
                GlobItem::Char(character) => Some(*character),
                GlobItem::One | GlobItem::Any => None,
            })
            .collect();
        match text {
            Some(text) if ends_open => Self::Prefix(text),
            Some(text) => Self::Literal(text),
            None => Self::Items(kept),
        }
    }

    /// Whether the pattern matches the whole text.
    pub(crate) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Literal(literal) => literal == text,
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Self::Items(items) => items_match(items, text),
        }
    }

    /// Whether a character must occur in texts that match.
    pub(crate) fn has_char(&self, wanted: char) -> bool {
        match self {
            Self::Literal(text) | Self::Prefix(text) => text.contains(wanted),
            Self::Items(items) => items.contains(&GlobItem::Char(wanted)),
        }
    }

    /// Whether it has a `*`.
    pub(crate) fn has_any(&self) -> bool {
        match self {
            Self::Literal(_) => false,
            Self::Prefix(_) => true,
            Self::Items(items) => items.contains(&GlobItem::Any),
        }
    }

    /// Whether it has a wildcard.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self, Self::Literal(_))
    }
}

/// Matches with two positions and one return point: at the last `*`. An earlier one need not be
/// tried again, since the last one can skip all that an earlier one could.
fn items_match(items: &[GlobItem], text: &str) -> bool {
    let (mut item, mut rest) = (0, text);
    let mut retry: Option<(usize, &str)> = None;
    loop {
        let mut following = rest.chars();
        let next = following.next();
        let advances = match (items.get(item), next) {
            (None, None) => return true,
            (Some(GlobItem::Any), _) => {
                item += 1;
                retry = Some((item, rest));
                continue;
            }
            (Some(GlobItem::One), Some(_)) => true,
            (Some(GlobItem::Char(wanted)), Some(found)) => *wanted == found,
            (_, _) => false,
        };
        if advances {
            (item, rest) = (item + 1, following.as_str());
            continue;
        }
        let Some((after_star, at)) = retry else { return false };
        let mut skipped = at.chars();
        if skipped.next().is_none() {
            return false;
        }
        retry = Some((after_star, skipped.as_str()));
        (item, rest) = (after_star, skipped.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_in_the_table() {
        let table = [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "a/b", true),
            ("a*", "ab", true),
            ("a*", "ba", false),
            ("a?c", "abc", true),
            ("a?c", "a☃c", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("*ab", "aab", true),
            ("*aab", "aaab", true),
            ("a**b", "ab", true),
            ("?*", "", false),
            ("*?", "x", true),
            ("abc", "abcd", false),
            ("*.jpg", "a.jpg.jpg", true),
            ("*.jpg", "a.jpg.png", false),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(Glob::parse(pattern).matches(text), expected, "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn many_stars_do_not_cost_exponential_time() {
        let pattern = Glob::parse(&format!("{}b", "a*".repeat(500)));
        assert!(!pattern.matches(&"a".repeat(1024)));
        assert!(pattern.matches(&format!("{}b", "a".repeat(1024))));
    }
}
