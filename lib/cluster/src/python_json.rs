//! Strings of JSON in ASCII, as Python's `json.dumps` writes them.
//!
//! Texts in this form can be values of headers, and are equal byte for byte to those that Swift writes.

use std::fmt::Write;

/// Whether a character stands for itself in any text of JSON.
const fn is_printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

fn push_escaped(out: &mut String, character: char) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        // Writing to a string does not fail.
        let _ = write!(out, "\\u{unit:04x}");
    }
}

/// Appends a string with its quotes.
pub fn push_string(out: &mut String, text: &str) {
    let is_plain = |byte: u8| is_printable(byte) && byte != b'"' && byte != b'\\';
    out.push('"');
    if text.bytes().all(is_plain) {
        out.push_str(text);
    } else {
        for character in text.chars() {
            match character {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                ' '..='~' => out.push(character),
                other => push_escaped(out, other),
            }
        }
    }
    out.push('"');
}

/// JSON without line ends, with what is not printable ASCII escaped: such characters are in its strings only.
pub fn in_ascii(json: String) -> String {
    if json.bytes().all(is_printable) {
        return json;
    }
    let mut out = String::with_capacity(json.len() * 2);
    for character in json.chars() {
        match character {
            ' '..='~' => out.push(character),
            other => push_escaped(&mut out, other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_those_of_json_dumps() {
        // Each expected text is what Python 3 prints.
        for (text, expected) in [
            ("", r#""""#),
            ("plain ~", r#""plain ~""#),
            ("a\"b\\c/d", r#""a\"b\\c/d""#),
            ("\n\r\t\u{8}\u{c}", r#""\n\r\t\b\f""#),
            ("\0\u{1f}\u{7f}", r#""\u0000\u001f\u007f""#),
            ("ü☃𝄞", r#""\u00fc\u2603\ud834\udd1e""#),
        ] {
            let mut out = String::from("x");
            push_string(&mut out, text);
            assert_eq!(out, format!("x{expected}"));
        }
    }

    #[test]
    fn only_other_characters_of_a_document_are_escaped() {
        assert_eq!(in_ascii(r#"{"a":"b\n"}"#.to_owned()), r#"{"a":"b\n"}"#);
        assert_eq!(in_ascii(r#"{"ü":["𝄞"]}"#.to_owned()), r#"{"\u00fc":["\ud834\udd1e"]}"#);
    }
}
