//! The JSON of an item in a list of segments.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Most unknown keys of one item that are reported.
const UNKNOWN_KEYS_MAX: usize = 8;
/// Most bytes of an unknown key that are reported.
const UNKNOWN_KEY_BYTES_MAX: usize = 256;
/// A JSON value, as far as a segment uses it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum JsonField {
    /// The key is missing.
    #[default]
    Absent,
    Null,
    Text(String),
    Integer(i128),
    /// A value of another type.
    Other,
}

impl JsonField {
    /// Whether Python regards it as false.
    pub(super) fn is_false(&self) -> bool {
        match self {
            Self::Absent | Self::Null => true,
            Self::Text(text) => text.is_empty(),
            Self::Integer(number) => *number == 0,
            Self::Other => false,
        }
    }
}

impl<'de> Deserialize<'de> for JsonField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = JsonField;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> std::result::Result<JsonField, E> {
        Ok(JsonField::Null)
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<JsonField, E> {
        Ok(JsonField::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<JsonField, E> {
        Ok(JsonField::Integer(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<JsonField, E> {
        Ok(JsonField::Integer(value.into()))
    }

    #[allow(clippy::cast_possible_truncation, reason = "Python truncates as well")]
    fn visit_f64<E>(self, value: f64) -> std::result::Result<JsonField, E> {
        Ok(JsonField::Integer(value as i128))
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<JsonField, E> {
        Ok(JsonField::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<JsonField, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(JsonField::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<JsonField, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(JsonField::Other)
    }
}

/// A key of an item.
enum SegmentKey {
    Path,
    Etag,
    Size,
    Range,
    Data,
    /// The beginning of any other key.
    Unknown(String),
}

impl<'de> Deserialize<'de> for SegmentKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = SegmentKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E>(self, key: &str) -> std::result::Result<SegmentKey, E> {
                Ok(match key {
                    "path" => SegmentKey::Path,
                    "etag" => SegmentKey::Etag,
                    "size_bytes" => SegmentKey::Size,
                    "range" => SegmentKey::Range,
                    "data" => SegmentKey::Data,
                    other => {
                        let end = other.floor_char_boundary(UNKNOWN_KEY_BYTES_MAX);
                        SegmentKey::Unknown(other.get(..end).unwrap_or_default().to_owned())
                    }
                })
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// An item of the list as it was sent.
#[derive(Debug, Default)]
pub(super) struct SentSegment {
    pub(super) is_object: bool,
    pub(super) path: JsonField,
    pub(super) etag: JsonField,
    pub(super) size: JsonField,
    pub(super) range: JsonField,
    pub(super) data: JsonField,
    pub(super) unknown: Vec<String>,
}

impl<'de> Deserialize<'de> for SentSegment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(SegmentVisitor)
    }
}

struct SegmentVisitor;

impl<'de> Visitor<'de> for SegmentVisitor {
    type Value = SentSegment;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> std::result::Result<SentSegment, E> {
        Ok(SentSegment::default())
    }

    fn visit_bool<E>(self, _: bool) -> std::result::Result<SentSegment, E> {
        Ok(SentSegment::default())
    }

    fn visit_u64<E>(self, _: u64) -> std::result::Result<SentSegment, E> {
        Ok(SentSegment::default())
    }

    fn visit_i64<E>(self, _: i64) -> std::result::Result<SentSegment, E> {
        Ok(SentSegment::default())
    }

    fn visit_f64<E>(self, _: f64) -> std::result::Result<SentSegment, E> {
        Ok(SentSegment::default())
    }

    fn visit_str<E>(self, _: &str) -> std::result::Result<SentSegment, E> {
        Ok(SentSegment::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(
        self,
        mut seq: A,
    ) -> std::result::Result<SentSegment, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(SentSegment::default())
    }

    fn visit_map<A: MapAccess<'de>>(
        self,
        mut map: A,
    ) -> std::result::Result<SentSegment, A::Error> {
        let mut sent = SentSegment { is_object: true, ..SentSegment::default() };
        while let Some(key) = map.next_key()? {
            match key {
                SegmentKey::Path => sent.path = map.next_value()?,
                SegmentKey::Etag => sent.etag = map.next_value()?,
                SegmentKey::Size => sent.size = map.next_value()?,
                SegmentKey::Range => sent.range = map.next_value()?,
                SegmentKey::Data => sent.data = map.next_value()?,
                SegmentKey::Unknown(key) => {
                    map.next_value::<IgnoredAny>()?;
                    if sent.unknown.len() < UNKNOWN_KEYS_MAX && !sent.unknown.contains(&key) {
                        sent.unknown.push(key);
                    }
                }
            }
        }
        Ok(sent)
    }
}
