//! Refuses paths with forbidden characters, too many bytes or a forbidden pattern.
//!
//! As in Swift the decoded path counts as the client sent it, of both dialects and of `/info`; names in
//! headers and bodies (copies, bulk deletes, archives, forms) do not.
//!
//! Source: `swift/common/middleware/name_check.py`.

use apus_cluster::percent;
use apus_daemon::Body;
use apus_daemon::http::{set, text};
use http::{Response, StatusCode};
use regex::bytes::{Regex, RegexBuilder};

use super::refusal::document;

/// The settings of `[filter:name_check]`.
#[derive(Debug, Clone)]
pub struct NameCheck {
    forbidden_chars: String,
    maximum_length: usize,
    forbidden_regexp: Option<Regex>,
}

/// A path that is refused; with the text for Swift's clients.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PathRefusal(String);

/// An expression in the syntax of the `regex` crate, on bytes.
fn expression(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).unicode(false).build()
}

impl NameCheck {
    /// Settings: characters, a number of bytes, and an expression; an empty one forbids nothing.
    ///
    /// # Errors
    /// The expression is invalid.
    pub fn new(
        forbidden_chars: &str,
        maximum_length: usize,
        forbidden_regexp: &str,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let forbidden_regexp = match forbidden_regexp {
            "" => None,
            text => Some(expression(text)?),
        };
        let forbidden_chars = forbidden_chars.to_owned();
        Ok(Self { forbidden_chars, maximum_length, forbidden_regexp })
    }

    /// Whether a text is an expression that can be used.
    pub fn is_expression(text: &str) -> bool {
        expression(text).is_ok()
    }

    /// The settings, as `/info` has them.
    pub(super) fn info(&self) -> serde_json::Value {
        serde_json::json!({
            "forbidden_chars": self.forbidden_chars,
            "maximum_length": self.maximum_length,
            "forbidden_regexp": self.forbidden_regexp.as_ref().map_or("", Regex::as_str),
        })
    }

    /// Checks a raw path.
    pub(super) fn check(&self, raw: &str) -> Result<(), PathRefusal> {
        let path = percent::decode(raw);
        let mut buffer = [0; 4];
        let is_forbidden = |letter: char| {
            let bytes = letter.encode_utf8(&mut buffer).as_bytes();
            path.windows(bytes.len()).any(|window| window == bytes)
        };
        let name = "Object/Container/Account name";
        if self.forbidden_chars.chars().any(is_forbidden) {
            let chars = &self.forbidden_chars;
            return Err(PathRefusal(format!("{name} contains forbidden chars from {chars}")));
        }
        if path.len() > self.maximum_length {
            let length = self.maximum_length;
            return Err(PathRefusal(format!("{name} longer than the allowed maximum {length}")));
        }
        match self.forbidden_regexp.as_ref().filter(|regexp| regexp.is_match(&path)) {
            None => Ok(()),
            Some(regexp) => Err(PathRefusal(format!(
                "{name} contains a forbidden substring from regular expression {regexp}"
            ))),
        }
    }
}

impl PathRefusal {
    /// The response.
    pub(super) fn render(&self, is_s3: bool, trans_id: &str) -> Response<Body> {
        if !is_s3 {
            return text(StatusCode::BAD_REQUEST, &self.0);
        }
        let message = "This cluster does not allow the name of the bucket or object.";
        let document = document("InvalidURI", message, Some(trans_id));
        let mut response = text(StatusCode::BAD_REQUEST, &document);
        set(response.headers_mut(), "content-type", "application/xml");
        set(response.headers_mut(), "x-amz-request-id", trans_id);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SWIFTS: &str = r"/\./|/\.\./|/\.$|/\.\.$";

    #[test]
    fn paths_are_refused_with_the_reason() {
        let check = NameCheck::new("'\"`<>é", 20, SWIFTS).unwrap();
        for (path, reason) in [
            ("/v1/a/c/o", None),
            ("/v1/a/c/%27", Some("forbidden chars from '\"`<>é")),
            ("/v1/a/c/'", Some("forbidden chars")),
            ("/v1/a/c/%3Cx%3e", Some("forbidden chars")),
            ("/v1/a/c/%C3%A9", Some("forbidden chars")),
            ("/v1/a/c/%C3%A8", None),
            ("/v1/a/c/%ff", None),
            ("/v1/a/c/890123456789", None),
            ("/v1/a/c/8901234567890", Some("longer than the allowed maximum 20")),
            ("/v1/a/c/%41%41%41%41%41%41", None),
            ("/v1/a/c/./o", Some("forbidden substring from regular expression /\\./")),
            ("/v1/a/c/%2e%2e/o", Some("forbidden substring")),
            ("/v1/a/c/..", Some("forbidden substring")),
            ("/v1/a/c/.o", None),
            ("/bucket/a>", Some("forbidden chars")),
        ] {
            match (check.check(path), reason) {
                (Ok(()), None) => {}
                (Err(PathRefusal(text)), Some(reason)) => {
                    assert!(text.contains(reason), "{path}: {text}");
                }
                (found, _) => panic!("{path}: {found:?}"),
            }
        }
    }

    #[test]
    fn empty_settings_forbid_nothing_but_length() {
        let check = NameCheck::new("", 255, "").unwrap();
        assert_eq!(check.check("/v1/a/../'\"`<>"), Ok(()));
        assert!(check.check(&"/".repeat(256)).is_err());
    }

    #[test]
    fn expressions_that_cannot_be_used_are_refused() {
        for text in ["(", "(?=x)", r"(a)\1", "[é]"] {
            assert!(!NameCheck::is_expression(text), "{text}");
            assert!(NameCheck::new("", 1, text).is_err(), "{text}");
        }
        assert!(NameCheck::is_expression(SWIFTS) && NameCheck::is_expression(""));
    }
}
