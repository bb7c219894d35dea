//! A writer of XML documents, and a strict reader that returns items one by one.

use apus_daemon::http::{full, set};
use http::Response;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::error::{Code, Result, S3Error};
use crate::reply::Reply;

/// Largest document that a client may send, in bytes (1,000 keys of 1 KiB, escaped).
pub(super) const DOCUMENT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Deepest nesting in one.
const DEPTH_MAX: usize = 16;
/// The namespace of every document.
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Writes an XML document.
pub(super) struct Writer(String);

impl Writer {
    pub(super) fn new() -> Self {
        Self("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned())
    }

    /// A writer of a page in HTML.
    pub(super) fn html() -> Self {
        Self("<!DOCTYPE html>\n".to_owned())
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

    /// An element with text. Characters that XML 1.0 cannot represent, not even as references, become
    /// U+FFFD.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.open(name);
        self.content(text);
        self.close(name);
    }

    /// Text within an element.
    pub(super) fn content(&mut self, text: &str) {
        let is_special = |character: char| {
            character < ' ' || matches!(character, '&' | '<' | '>' | '"' | '\u{fffe}' | '\u{ffff}')
        };
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
                // Parsers may change these characters unless they are references.
                Some('\t') => "&#x9;",
                Some('\n') => "&#xA;",
                Some('\r') => "&#xD;",
                _ => "\u{fffd}",
            });
            rest = characters.as_str();
        }
        self.0.push_str(rest);
    }

    pub(super) fn number(&mut self, name: &str, number: impl std::fmt::Display) {
        self.text(name, &number.to_string());
    }

    pub(super) fn flag(&mut self, name: &str, flag: bool) {
        self.text(name, if flag { "true" } else { "false" });
    }

    /// A user, as the owner of a resource or the initiator of an upload.
    pub(super) fn owner(&mut self, element: &str, name: &str) {
        self.open(element);
        self.text("ID", name);
        self.text("DisplayName", name);
        self.close(element);
    }

    /// The document.
    pub(super) fn finish(self) -> String {
        self.0
    }

    /// The document as a response.
    pub(super) fn reply(self) -> Reply {
        document(self.finish())
    }
}

/// A response with an XML document.
pub(super) fn document(text: String) -> Reply {
    let mut response = Response::new(full(text));
    set(response.headers_mut(), "content-type", "application/xml");
    response
}

/// An element of a document.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    /// Name without its prefix.
    pub(super) name: String,
    /// The attribute `type` of any prefix.
    pub(super) kind: Option<String>,
    /// Text in it.
    pub(super) text: String,
    /// Elements in it.
    pub(super) children: Vec<Element>,
}

impl Element {
    fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// The first child of this name.
    pub(super) fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the first child of this name.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }
}

/// The structure of a document: a root with items of one name, and few other elements.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schema {
    /// Name of the root.
    pub(super) root: &'static str,
    /// Name of the repeated children of the root.
    pub(super) item: &'static str,
    /// Most of them.
    pub(super) items_max: usize,
    /// Most elements within one child of the root.
    pub(super) within_max: usize,
}

/// Most children of the root that are not items, and usually most elements within one child.
pub(super) const ELEMENTS_MAX: usize = 64;

fn malformed() -> S3Error {
    S3Error::new(Code::MalformedXML)
}

/// The attribute `type` of an element.
fn kind_of(start: &BytesStart<'_>) -> Result<Option<String>> {
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|_| malformed())?;
        if attribute.key.local_name().as_ref() == "type" {
            return Ok(Some(attribute.value.into_owned()));
        }
    }
    Ok(None)
}

/// The state of the reader. Only the current child of the root is held; quick-xml checks the names of
/// end tags.
struct Children<'a, F> {
    schema: &'a Schema,
    /// Elements that are open below the root, the child of the root first.
    open: Vec<Element>,
    /// Whether the root is open, and whether it was closed.
    in_root: bool,
    ended: bool,
    items: usize,
    others: usize,
    /// Elements within the current child.
    within: usize,
    take: F,
}

impl<F: FnMut(Element) -> Result<()>> Children<'_, F> {
    fn start(&mut self, start: &BytesStart<'_>) -> Result<()> {
        let name = start.local_name();
        let name = name.as_ref();
        if !self.in_root {
            if self.ended || name != self.schema.root {
                return Err(malformed());
            }
            self.in_root = true;
            return Ok(());
        }
        if self.open.is_empty() {
            let (count, max) = match name == self.schema.item {
                true => (&mut self.items, self.schema.items_max),
                false => (&mut self.others, ELEMENTS_MAX),
            };
            *count += 1;
            if *count > max {
                return Err(malformed());
            }
            self.within = 0;
        } else {
            self.within += 1;
        }
        if self.open.len() >= DEPTH_MAX || self.within > self.schema.within_max {
            return Err(malformed());
        }
        self.open.push(Element { kind: kind_of(start)?, ..Element::named(name) });
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let Some(element) = self.open.pop() else {
            if !self.in_root {
                return Err(malformed());
            }
            (self.in_root, self.ended) = (false, true);
            return Ok(());
        };
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => (self.take)(element)?,
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<()> {
        match self.open.last_mut() {
            Some(element) => element.text.push_str(text),
            // Between the children of the root text has no meaning.
            None if self.in_root || text.trim().is_empty() => {}
            None => return Err(malformed()),
        }
        Ok(())
    }
}

/// Parses a document, and passes each child of its root to `take` when it is complete.
///
/// # Errors
/// `MalformedXML` for another root, more than `items_max` items, invalid XML, and any entity; and the
/// errors of `take`.
pub(super) fn read(
    bytes: &[u8],
    schema: &Schema,
    take: impl FnMut(Element) -> Result<()>,
) -> Result<()> {
    let text = std::str::from_utf8(bytes).map_err(|_| malformed())?;
    let mut reader = Reader::from_str(text);
    let mut children = Children {
        schema,
        open: Vec::new(),
        in_root: false,
        ended: false,
        items: 0,
        others: 0,
        within: 0,
        take,
    };
    loop {
        match reader.read_event().map_err(|_| malformed())? {
            Event::Start(start) => children.start(&start)?,
            Event::Empty(start) => {
                children.start(&start)?;
                children.end()?;
            }
            Event::End(_) => children.end()?,
            Event::Text(piece) => children.text(&piece)?,
            Event::CData(piece) if children.in_root => children.text(&piece)?,
            Event::GeneralRef(reference) if children.in_root => {
                let character = match &*reference {
                    "amp" => '&',
                    "lt" => '<',
                    "gt" => '>',
                    "quot" => '"',
                    "apos" => '\'',
                    // Only characters by number: entities are not expanded.
                    _ => reference.resolve_char_ref().ok().flatten().ok_or_else(malformed)?,
                };
                children.text(character.encode_utf8(&mut [0; 4]))?;
            }
            Event::CData(_) | Event::GeneralRef(_) | Event::DocType(_) => return Err(malformed()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    if children.ended { Ok(()) } else { Err(malformed()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: Schema =
        Schema { root: "D", item: "K", items_max: 1000, within_max: ELEMENTS_MAX };

    fn items(document: &[u8]) -> Result<Vec<Element>> {
        let mut found = Vec::new();
        read(document, &SCHEMA, |element| {
            found.push(element);
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn any_text_is_written_as_valid_xml() {
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
    fn documents_may_have_references_but_no_entities() {
        let found =
            items(b"<?xml version='1.0'?><D xmlns='x'><K>a &amp; &#x42;</K><x:K/></D>").unwrap();
        let texts: Vec<_> = found.iter().map(|key| (&*key.name, &*key.text)).collect();
        assert_eq!(texts, [("K", "a & B"), ("K", "")]);
        let found = items(b"<D><K><A>1</A><A>2</A><B><C/></B></K><Quiet>true</Quiet></D>").unwrap();
        assert_eq!(found[0].text_of("A"), Some("1"));
        assert!(found[0].child("B").unwrap().child("C").is_some());
        assert_eq!((&*found[1].name, &*found[1].text), ("Quiet", "true"));
    }

    #[test]
    fn other_documents_are_refused() {
        for bad in [
            "",
            "<D>",
            "<D></E>",
            "<!DOCTYPE D [<!ENTITY x 'y'>]><D><K>&x;</K></D>",
            "<D><K>&x;</K></D>",
            "<D/><D/>",
            "<E/>",
            "<D/>text",
            "<D/>&amp;",
            "text",
        ] {
            assert_eq!(items(bad.as_bytes()).unwrap_err().code, Code::MalformedXML, "{bad}");
        }
    }

    #[test]
    fn reading_stops_at_the_first_element_beyond_what_is_allowed() {
        let many = |element: &str, count: usize| format!("<D>{}</D>", element.repeat(count));
        assert_eq!(items(many("<K/>", 1000).as_bytes()).unwrap().len(), 1000);
        let deep = format!("<D>{}{}</D>", "<K>".repeat(17), "</K>".repeat(17));
        for (what, document) in [
            ("items", many("<K/>", 1001)),
            ("others", many("<a/>", 65)),
            ("within an item", format!("<D><K>{}</K></D>", "<a/>".repeat(65))),
            ("depth", deep),
        ] {
            assert_eq!(items(document.as_bytes()).unwrap_err().code, Code::MalformedXML, "{what}");
        }
        // The rest, which is not valid XML, is not read.
        let mut taken = 0;
        let document = format!("<D>{}<not closed", "<K/>".repeat(2000));
        let refused = read(document.as_bytes(), &SCHEMA, |_| {
            taken += 1;
            Ok(())
        });
        assert!(refused.is_err());
        assert_eq!(taken, 1000);
    }
}
