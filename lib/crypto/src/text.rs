//! Texts as Python writes them: WSGI strings, `quote_plus`, and JSON of `json.dumps`.

use std::fmt::Write;

use apus_cluster::python_json::push_string;
use serde_json::Value;

/// A text as WSGI spells it: one character for each byte of its UTF-8.
pub(crate) fn to_wsgi(text: &str) -> String {
    text.bytes().map(char::from).collect()
}

/// The text that WSGI spelled so, if it is one.
pub(crate) fn from_wsgi(text: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    String::from_utf8(bytes?).ok()
}

/// `urllib.parse.quote_plus`.
pub(crate) fn quote_plus(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            // Writing to a string does not fail.
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// `urllib.parse.unquote_plus` for UTF-8; `None` for other bytes.
pub(crate) fn unquote_plus(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let hex = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = hex.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match (first, escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'+', _) => out.push(b' '),
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            (other, _) => out.push(*other),
        }
    }
    String::from_utf8(out).ok()
}

/// `json.dumps(value, sort_keys=True)`: ASCII, with a blank after commas and colons.
pub(crate) fn python_json(value: &Value) -> String {
    let mut out = String::new();
    write_json(value, &mut out);
    out
}

fn write_json(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => push_string(out, text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_json(item, out);
            }
            out.push(']');
        }
        Value::Object(items) => {
            let mut sorted: Vec<_> = items.iter().collect();
            sorted.sort_unstable_by_key(|(name, _)| name.as_str());
            out.push('{');
            for (index, (name, item)) in sorted.into_iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                push_string(out, name);
                out.push_str(": ");
                write_json(item, out);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_texts_are_pythons() {
        let text = "{\"a b\": \"/é~_.-+%\"}";
        let quoted = quote_plus(text);
        assert_eq!(quoted, "%7B%22a+b%22%3A+%22%2F%C3%A9~_.-%2B%25%22%7D");
        assert_eq!(unquote_plus(&quoted).as_deref(), Some(text));
        assert_eq!(unquote_plus("%zz%4").as_deref(), Some("%zz%4"));
        assert_eq!(unquote_plus("%ff"), None);
    }

    #[test]
    fn json_is_pythons() {
        let value = serde_json::json!({"b": [1, true, null], "a": "é\u{1F600}\"\n"});
        assert_eq!(
            python_json(&value),
            "{\"a\": \"\\u00e9\\ud83d\\ude00\\\"\\n\", \"b\": [1, true, null]}"
        );
    }

    #[test]
    fn wsgi_texts_are_spelled_byte_by_byte() {
        assert_eq!(to_wsgi("é"), "Ã©");
        assert_eq!(from_wsgi("Ã©").as_deref(), Some("é"));
        assert_eq!((from_wsgi("é"), from_wsgi("☃")), (None, None));
    }
}
