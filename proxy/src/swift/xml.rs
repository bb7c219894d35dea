//! XML documents of listings and reports.
//!
//! Swift's `xml.etree` writes characters that XML 1.0 does not have as they are, and no parser can
//! read such a document. Here they are replaced.

use std::borrow::Cow;

use quick_xml::Writer;
use quick_xml::events::attributes::Attribute;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};
use quick_xml::name::QName;

/// Replaces a character that XML 1.0 cannot represent, not even as a reference.
const REPLACEMENT: char = '\u{fffd}';

/// Writes a document as Swift's `xml.etree` does.
pub(super) struct XmlWriter(Writer<Vec<u8>>);

impl XmlWriter {
    /// A document with its declaration and a line break.
    pub(super) fn document() -> Self {
        let mut writer = Self::fragment();
        writer.event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)));
        writer.event(Event::Text(BytesText::from_escaped("\n")));
        writer
    }

    /// A document whose declaration has been sent already.
    pub(super) fn fragment() -> Self {
        let mut writer = Writer::new(Vec::new());
        writer.config_mut().add_space_before_slash_in_empty_elements = true;
        Self(writer)
    }

    fn event(&mut self, event: Event<'_>) {
        // Writing to memory cannot fail.
        let _ = self.0.write_event(event);
    }

    /// Opens an element.
    pub(super) fn open(&mut self, name: &str) {
        self.event(Event::Start(BytesStart::new(name)));
    }

    /// Opens an element that has a `name` attribute.
    pub(super) fn open_named(&mut self, element: &str, name: &str) {
        self.event(Event::Start(named(element, name)));
    }

    /// An empty element that has a `name` attribute.
    pub(super) fn empty_named(&mut self, element: &str, name: &str) {
        self.event(Event::Empty(named(element, name)));
    }

    /// Closes an element.
    pub(super) fn close(&mut self, name: &str) {
        self.event(Event::End(BytesEnd::new(name)));
    }

    /// An element with text.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.open(name);
        self.event(Event::Text(BytesText::from_escaped(escaped(text, false))));
        self.close(name);
    }

    /// An element with a number.
    pub(super) fn number(&mut self, name: &str, number: u64) {
        self.text(name, &number.to_string());
    }

    /// A line break between elements.
    pub(super) fn line_break(&mut self) {
        self.event(Event::Text(BytesText::from_escaped("\n")));
    }

    /// The document.
    pub(super) fn finish(self) -> Vec<u8> {
        self.0.into_inner()
    }
}

fn named<'a>(element: &'a str, name: &str) -> BytesStart<'a> {
    let mut start = BytesStart::new(element);
    start.push_attribute(Attribute { key: QName("name"), value: escaped(name, true) });
    start
}

/// Escapes text. A bare carriage return would be read as a line feed, so it becomes a reference; so
/// do tabs and line breaks in attributes, where parsers make spaces of them.
fn escaped(text: &str, in_attribute: bool) -> Cow<'_, str> {
    let is_special = |character: char| {
        character < ' ' || matches!(character, '&' | '<' | '>' | '"' | '\u{fffe}' | '\u{ffff}')
    };
    let Some(first) = text.find(is_special) else { return Cow::Borrowed(text) };
    let (plain, rest) = text.split_at(first);
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(plain);
    for character in rest.chars() {
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
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_escaped_so_that_the_document_can_be_parsed() {
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
            assert_eq!(escaped(name, false), in_text, "{name:?}");
            assert_eq!(escaped(name, true), in_attribute, "{name:?}");
        }
    }

    #[test]
    fn documents_have_the_form_of_pythons_etree() {
        let mut out = XmlWriter::document();
        out.open_named("container", "a\n\"b\"");
        out.empty_named("subdir", "x/");
        out.text("name", "a<b>\n");
        out.number("bytes", 5);
        out.close("container");
        assert_eq!(
            String::from_utf8(out.finish()).unwrap(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<container name=\"a&#10;&quot;b&quot;\">\
             <subdir name=\"x/\" /><name>a&lt;b&gt;\n</name><bytes>5</bytes></container>"
        );
    }
}
