//! Percent encoding of paths, by one rule for names between servers and in SigV4.

use percent_encoding::{percent_decode_str, percent_encode_byte};

/// Appends `text` with everything but letters, digits, `-._~` and the bytes of `keep` encoded.
pub fn encode_into(out: &mut String, text: &[u8], keep: &[u8]) {
    for byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) || keep.contains(byte) {
            out.push(char::from(*byte));
        } else {
            out.push_str(percent_encode_byte(*byte));
        }
    }
}

/// Encodes a path, except for its slashes.
///
/// ```
/// assert_eq!(apus_cluster::percent::encode_path("/a b/ü"), "/a%20b/%C3%BC");
/// ```
pub fn encode_path(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    encode_into(&mut out, text.as_bytes(), b"/");
    out
}

/// Decodes each `%XX`; a percent sign without two hex digits after it stays as it is.
pub fn decode(text: &str) -> Vec<u8> {
    percent_decode_str(text).collect()
}

/// Decodes to text; `None` when the bytes are not UTF-8.
///
/// ```
/// assert_eq!(apus_cluster::percent::decode_utf8("a%20b").as_deref(), Some("a b"));
/// assert_eq!(apus_cluster::percent::decode_utf8("%ff"), None);
/// ```
pub fn decode_utf8(text: &str) -> Option<String> {
    String::from_utf8(decode(text)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stray_percent_signs_are_kept() {
        assert_eq!(decode("100%"), b"100%");
        assert_eq!(decode("%zz%4"), b"%zz%4");
        assert_eq!(decode("%+1%ü"), "%+1%ü".as_bytes());
        assert_eq!(decode("%c3%BC"), "ü".as_bytes());
    }

    proptest! {
        #[test]
        fn decoding_reverses_encoding(text in any::<String>()) {
            prop_assert_eq!(decode_utf8(&encode_path(&text)), Some(text));
        }

        #[test]
        fn encoded_bytes_are_safe_in_a_uri_and_decode_to_themselves(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut encoded = String::new();
            encode_into(&mut encoded, &bytes, b"");
            let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
            prop_assert!(encoded.bytes().all(is_safe), "{}", encoded);
            prop_assert_eq!(decode(&encoded), bytes);
        }

        #[test]
        fn any_text_can_be_decoded(text in any::<String>()) {
            prop_assert!(decode(&text).len() <= text.len());
        }
    }
}
