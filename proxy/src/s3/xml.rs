//! XML documents: a small writer, and a strict reader without entities or declarations.

use quick_xml::Reader;
use quick_xml::events::Event;

use super::Result;
use super::error::{Code, S3Error};

/// Largest document that a client may send, in bytes (1,000 keys of 1 KiB, escaped).
pub(super) const DOCUMENT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Deepest nesting in one.
const DEPTH_MAX: usize = 16;
/// The namespace of every document.
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Writes a document.
pub(super) struct Writer(String);

impl Writer {
    pub(super) fn new() -> Self {
        Self("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned())
    }

    /// Opens the root, in S3's namespace.
    pub(super) fn root(&mut self, name: &str) {
        self.0.push_str(&format!("<{name} xmlns=\"{NAMESPACE}\">"));
    }

    pub(super) fn open(&mut self, name: &str) {
        self.0.push('<');
        self.0.push_str(name);
        self.0.push('>');
    }

    pub(super) fn close(&mut self, name: &str) {
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }

    /// An element with text. Characters that XML 1.0 cannot carry at all, not even as references,
    /// become U+FFFD, so that the document can be read.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        let is_special = |character: char| {
            character < ' ' || matches!(character, '&' | '<' | '>' | '"' | '\u{fffe}' | '\u{ffff}')
        };
        self.open(name);
        let mut rest = text;
        while let Some(at) = rest.find(is_special) {
            let (plain, tail) = rest.split_at(at);
            let mut characters = tail.chars();
            self.0.push_str(plain);
            self.0.push_str(match characters.next() {
                Some('&') => "&amp;",
                Some('<') => "&lt;",
                Some('>') => "&gt;",
                Some('"') => "&quot;",
                // As they are, readers may change them.
                Some('\t') => "&#x9;",
                Some('\n') => "&#xA;",
                Some('\r') => "&#xD;",
                _ => "\u{fffd}",
            });
            rest = characters.as_str();
        }
        self.0.push_str(rest);
        self.close(name);
    }

    pub(super) fn number(&mut self, name: &str, number: impl std::fmt::Display) {
        self.text(name, &number.to_string());
    }

    pub(super) fn flag(&mut self, name: &str, flag: bool) {
        self.text(name, if flag { "true" } else { "false" });
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// An element of a read document.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    /// Name without its prefix.
    pub(super) name: String,
    /// Text in it.
    pub(super) text: String,
    /// Elements in it.
    pub(super) children: Vec<Element>,
}

impl Element {
    /// The first child of this name.
    pub(super) fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the first child of this name.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }

    /// All children of this name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }
}

fn malformed() -> S3Error {
    S3Error::new(Code::MalformedXML)
}

/// Reads a document.
pub(super) fn parse(bytes: &[u8]) -> Result<Element> {
    let text = std::str::from_utf8(bytes).map_err(|_| malformed())?;
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Element> = Vec::new();
    let mut root: Option<Element> = None;
    loop {
        match reader.read_event().map_err(|_| malformed())? {
            Event::Start(start) => {
                if open.len() >= DEPTH_MAX || root.is_some() {
                    return Err(malformed());
                }
                let name = start.local_name().as_ref().to_owned();
                open.push(Element { name, ..Element::default() });
            }
            Event::Empty(start) => {
                let name = start.local_name().as_ref().to_owned();
                let element = Element { name, ..Element::default() };
                match open.last_mut() {
                    Some(parent) => parent.children.push(element),
                    None if root.is_none() => root = Some(element),
                    None => return Err(malformed()),
                }
            }
            Event::End(_) => {
                let element = open.pop().ok_or_else(malformed)?;
                match open.last_mut() {
                    Some(parent) => parent.children.push(element),
                    None => root = Some(element),
                }
            }
            Event::Text(piece) => match open.last_mut() {
                Some(element) => element.text.push_str(&piece),
                None if piece.trim().is_empty() => {}
                None => return Err(malformed()),
            },
            Event::CData(piece) => {
                open.last_mut().ok_or_else(malformed)?.text.push_str(&piece);
            }
            Event::GeneralRef(reference) => {
                let element = open.last_mut().ok_or_else(malformed)?;
                let character = match &*reference {
                    "amp" => '&',
                    "lt" => '<',
                    "gt" => '>',
                    "quot" => '"',
                    "apos" => '\'',
                    // Only characters by number; no entity is ever expanded.
                    _ => reference.resolve_char_ref().ok().flatten().ok_or_else(malformed)?,
                };
                element.text.push(character);
            }
            Event::DocType(_) => return Err(malformed()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    if !open.is_empty() {
        return Err(malformed());
    }
    root.ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_written_so_that_it_can_be_read() {
        for (text, written) in [
            ("plain ü ☃", "plain ü ☃"),
            ("<a> & \"b\" 'c'", "&lt;a&gt; &amp; &quot;b&quot; 'c'"),
            ("a\tb\nc\rd\r\ne", "a&#x9;b&#xA;c&#xD;d&#xD;&#xA;e"),
            ("bell\u{7}nul\0esc\u{1b}", "bell\u{fffd}nul\u{fffd}esc\u{fffd}"),
            ("\u{fffe}\u{ffff}\u{7f}\u{85}", "\u{fffd}\u{fffd}\u{7f}\u{85}"),
            ("", ""),
        ] {
            let mut out = Writer(String::new());
            out.text("K", text);
            assert_eq!(out.finish(), format!("<K>{written}</K>"));
        }
    }

    #[test]
    fn documents_are_read_with_references_and_without_entities() {
        let root =
            parse(b"<?xml version='1.0'?><D xmlns='x'><K>a &amp; &#x42;</K><K/></D>").unwrap();
        assert_eq!(root.name, "D");
        let texts: Vec<_> = root.all("K").map(|key| key.text.as_str()).collect();
        assert_eq!(texts, ["a & B", ""]);
        for bad in [
            "",
            "<a>",
            "<a></b>",
            "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>",
            "<a>&x;</a>",
            "<a/><b/>",
            "text",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
