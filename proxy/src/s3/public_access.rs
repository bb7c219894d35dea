//! The block of public access to a bucket: `?publicAccessBlock`.

use apus_bucket::ConfigKind;
use apus_bucket::public_access::PublicAccessBlock;

use super::bucket_config::BucketDocument;
use super::error::{Code, Result, S3Error};
use super::xml::{self, Writer};

const DOCUMENT: xml::Schema = xml::Schema {
    root: "PublicAccessBlockConfiguration",
    item: "BlockPublicAcls",
    items_max: 1,
    within_max: 0,
};

impl BucketDocument for PublicAccessBlock {
    const KIND: ConfigKind = ConfigKind::PublicAccess;
    const MISSING: Code = Code::NoSuchPublicAccessBlockConfiguration;

    fn parse(document: &[u8]) -> Result<Self> {
        let malformed = || S3Error::new(Code::MalformedXML);
        let mut block = Self::default();
        let mut names: Vec<String> = Vec::new();
        xml::read(document, &DOCUMENT, |child| {
            let flag = match child.text.trim() {
                text if text.eq_ignore_ascii_case("true") => true,
                text if text.eq_ignore_ascii_case("false") => false,
                _ => return Err(malformed()),
            };
            let field = match child.name.as_str() {
                "BlockPublicAcls" => &mut block.block_public_acls,
                "IgnorePublicAcls" => &mut block.ignore_public_acls,
                "BlockPublicPolicy" => &mut block.block_public_policy,
                "RestrictPublicBuckets" => &mut block.restrict_public_buckets,
                _ => return Err(malformed()),
            };
            if names.contains(&child.name) {
                return Err(malformed());
            }
            *field = flag;
            names.push(child.name);
            Ok(())
        })?;
        Ok(block)
    }

    fn render(&self, out: &mut Writer) {
        out.root("PublicAccessBlockConfiguration");
        out.flag("BlockPublicAcls", self.block_public_acls);
        out.flag("IgnorePublicAcls", self.ignore_public_acls);
        out.flag("BlockPublicPolicy", self.block_public_policy);
        out.flag("RestrictPublicBuckets", self.restrict_public_buckets);
        out.close("PublicAccessBlockConfiguration");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(inner: &str) -> std::result::Result<PublicAccessBlock, Code> {
        let document =
            format!("<PublicAccessBlockConfiguration>{inner}</PublicAccessBlockConfiguration>");
        <PublicAccessBlock as BucketDocument>::parse(document.as_bytes())
            .map_err(|error| error.code)
    }

    #[test]
    fn settings_that_are_not_given_are_off() {
        assert_eq!(parsed(""), Ok(PublicAccessBlock::default()));
        let block = parsed(
            "<BlockPublicPolicy>true</BlockPublicPolicy><IgnorePublicAcls>FALSE</IgnorePublicAcls>",
        );
        let expected = PublicAccessBlock { block_public_policy: true, ..Default::default() };
        assert_eq!(block, Ok(expected));
        let mut out = Writer::new();
        expected.render(&mut out);
        let read = <PublicAccessBlock as BucketDocument>::parse(out.finish().as_bytes());
        assert_eq!(read.unwrap(), expected);
    }

    #[test]
    fn other_documents_are_refused() {
        for bad in [
            "<BlockPublicAcls>yes</BlockPublicAcls>",
            "<BlockPublicAcls/>",
            "<Other>true</Other>",
            "<IgnorePublicAcls>true</IgnorePublicAcls><IgnorePublicAcls>true</IgnorePublicAcls>",
        ] {
            assert_eq!(parsed(bad), Err(Code::MalformedXML), "{bad}");
        }
    }
}
