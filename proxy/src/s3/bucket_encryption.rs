//! The XML document of a bucket's default encryption.

use apus_bucket::ConfigKind;
use apus_bucket::encryption::{BucketEncryption, DefaultEncryption, InvalidEncryption};

use super::bucket_config::BucketDocument;
use super::error::{Code, Result, S3Error};
use super::xml::{self, Writer};

const DOCUMENT: xml::Schema = xml::Schema {
    root: "ServerSideEncryptionConfiguration",
    item: "Rule",
    items_max: 1,
    within_max: 16,
};

impl From<InvalidEncryption> for S3Error {
    fn from(error: InvalidEncryption) -> Self {
        let code = match error {
            InvalidEncryption::Algorithm(_) => Code::MalformedXML,
            InvalidEncryption::KeyWithoutKms | InvalidEncryption::Key => Code::InvalidArgument,
        };
        Self::new(code).text(error.to_string())
    }
}

fn malformed() -> S3Error {
    S3Error::new(Code::MalformedXML)
}

/// A rule, which may have elements in any order.
fn rule(element: &xml::Element) -> Result<BucketEncryption> {
    let mut default = None;
    let mut bucket_key = false;
    for child in &element.children {
        match child.name.as_str() {
            "ApplyServerSideEncryptionByDefault" => {
                let known = ["SSEAlgorithm", "KMSMasterKeyID"];
                if child.children.iter().any(|item| !known.contains(&item.name.as_str())) {
                    return Err(malformed());
                }
                let algorithm = child.text_of("SSEAlgorithm").ok_or_else(malformed)?;
                if algorithm == "aws:kms:dsse" {
                    return Err(S3Error::new(Code::NotImplemented)
                        .text("SSEAlgorithm: aws:kms:dsse is not implemented"));
                }
                default = Some(DefaultEncryption::new(algorithm, child.text_of("KMSMasterKeyID"))?);
            }
            "BucketKeyEnabled" => {
                bucket_key = match child.text.trim() {
                    "true" => true,
                    "false" => false,
                    _ => return Err(malformed()),
                };
            }
            other => {
                return Err(S3Error::new(Code::NotImplemented)
                    .text(format!("{other} of an encryption rule is not implemented")));
            }
        }
    }
    Ok(BucketEncryption { default: default.ok_or_else(malformed)?, bucket_key })
}

impl BucketDocument for BucketEncryption {
    const KIND: ConfigKind = ConfigKind::Encryption;
    const MISSING: Code = Code::ServerSideEncryptionConfigurationNotFoundError;

    fn parse(document: &[u8]) -> Result<Self> {
        let mut found = None;
        xml::read(document, &DOCUMENT, |child| {
            if child.name != "Rule" {
                return Err(malformed());
            }
            found = Some(rule(&child)?);
            Ok(())
        })?;
        found.ok_or_else(malformed)
    }

    fn render(&self, out: &mut Writer) {
        out.root("ServerSideEncryptionConfiguration");
        out.open("Rule");
        out.open("ApplyServerSideEncryptionByDefault");
        match &self.default {
            DefaultEncryption::Managed => out.text("SSEAlgorithm", "AES256"),
            DefaultEncryption::Kms { key } => {
                out.text("SSEAlgorithm", "aws:kms");
                if let Some(key) = key {
                    out.text("KMSMasterKeyID", key);
                }
            }
        }
        out.close("ApplyServerSideEncryptionByDefault");
        out.flag("BucketKeyEnabled", self.bucket_key);
        out.close("Rule");
        out.close("ServerSideEncryptionConfiguration");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(rule: &str) -> String {
        format!("<ServerSideEncryptionConfiguration>{rule}</ServerSideEncryptionConfiguration>")
    }

    fn parse(rule: &str) -> std::result::Result<BucketEncryption, Code> {
        BucketEncryption::parse(document(rule).as_bytes()).map_err(|error| error.code)
    }

    #[test]
    fn documents_are_read_strictly_and_written_back() {
        let by = |inner: &str| {
            format!(
                "<Rule><ApplyServerSideEncryptionByDefault>{inner}</ApplyServerSideEncryptionByDefault></Rule>"
            )
        };
        let aes = by("<SSEAlgorithm>AES256</SSEAlgorithm>");
        let expected = BucketEncryption { default: DefaultEncryption::Managed, bucket_key: false };
        assert_eq!(parse(&aes), Ok(expected));
        let kms = by("<SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>k</KMSMasterKeyID>");
        let parsed = parse(&kms).unwrap();
        let mut out = Writer::new();
        parsed.render(&mut out);
        assert_eq!(BucketEncryption::parse(out.finish().as_bytes()).unwrap(), parsed);
        for (rule, code) in [
            (String::new(), Code::MalformedXML),
            ("<Rule/>".to_owned(), Code::MalformedXML),
            (by(""), Code::MalformedXML),
            (by("<SSEAlgorithm>AES128</SSEAlgorithm>"), Code::MalformedXML),
            (by("<SSEAlgorithm>aws:kms:dsse</SSEAlgorithm>"), Code::NotImplemented),
            (
                by("<SSEAlgorithm>AES256</SSEAlgorithm><KMSMasterKeyID>k</KMSMasterKeyID>"),
                Code::InvalidArgument,
            ),
            ("<Rule><BlockedEncryptionTypes/></Rule>".to_owned(), Code::NotImplemented),
        ] {
            assert_eq!(parse(&rule), Err(code), "{rule}");
        }
    }
}
