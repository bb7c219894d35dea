//! Access key ids and secret keys, which have letters and digits only.

use std::fmt;

use apus_daemon::random;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The beginning of every id.
const PREFIX: &str = "AK";
/// Length of an id.
const ID_LENGTH: usize = 20;
/// Characters at the end of an id that are computed from the others.
pub(crate) const CHECK_LENGTH: usize = 5;
/// Length of a secret: 40 of 62 characters have 238 bits.
const SECRET_LENGTH: usize = 40;

const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const MIXED: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Random text of these characters, each equally likely.
pub(crate) fn random_text(length: usize, alphabet: &[u8]) -> String {
    // Bytes beyond the last whole multiple would make some characters likelier.
    let fair = 256 - 256 % alphabet.len().max(1);
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let bytes = random::bytes::<64>();
        let chosen = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        let chosen = chosen.filter_map(|byte| alphabet.get(byte % alphabet.len()));
        text.extend(chosen.take(length - text.len()).map(|byte| char::from(*byte)));
    }
    text
}

/// The unique id of a user or group, with the prefix that IAM has for its kind.
pub(crate) fn unique_id(prefix: &str) -> String {
    format!("{prefix}{}", random_text(17, UPPER))
}

/// Id of an access key: `AK`, then 18 capital letters and digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccessKeyId(String);

impl AccessKeyId {
    /// Parses an id.
    pub fn parse(text: &str) -> Option<Self> {
        let is_id = text.len() == ID_LENGTH
            && text.starts_with(PREFIX)
            && text.bytes().all(|byte| UPPER.contains(&byte));
        is_id.then(|| Self(text.to_owned()))
    }

    /// A random id whose last characters are those of `check`.
    pub(crate) fn generate(check: impl FnOnce(&str) -> String) -> Self {
        let body = format!("{PREFIX}{}", random_text(ID_LENGTH - 2 - CHECK_LENGTH, UPPER));
        let check = check(&body);
        Self(body + &check)
    }

    /// The characters that the last ones are computed from, and those.
    pub(crate) fn parts(&self) -> (&str, &str) {
        self.0.split_at_checked(ID_LENGTH - CHECK_LENGTH).unwrap_or_default()
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Characters of ids from a number, the same length for all.
pub(crate) fn check_text(mut number: u64) -> String {
    let base = UPPER.len() as u64;
    let mut text = String::with_capacity(CHECK_LENGTH);
    for _ in 0..CHECK_LENGTH {
        let index = usize::try_from(number % base).unwrap_or_default();
        text.push(UPPER.get(index).map_or('A', |byte| char::from(*byte)));
        number /= base;
    }
    text
}

/// The secret of an access key. It is overwritten when it is dropped, and never shown by `Debug`.
#[derive(Clone)]
pub struct SecretKey(Zeroizing<String>);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl SecretKey {
    /// A random secret.
    pub(crate) fn generate() -> Self {
        Self(Zeroizing::new(random_text(SECRET_LENGTH, MIXED)))
    }

    /// A secret that was stored, or one of a configuration.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is this text; the comparison takes the same time for all texts of one length.
    pub fn is(&self, text: &str) -> bool {
        bool::from(self.0.as_bytes().ct_eq(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_capital_letters_and_digits_after_their_prefix() {
        let id = AccessKeyId::generate(|body| {
            assert_eq!(body.len(), 15);
            "ABCDE".to_owned()
        });
        assert_eq!(AccessKeyId::parse(id.as_str()), Some(id.clone()));
        assert_eq!(id.parts().1, "ABCDE");
        let lower = id.as_str().to_lowercase();
        for text in ["", "AK", "test:tester", &lower, &format!("{id}A"), "AK12345678901234567é"] {
            assert_eq!(AccessKeyId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn secrets_are_letters_and_digits_and_differ() {
        let secrets: Vec<SecretKey> = (0..50).map(|_| SecretKey::generate()).collect();
        for secret in &secrets {
            assert_eq!(secret.as_str().len(), 40);
            assert!(secret.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric()));
            assert_eq!(secrets.iter().filter(|other| secret.is(other.as_str())).count(), 1);
        }
        assert_eq!(format!("{:?}", secrets[0]), "SecretKey(..)");
    }

    #[test]
    fn each_character_is_about_equally_likely() {
        let text = random_text(36 * 400, UPPER);
        for letter in UPPER {
            let count = text.bytes().filter(|byte| byte == letter).count();
            assert!((250..=550).contains(&count), "{letter}: {count}");
        }
    }

    #[test]
    fn numbers_become_texts_of_one_length() {
        assert_eq!(check_text(0), "AAAAA");
        assert_eq!(check_text(36 + 25), "ZBAAA");
        assert_eq!(check_text(u64::MAX).len(), 5);
    }
}
