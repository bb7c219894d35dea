//! Percent encoding of paths, on bytes. One rule for names on the wire and in SigV4.

/// Appends `text` with everything but letters, digits, `-._~` and the bytes of `keep` encoded.
pub fn encode_into(out: &mut String, text: &[u8], keep: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) || keep.contains(byte) {
            out.push(char::from(*byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.push(HEX.get(usize::from(nibble)).map_or('0', |hex| char::from(*hex)));
            }
        }
    }
}

/// Encodes one path, keeping slashes.
pub fn encode_path(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    encode_into(&mut out, text.as_bytes(), b"/");
    out
}

/// Decodes `%XX`; anything that is not two hex digits after a percent sign stays as it is.
pub fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(byte) = bytes.get(index) {
        let hex = (*byte == b'%')
            .then(|| text.get(index + 1..index + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok().filter(|_| !hex.starts_with('+')));
        match hex {
            Some(decoded) => {
                out.push(decoded);
                index += 3;
            }
            None => {
                out.push(*byte);
                index += 1;
            }
        }
    }
    out
}

/// Decodes to text; `None` when the bytes are not UTF-8.
pub fn decode_utf8(text: &str) -> Option<String> {
    String::from_utf8(decode(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_undoes_encoding_and_keeps_stray_percent_signs() {
        let name = "a b/ü%2F+~";
        assert_eq!(decode_utf8(&encode_path(name)).unwrap(), name);
        assert_eq!(decode("100%"), b"100%");
        assert_eq!(decode("%zz%4"), b"%zz%4");
        assert_eq!(decode_utf8("%ff"), None);
    }
}
