//! Signed HTML forms of Swift's dialect: what their fields say, and whether a key signed it.
//!
//! Source: `swift/common/middleware/formpost.py`.

use std::collections::BTreeMap;

use subtle::ConstantTimeEq;

use super::temp_url::{TempUrlDigest, parse_signature};

/// The settings of `[filter:formpost]`.
#[derive(Debug, Clone, Default)]
pub struct FormPostConfig {
    /// Digests of signatures.
    pub digests: Vec<TempUrlDigest>,
}

/// The fields of a form so far, by name in lower case.
#[derive(Clone, Default)]
pub(crate) struct SignedFields(BTreeMap<String, String>);

impl std::fmt::Debug for SignedFields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A field that does not hold a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} not an integer")]
pub(crate) struct NotAnInteger(pub(crate) &'static str);

impl SignedFields {
    /// Sets a field; the last of several with one name counts.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.0.insert(name.to_lowercase(), value);
    }

    /// A field that is not empty.
    pub(crate) fn given(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A field, which may be empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A number in a field, 0 without one. A negative number counts as 0.
    ///
    /// # Errors
    /// When the field does not hold a number.
    pub(crate) fn number(&self, name: &'static str) -> Result<u64, NotAnInteger> {
        let Some(text) = self.given(name) else { return Ok(0) };
        let number: i64 = text.trim().parse().map_err(|_| NotAnInteger(name))?;
        Ok(u64::try_from(number).unwrap_or(0))
    }

    /// Whether one of the keys signed the form for this path, decoded, with an allowed digest.
    pub(crate) fn is_signed(&self, path: &str, keys: &[String], config: &FormPostConfig) -> bool {
        let Some((digest, signature)) = self.given("signature").and_then(parse_signature) else {
            return false;
        };
        let field = |name: &str, default| self.given(name).unwrap_or(default);
        let message = format!(
            "{path}\n{}\n{}\n{}\n{}",
            field("redirect", ""),
            field("max_file_size", "0"),
            field("max_file_count", "0"),
            field("expires", "0"),
        );
        let mut is_signed = false;
        for key in keys {
            let expected = digest.sign(key, &message);
            is_signed |= !expected.is_empty() && bool::from(expected.ct_eq(&signature));
        }
        is_signed && config.digests.contains(&digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HMAC-SHA256 of the fields below with the key `k`, by Python's `hmac`.
    const SIGNATURE: &str = "5d06af626ee660c3c3ac3ff42629c50c37e7e1bc12313b2c43536e68475006e2";

    fn fields(more: &[(&str, &str)]) -> SignedFields {
        let mut fields = SignedFields::default();
        let given = [
            ("redirect", "https://h/done"),
            ("max_file_size", "1000"),
            ("Max_File_Count", "3"),
            ("expires", "1700000001"),
            ("signature", SIGNATURE),
        ];
        for (name, value) in given.iter().chain(more) {
            fields.set(name, (*value).to_owned());
        }
        fields
    }

    #[test]
    fn a_signature_is_of_the_path_and_all_limits() {
        let config = FormPostConfig { digests: vec![TempUrlDigest::Sha256] };
        let keys = ["other".to_owned(), "k".to_owned()];
        let is_signed =
            |more: &[(&str, &str)], path: &str| fields(more).is_signed(path, &keys, &config);
        assert!(is_signed(&[("x_delete_after", "5")], "/v1/AUTH_a/c/up"));
        for (more, path) in [
            (&[][..], "/v1/AUTH_a/c/u"),
            (&[("redirect", "https://h/other")], "/v1/AUTH_a/c/up"),
            (&[("max_file_size", "1001")], "/v1/AUTH_a/c/up"),
            (&[("max_file_count", "4")], "/v1/AUTH_a/c/up"),
            (&[("expires", "1700000002")], "/v1/AUTH_a/c/up"),
            (&[("signature", "")], "/v1/AUTH_a/c/up"),
        ] {
            assert!(!is_signed(more, path), "{more:?} {path}");
        }
        assert!(!fields(&[]).is_signed("/v1/AUTH_a/c/up", &keys[..1], &config));
        let sha1 = FormPostConfig { digests: vec![TempUrlDigest::Sha1] };
        assert!(!fields(&[]).is_signed("/v1/AUTH_a/c/up", &keys, &sha1));
    }

    #[test]
    fn numbers_are_decimal_and_not_negative() {
        for (text, expected) in [
            ("", Ok(0)),
            ("12", Ok(12)),
            (" 12 ", Ok(12)),
            ("-1", Ok(0)),
            ("1.5", Err(NotAnInteger("expires"))),
            ("x", Err(NotAnInteger("expires"))),
        ] {
            assert_eq!(fields(&[("expires", text)]).number("expires"), expected, "{text}");
        }
    }
}
