//! Python's pickle format as far as Swift's files use it.
//!
//! It reads protocols 0 to 4 and writes protocol 2. The reader executes nothing: it accepts the few
//! constructors that Swift's files contain (`_codecs.encode`, `array.array`, dict-like objects) and
//! refuses every other global. It uses at most 128 bytes of memory per byte of the pickle plus 1 MiB
//! (growing vectors may reserve twice that), and refuses a pickle that needs more.
//! Source of the opcodes: CPython `Lib/pickletools.py`.

mod budget;
mod read;
mod write;

pub use read::{PickleError, loads};
pub use write::{dumps, dumps_compact};

/// A value of a pickle.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `None`
    None,
    /// `True`, `False`
    Bool(bool),
    /// An integer that fits 64 bits.
    Int(i64),
    /// A float.
    Float(f64),
    /// Bytes, or a Python 2 string.
    Bytes(Vec<u8>),
    /// Text.
    Str(String),
    /// A list.
    List(Vec<Value>),
    /// A tuple.
    Tuple(Vec<Value>),
    /// A dictionary (or a dict-like object) in the order it was written.
    Dict(Vec<(Value, Value)>),
    /// `array.array` of unsigned integers, with its type code: `B` one byte, `H` two, `I` four.
    Array(u8, Vec<u32>),
}

impl Value {
    /// Takes the value under a text key out of a dictionary and leaves `None` there.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        match self {
            Self::Dict(items) => items
                .iter_mut()
                .find(|(name, _)| name.as_bytes() == Some(key.as_bytes()))
                .map(|(_, value)| std::mem::replace(value, Self::None)),
            _ => None,
        }
    }

    /// The value under a text key of a dictionary.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Self::Dict(items) => items
                .iter()
                .find(|(name, _)| name.as_bytes() == Some(key.as_bytes()))
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// Bytes of text or bytes.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Str(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// Text; bytes that are not UTF-8 are replaced.
    pub fn to_text(&self) -> Option<String> {
        self.as_bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// An integer; booleans count as 0 and 1.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Bool(flag) => Some(i64::from(*flag)),
            _ => None,
        }
    }

    /// A float or an integer as a float.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some(*number),
            Self::Int(number) => Some(*number as f64),
            _ => None,
        }
    }

    /// The items of a list or tuple.
    pub fn items(&self) -> Option<&[Value]> {
        match self {
            Self::List(items) | Self::Tuple(items) => Some(items),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
