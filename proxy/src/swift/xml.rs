//! Text as XML 1.0 can carry it.
//!
//! Swift's `xml.etree` leaves characters that XML does not have as they are, and no parser can read
//! such a document. Here they are replaced.

/// What stands for a character that XML 1.0 cannot carry, not even as a reference.
const REPLACEMENT: char = '\u{fffd}';

/// Escapes the text of an element. A bare carriage return would be read as a line feed, so it is a
/// reference.
pub(super) fn text(text: &str) -> String {
    escaped(text, false)
}

/// Escapes the value of an attribute in double quotes, where parsers make a space of each tab and
/// line break that is no reference.
pub(super) fn attribute(value: &str) -> String {
    escaped(value, true)
}

fn escaped(text: &str, in_attribute: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            '\n' if in_attribute => out.push_str("&#10;"),
            '\t' if in_attribute => out.push_str("&#9;"),
            '\n' | '\t' => out.push(character),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push(REPLACEMENT),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_name_holds_the_document_can_be_parsed() {
        for (name, in_text, in_attribute) in [
            ("a<b>&\"c'", "a&lt;b&gt;&amp;&quot;c'", "a&lt;b&gt;&amp;&quot;c'"),
            ("a\rb", "a&#13;b", "a&#13;b"),
            ("a\nb\tc", "a\nb\tc", "a&#10;b&#9;c"),
            ("bell\u{7}", "bell\u{fffd}", "bell\u{fffd}"),
            ("\u{1}\u{b}\u{1f}", "\u{fffd}\u{fffd}\u{fffd}", "\u{fffd}\u{fffd}\u{fffd}"),
            ("\u{fffe}\u{ffff}", "\u{fffd}\u{fffd}", "\u{fffd}\u{fffd}"),
            ("\u{7f}\u{85}\u{1f600}", "\u{7f}\u{85}\u{1f600}", "\u{7f}\u{85}\u{1f600}"),
            ("]]>", "]]&gt;", "]]&gt;"),
        ] {
            assert_eq!(text(name), in_text, "{name:?}");
            assert_eq!(attribute(name), in_attribute, "{name:?}");
        }
    }
}
