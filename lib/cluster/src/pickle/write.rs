//! Writes pickles of protocol 2.

use super::Value;

/// Pickles with bytes as Python 3 writes them: `_codecs.encode(text, 'latin1')`.
pub fn dumps(value: &Value) -> Vec<u8> {
    dump(value, false)
}

/// Pickles with bytes as Python 2 strings, which is half as long. For readers that unpickle with
/// `encoding='bytes'`, as Swift does for object metadata.
pub fn dumps_compact(value: &Value) -> Vec<u8> {
    dump(value, true)
}

fn dump(value: &Value, compact: bool) -> Vec<u8> {
    let mut out = vec![0x80, 2];
    Writer { out: &mut out, compact, encode_memo: None, memo_count: 0 }.value(value);
    out.push(b'.');
    out
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    compact: bool,
    encode_memo: Option<(u8, u8)>,
    memo_count: u8,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value) {
        match value {
            Value::None => self.out.push(b'N'),
            Value::Bool(flag) => self.out.push(if *flag { 0x88 } else { 0x89 }),
            Value::Int(number) => self.int(*number),
            Value::Float(number) => {
                self.out.push(b'G');
                self.out.extend(number.to_be_bytes());
            }
            Value::Str(text) => self.text(text),
            Value::Bytes(bytes) => self.bytes(bytes),
            Value::List(items) => {
                self.out.push(b']');
                self.marked(items, b'e');
            }
            Value::Tuple(items) => match items.as_slice() {
                [] => self.out.push(b')'),
                [one] => {
                    self.value(one);
                    self.out.push(0x85);
                }
                [one, two] => {
                    self.value(one);
                    self.value(two);
                    self.out.push(0x86);
                }
                [one, two, three] => {
                    self.value(one);
                    self.value(two);
                    self.value(three);
                    self.out.push(0x87);
                }
                many => {
                    self.out.push(b'(');
                    many.iter().for_each(|item| self.value(item));
                    self.out.push(b't');
                }
            },
            Value::Dict(items) => {
                self.out.push(b'}');
                if !items.is_empty() {
                    self.out.push(b'(');
                    for (key, item) in items {
                        self.value(key);
                        self.value(item);
                    }
                    self.out.push(b'u');
                }
            }
            Value::Array(code, items) => {
                self.out.extend(b"carray\narray\n");
                self.text(char::from(*code).encode_utf8(&mut [0; 4]));
                self.out.push(b']');
                if !items.is_empty() {
                    self.out.push(b'(');
                    self.out.reserve(3 * items.len());
                    items.iter().for_each(|number| self.int(i64::from(*number)));
                    self.out.push(b'e');
                }
                self.out.extend([0x86, b'R']);
            }
        }
    }

    fn marked(&mut self, items: &[Value], close: u8) {
        if !items.is_empty() {
            self.out.push(b'(');
            items.iter().for_each(|item| self.value(item));
            self.out.push(close);
        }
    }

    fn int(&mut self, number: i64) {
        if let Ok(small) = u8::try_from(number) {
            self.out.extend([b'K', small]);
        } else if let Ok(small) = u16::try_from(number) {
            self.out.push(b'M');
            self.out.extend(small.to_le_bytes());
        } else if let Ok(small) = i32::try_from(number) {
            self.out.push(b'J');
            self.out.extend(small.to_le_bytes());
        } else {
            self.out.extend([0x8a, 8]);
            self.out.extend(number.to_le_bytes());
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push(b'X');
        self.out.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.out.extend(text.as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        if self.compact {
            match u8::try_from(bytes.len()) {
                Ok(length) => self.out.extend([b'U', length]),
                Err(_) => {
                    self.out.push(b'T');
                    self.out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
                }
            }
            self.out.extend(bytes);
            return;
        }
        // `_codecs.encode` and 'latin1' are written once and fetched from the memo afterwards,
        // as CPython does; a pickle with many values stays short.
        match self.encode_memo {
            Some((function, _)) => self.out.extend([b'h', function]),
            None => {
                self.out.extend(b"c_codecs\nencode\n");
                self.out.extend([b'q', self.memo_count]);
            }
        }
        let latin1: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        self.text(&latin1);
        match self.encode_memo {
            Some((_, codec)) => self.out.extend([b'h', codec]),
            None => {
                self.text("latin1");
                self.out.extend([b'q', self.memo_count + 1]);
                self.encode_memo = Some((self.memo_count, self.memo_count + 1));
                self.memo_count += 2;
            }
        }
        self.out.extend([0x86, b'R']);
    }
}
