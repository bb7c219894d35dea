//! Long integers and the text forms of protocol 0.

/// A little-endian integer of two's complement; `None` when it has more than 64 bits.
pub(super) fn long(bytes: &[u8]) -> Option<i64> {
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut padded = [if negative { 0xff } else { 0 }; 8];
    if bytes.len() > 8 {
        return None;
    }
    for (to, from) in padded.iter_mut().zip(bytes) {
        *to = *from;
    }
    Some(i64::from_le_bytes(padded))
}

/// A Python string literal with escapes.
pub(super) fn quoted(line: &str) -> Option<Vec<u8>> {
    let line = line.trim();
    let quote = line.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    let inner = line.strip_prefix(quote)?.strip_suffix(quote)?.as_bytes();
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        out.push(match bytes.next()? {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => {
                let hex = [*bytes.next()?, *bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?
            }
            other => *other,
        });
    }
    Some(out)
}

/// `raw-unicode-escape`: only `\uXXXX` and `\UXXXXXXXX` are escapes.
pub(super) fn raw_unicode(line: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('\\') {
        out.push_str(rest.get(..at)?);
        let digits = match rest.as_bytes().get(at + 1) {
            Some(b'u') => 4,
            Some(b'U') => 8,
            _ => {
                out.push('\\');
                rest = rest.get(at + 1..)?;
                continue;
            }
        };
        let hex = rest.get(at + 2..at + 2 + digits)?;
        out.push(char::from_u32(u32::from_str_radix(hex, 16).ok()?).unwrap_or('\u{fffd}'));
        rest = rest.get(at + 2 + digits..)?;
    }
    out.push_str(rest);
    Some(out)
}
