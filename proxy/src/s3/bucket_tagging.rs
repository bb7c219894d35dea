//! The XML document of tags.

use apus_bucket::tagging::TaggedResource;
use apus_bucket::{ConfigKind, Tag, TagError, TagSet};
use http::StatusCode;

use super::bucket_config::BucketDocument;
use super::error::{Code, Result, S3Error};
use super::xml::{self, Writer};

const DOCUMENT: xml::Schema =
    xml::Schema { root: "Tagging", item: "TagSet", items_max: 1, within_max: 4 * 51 };

impl From<TagError> for S3Error {
    fn from(error: TagError) -> Self {
        Self::new(Code::InvalidTag).text(error.to_string())
    }
}

/// Parses a document of tags.
///
/// # Errors
/// `MalformedXML`, `InvalidTag`.
pub(super) fn parse(document: &[u8], resource: TaggedResource) -> Result<TagSet> {
    let malformed = || S3Error::new(Code::MalformedXML);
    let mut tags = None;
    xml::read(document, &DOCUMENT, |child| {
        if child.name != "TagSet" {
            return Err(malformed());
        }
        let parse = |tag: &xml::Element| {
            let text = |name| tag.text_of(name).map(str::to_owned).ok_or_else(malformed);
            if tag.name != "Tag" || tag.children.len() != 2 {
                return Err(malformed());
            }
            Ok(Tag { key: text("Key")?, value: text("Value")? })
        };
        tags = Some(child.children.iter().map(parse).collect::<Result<Vec<_>>>()?);
        Ok(())
    })?;
    Ok(TagSet::new(tags.ok_or_else(malformed)?, resource)?)
}

/// Writes a document of tags.
pub(super) fn render(tags: &TagSet, out: &mut Writer) {
    out.root("Tagging");
    out.open("TagSet");
    for tag in tags.tags() {
        out.open("Tag");
        out.text("Key", &tag.key);
        out.text("Value", &tag.value);
        out.close("Tag");
    }
    out.close("TagSet");
    out.close("Tagging");
}

/// The tags of a bucket.
impl BucketDocument for TagSet {
    const KIND: ConfigKind = ConfigKind::Tagging;
    const MISSING: Code = Code::NoSuchTagSet;
    const PUT_STATUS: StatusCode = StatusCode::NO_CONTENT;

    fn parse(document: &[u8]) -> Result<Self> {
        parse(document, TaggedResource::Bucket)
    }

    fn render(&self, out: &mut Writer) {
        render(self, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_tags_are_read_strictly_and_written_back() {
        let tag = "<Tag><Key>a &amp; b</Key><Value/></Tag>".replace("&amp;", "=");
        let document = format!("<Tagging><TagSet>{tag}</TagSet></Tagging>");
        let tags = <TagSet as BucketDocument>::parse(document.as_bytes()).unwrap();
        assert_eq!(tags.get("a = b"), Some(""));
        let mut out = Writer::new();
        render(&tags, &mut out);
        assert!(out.finish().contains("<Tag><Key>a = b</Key><Value></Value></Tag>"));
        for (document, code) in [
            ("", Code::MalformedXML),
            ("<Tagging/>", Code::MalformedXML),
            ("<Tagging><Tags/></Tagging>", Code::MalformedXML),
            ("<Tagging><TagSet/><TagSet/></Tagging>", Code::MalformedXML),
            ("<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>", Code::MalformedXML),
            ("<Tagging><TagSet><Tag><Key/><Value/></Tag></TagSet></Tagging>", Code::InvalidTag),
        ] {
            let refused = <TagSet as BucketDocument>::parse(document.as_bytes()).unwrap_err();
            assert_eq!(refused.code, code, "{document}");
        }
    }

    #[test]
    fn the_largest_set_of_tags_fits_the_document() {
        let tags: String =
            (0..50).map(|n| format!("<Tag><Key>{n}</Key><Value>v</Value></Tag>")).collect();
        let document = format!("<Tagging><TagSet>{tags}</TagSet></Tagging>");
        let parsed = <TagSet as BucketDocument>::parse(document.as_bytes()).unwrap();
        assert_eq!(parsed.tags().len(), 50);
    }
}
