//! Header values as text: several lines, non-ASCII bytes, and encoded words of RFC 2047.
//!
//! HTTP leaves bytes from 0x80 on undefined. Clients send UTF-8 (curl, Go, Swift's) or Latin-1
//! (Node.js with a binary body, Python's `http.client`), or encode words. All are decoded to the same
//! text. AWS responds with encoded words, so that clients need not guess the encoding.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

/// Beginning of each encoded word, before the letter of its encoding.
const CHARSET: &str = "=?UTF-8?";
/// Longest text of an encoded word: RFC 2047 allows 75 characters with the delimiters.
const WORD_TEXT_MAX: usize = 63;

/// The lines of one header, joined by commas, as its raw bytes.
pub(crate) fn joined<'a>(headers: &'a HeaderMap, name: &str) -> Option<Cow<'a, [u8]>> {
    let mut lines = headers.get_all(name).iter().map(|value| value.as_bytes());
    let mut joined = Cow::Borrowed(lines.next()?);
    for line in lines {
        let whole = joined.to_mut();
        whole.push(b',');
        whole.extend_from_slice(line);
    }
    Some(joined)
}

/// The lines of one header, joined by commas, as text.
pub(crate) fn list<'a>(headers: &'a HeaderMap, name: &str) -> Option<Cow<'a, str>> {
    Some(match joined(headers, name)? {
        Cow::Borrowed(bytes) => text(bytes),
        Cow::Owned(bytes) => Cow::Owned(text(&bytes).into_owned()),
    })
}

/// A header value as text: UTF-8, or else Latin-1, in which all bytes are valid.
pub(crate) fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
    }
}

/// Decodes the encoded words of RFC 2047. The text is not changed if a word is invalid, has another
/// character set than UTF-8, ASCII or Latin-1, or decodes to control characters.
pub(crate) fn decode_words(text: &str) -> Cow<'_, str> {
    const BLANKS: [char; 2] = [' ', '\t'];
    if !text.contains("=?") {
        return Cow::Borrowed(text);
    }
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    let (mut rest, mut gap, mut after_word) = (text, "", false);
    while !rest.is_empty() {
        let (token, tail) = rest.split_at(rest.find(BLANKS).unwrap_or(rest.len()));
        let word = encoded_word(token);
        // Blanks between two encoded words are separators.
        if !(after_word && word.is_some()) {
            out.extend_from_slice(gap.as_bytes());
        }
        after_word = word.is_some();
        out.extend_from_slice(word.as_deref().unwrap_or(token.as_bytes()));
        rest = tail.trim_start_matches(BLANKS);
        gap = tail.get(..tail.len() - rest.len()).unwrap_or_default();
    }
    out.extend_from_slice(gap.as_bytes());
    match String::from_utf8(out) {
        Ok(decoded) if !decoded.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') => {
            Cow::Owned(decoded)
        }
        _ => Cow::Borrowed(text),
    }
}

/// The UTF-8 bytes of one encoded word.
fn encoded_word(token: &str) -> Option<Vec<u8>> {
    let (charset, rest) = token.strip_prefix("=?")?.strip_suffix("?=")?.split_once('?')?;
    let (encoding, text) = rest.split_once('?')?;
    let bytes = match encoding {
        "B" | "b" => STANDARD.decode(text).ok()?,
        "Q" | "q" => decode_q(text)?,
        _ => return None,
    };
    // RFC 2231 allows a language after the character set.
    let charset = charset.split('*').next().unwrap_or_default().to_ascii_lowercase();
    match charset.as_str() {
        "utf-8" | "us-ascii" => Some(bytes),
        "iso-8859-1" => Some(bytes.into_iter().map(char::from).collect::<String>().into_bytes()),
        _ => None,
    }
}

fn decode_q(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'_' => b' ',
            b'=' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'?' => return None,
            other => other,
        });
    }
    Some(out)
}

/// Encodes text that is not ASCII as words, in base64 if most of it is not ASCII.
pub(crate) fn encode_words(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let ascii = text.chars().filter(char::is_ascii).count();
    let is_q = ascii * 2 > text.chars().count();
    let cost = |character: char| match character {
        ' ' => 1,
        safe if is_q_safe(safe) => 1,
        other => 3 * other.len_utf8(),
    };
    let mut words: Vec<String> = Vec::new();
    let (mut piece, mut length) = (String::new(), 0);
    let mut finish = |piece: &mut String| {
        let (letter, encoded) =
            if is_q { ('Q', encode_q(piece)) } else { ('B', STANDARD.encode(&*piece)) };
        words.push(format!("{CHARSET}{letter}?{encoded}?="));
        piece.clear();
    };
    // A character is never split between two words.
    for character in text.chars() {
        let (more, max) = match is_q {
            true => (cost(character), WORD_TEXT_MAX),
            false => (character.len_utf8(), WORD_TEXT_MAX / 4 * 3),
        };
        if length + more > max {
            finish(&mut piece);
            length = 0;
        }
        piece.push(character);
        length += more;
    }
    finish(&mut piece);
    Cow::Owned(words.join(" "))
}

fn is_q_safe(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!*+-./".contains(character)
}

fn encode_q(piece: &str) -> String {
    let mut out = String::with_capacity(WORD_TEXT_MAX);
    for byte in piece.bytes() {
        match char::from(byte) {
            ' ' => out.push('_'),
            safe if is_q_safe(safe) => out.push(safe),
            _ => out.push_str(&format!("={byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_header_are_joined_by_commas() {
        let mut headers = HeaderMap::new();
        assert_eq!(list(&headers, "x-list"), None);
        headers.append("x-list", "ETag".parse().unwrap());
        assert!(matches!(list(&headers, "x-list"), Some(Cow::Borrowed("ETag"))));
        headers.append("x-list", "ObjectSize".parse().unwrap());
        headers.append("x-list", http::HeaderValue::from_bytes(b"\xfc").unwrap());
        assert_eq!(list(&headers, "x-list").as_deref(), Some("ETag,ObjectSize,ü"));
        assert_eq!(joined(&headers, "x-list").as_deref(), Some(&b"ETag,ObjectSize,\xfc"[..]));
    }

    #[test]
    fn utf_8_latin_1_and_encoded_words_decode_to_the_same_text() {
        for bytes in [
            "grün".as_bytes(),
            b"gr\xfcn",
            b"=?UTF-8?Q?gr=C3=BCn?=",
            b"=?utf-8?b?Z3LDvG4=?=",
            b"=?ISO-8859-1?q?gr=fcn?=",
            b"=?UTF-8?Q?gr=C3?= =?UTF-8?Q?=BCn?=",
            b"=?UTF-8*de?Q?gr=C3=BCn?=",
        ] {
            assert_eq!(decode_words(&text(bytes)), "grün", "{bytes:?}");
        }
        assert_eq!(decode_words("a =?UTF-8?Q?b_c?=  d "), "a b c  d ");
        assert_eq!(decode_words("=?UTF-8?Q?a?=\t=?UTF-8?B?Yg==?= c"), "ab c");
    }

    #[test]
    fn invalid_words_are_not_changed() {
        for text in [
            "plain",
            "what=?",
            "=?UTF-8?Q?=0D=0AX-Injected:_1?=",
            "=?UTF-8?Q?=00?=",
            "=?UTF-8?B?%%%?=",
            "=?UTF-8?Q?=FF?=",
            "=?UTF-8?Q?=C?=",
            "=?UTF-8?X?a?=",
            "=?koi8-r?Q?=C1?=",
            "=?UTF-8?Q?a?",
        ] {
            assert_eq!(decode_words(text), text);
        }
    }

    #[test]
    fn encoded_words_are_short_and_decode_to_the_text() {
        assert_eq!(encode_words("plain =?= text"), "plain =?= text");
        assert_eq!(encode_words("grün und_blau"), "=?UTF-8?Q?gr=C3=BCn_und=5Fblau?=");
        assert_eq!(encode_words("ключ"), "=?UTF-8?B?0LrQu9GO0Yc=?=");
        // AWS's user guide, "Working with object metadata".
        assert_eq!(
            encode_words("Ã\u{84}MÃ\u{84}ZÃ\u{95}Ã\u{91} S3"),
            "=?UTF-8?B?w4PChE3Dg8KEWsODwpXDg8KRIFMz?="
        );
        for text in ["ü".repeat(200), "a ☃ b ".repeat(50), format!("{}é", "x".repeat(300))] {
            let encoded = encode_words(&text);
            assert!(encoded.is_ascii());
            assert!(encoded.split(' ').all(|word| word.len() <= 75), "{encoded}");
            assert_eq!(decode_words(&encoded), text);
        }
    }
}
