//! Parses the JSON list of segments of a new static large object, item by item.
//!
//! Source of rules and texts: `parse_and_validate_input` in `swift/common/middleware/slo.py`.

use std::borrow::Cow;
use std::fmt;

use apus_cluster::ObjectPath;
use apus_cluster::byte_range::{ByteRanges, Resolution};
use apus_cluster::constraints::SLO_MAX_SEGMENTS;
use apus_store::operation::Segment;
use apus_store::{Error, Kind, Result, Subject};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::segment_json::{JsonField, SentSegment};

/// Most items of one list, including inline data and invalid ones.
const ITEMS_MAX: usize = 10 * SLO_MAX_SEGMENTS;
/// Longest text about invalid items, in bytes; further ones are counted.
const PROBLEMS_BYTES_MAX: usize = 64 * 1024;
/// Base64 as Python decodes it; the padding is checked separately.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// Parses a document.
///
/// # Errors
/// `Invalid`, with a line for each invalid item; `TooLarge` for too many items.
pub(super) fn parse(json: &[u8], object: &ObjectPath) -> Result<Vec<Segment>> {
    let own = format!("/{}/{}", object.container.container, object.object);
    let mut list = SegmentList { own, ..SegmentList::default() };
    let mut document = serde_json::Deserializer::from_slice(json);
    let read = ListSeed(&mut list).deserialize(&mut document).and_then(|()| document.end());
    if let Some(refusal) = list.refusal {
        return Err(refusal);
    }
    read.map_err(|_| Error::invalid("Manifest must be valid JSON.\n"))?;
    list.finish()
}

/// The items that have been read.
#[derive(Debug, Default)]
struct SegmentList {
    /// The path of the new object, which its list must not name.
    own: String,
    items: usize,
    segments: Vec<Segment>,
    /// Segments that name an object.
    objects: usize,
    /// Index of the last segment if its size is below 1: only the last one may be empty.
    small: Option<usize>,
    problems: String,
    unnamed_problems: usize,
    /// The error because of which the rest was not read.
    refusal: Option<Error>,
}

struct ListSeed<'a>(&'a mut SegmentList);

impl<'de> DeserializeSeed<'de> for ListSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ListSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of segments")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
        while let Some(sent) = seq.next_element::<SentSegment>()? {
            self.0.add(sent);
            if self.0.refusal.is_some() {
                return Err(A::Error::custom("too many segments"));
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.0.refusal = Some(not_a_list());
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> std::result::Result<(), E> {
        self.0.refusal = Some(not_a_list());
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> std::result::Result<(), E> {
        self.visit_unit()
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> std::result::Result<(), E> {
        self.visit_unit()
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> std::result::Result<(), E> {
        self.visit_unit()
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> std::result::Result<(), E> {
        self.visit_unit()
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> std::result::Result<(), E> {
        self.visit_unit()
    }
}

/// The reason why an item is invalid, with Swift's text.
struct Problem(Cow<'static, str>);

impl From<&'static str> for Problem {
    fn from(text: &'static str) -> Self {
        Self(text.into())
    }
}

fn not_a_list() -> Error {
    Error::invalid("Manifest must be a list.\n")
}

impl SegmentList {
    fn add(&mut self, sent: SentSegment) {
        let index = self.items;
        self.items += 1;
        if let Some(small) = self.small.take() {
            self.note(small, "too small; each segment must be at least 1 byte.");
        }
        match self.segment(sent, index) {
            Ok(segment) => {
                self.objects += usize::from(segment.data.is_none());
                self.segments.push(segment);
            }
            Err(Problem(problem)) => self.note(index, &problem),
        }
        if self.objects > SLO_MAX_SEGMENTS {
            self.refuse(format!("Number of object-backed segments must be <= {SLO_MAX_SEGMENTS}"));
        } else if self.items > ITEMS_MAX {
            self.refuse(format!("Number of segments must be <= {ITEMS_MAX}"));
        }
    }

    fn refuse(&mut self, text: String) {
        self.refusal = Some(Error::new(Kind::TooLarge, Subject::Request).text(text));
    }

    fn note(&mut self, index: usize, problem: &str) {
        let line = format!("Index {index}: {problem}\n");
        if self.problems.len() + line.len() <= PROBLEMS_BYTES_MAX {
            self.problems.push_str(&line);
        } else {
            self.unnamed_problems += 1;
        }
    }

    fn segment(
        &mut self,
        sent: SentSegment,
        index: usize,
    ) -> std::result::Result<Segment, Problem> {
        if !sent.is_object {
            return Err("not a JSON object".into());
        }
        if sent.data != JsonField::Absent {
            return inline(sent);
        }
        if sent.path == JsonField::Absent {
            return Err("expected keys to include one of \"data\" or \"path\"".into());
        }
        refuse_unknown(sent.unknown)?;
        let JsonField::Text(path) = sent.path else {
            return Err("\"path\" must be a string".into());
        };
        let etag = match sent.etag {
            JsonField::Absent | JsonField::Null => None,
            JsonField::Text(etag) => Some(etag),
            JsonField::Integer(_) | JsonField::Other => {
                return Err("\"etag\" must be a string or null (if provided)".into());
            }
        };
        if !path.trim_matches('/').contains('/') || path.contains('\0') {
            return Err(
                "path does not refer to an object. Path must be of the form /container/object."
                    .into(),
            );
        }
        let size = size(sent.size)?;
        if path.trim_start_matches('/') == self.own.trim_start_matches('/') {
            return Err("manifest must not include itself as a segment".into());
        }
        let range = if sent.range.is_false() { None } else { Some(range(&sent.range, size)?) };
        if size.is_some_and(|size| size < 1) {
            self.small = Some(index);
        }
        // No object has a negative size, or one beyond 64 bits.
        let size = size.map(|size| u64::try_from(size).unwrap_or(u64::MAX));
        Ok(Segment { path, etag, size, range, data: None })
    }

    fn finish(mut self) -> Result<Vec<Segment>> {
        if self.items == 0 {
            return Err(Error::invalid("Manifest must contain at least one segment"));
        }
        if self.unnamed_problems > 0 {
            let more = format!("{} more segments are invalid\n", self.unnamed_problems);
            self.problems.push_str(&more);
        }
        if self.segments.len() == self.items && self.objects == 0 {
            let text = "Inline data segments require at least one object-backed segment.\n";
            self.problems.push_str(text);
        }
        if self.problems.is_empty() {
            Ok(self.segments)
        } else {
            Err(Error::invalid(self.problems))
        }
    }
}

/// Refuses keys that a segment may not have.
fn refuse_unknown(mut keys: Vec<String>) -> std::result::Result<(), Problem> {
    if keys.is_empty() {
        return Ok(());
    }
    keys.sort_unstable();
    let keys: Vec<String> =
        keys.into_iter().map(|key| serde_json::Value::String(key).to_string()).collect();
    Err(Problem(format!("extraneous keys {}", keys.join(", ")).into()))
}

/// A segment with inline data.
fn inline(sent: SentSegment) -> std::result::Result<Segment, Problem> {
    let mut unknown = sent.unknown;
    let others = [
        ("path", &sent.path),
        ("etag", &sent.etag),
        ("size_bytes", &sent.size),
        ("range", &sent.range),
    ];
    for (key, field) in others {
        if *field != JsonField::Absent {
            unknown.push(key.to_owned());
        }
    }
    refuse_unknown(unknown)?;
    let invalid = || Problem::from("data must be valid base64");
    let JsonField::Text(data) = sent.data else { return Err(invalid()) };
    let bare = data.trim_end_matches('=');
    // Padding may be longer than necessary, not shorter.
    if data.len() - bare.len() < (4 - bare.len() % 4) % 4 {
        return Err(invalid());
    }
    let bytes = BASE64.decode(bare).map_err(|_| invalid())?;
    if bytes.is_empty() {
        return Err("too small; each segment must be at least 1 byte.".into());
    }
    let data = base64::engine::general_purpose::STANDARD.encode(bytes);
    Ok(Segment { data: Some(data), ..Segment::default() })
}

/// `size_bytes` as Python's `int` reads it: numbers are truncated, and texts may have blanks around
/// them and underscores between digits.
fn size(field: JsonField) -> std::result::Result<Option<i128>, Problem> {
    let invalid = || Problem::from("invalid size_bytes");
    let text = match field {
        JsonField::Absent | JsonField::Null => return Ok(None),
        JsonField::Integer(number) => return Ok(Some(number)),
        JsonField::Text(text) => text,
        JsonField::Other => return Err(invalid()),
    };
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let groups_are_whole = digits
        .split('_')
        .all(|group| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit()));
    if !groups_are_whole {
        return Err(invalid());
    }
    let number = digits.replace('_', "").parse().unwrap_or(i128::MAX);
    Ok(Some(if negative { -number } else { number }))
}

/// The range of the object that the segment uses.
fn range(field: &JsonField, size: Option<i128>) -> std::result::Result<String, Problem> {
    let JsonField::Text(range) = field else { return Err("invalid range".into()) };
    let ranges = ByteRanges::parse(&format!("bytes={range}")).ok_or("invalid range")?;
    if !ranges.is_single() {
        return Err("multiple ranges (only one allowed)".into());
    }
    let size = size.map(|size| u64::try_from(size).unwrap_or(0));
    let holds = |size| matches!(ranges.resolve(size), Resolution::Ranges(one) if one.len() == 1);
    match size {
        Some(size) if !holds(size) => Err("unsatisfiable range".into()),
        _ => Ok(range.clone()),
    }
}

#[cfg(test)]
mod tests {
    use apus_cluster::{AccountName, ContainerName, ContainerPath, ObjectName};

    use super::*;

    fn parsed(json: &str) -> Result<Vec<Segment>> {
        let container = ContainerName::parse("c").unwrap();
        let container = ContainerPath::new(AccountName::parse("a").unwrap(), container);
        parse(json.as_bytes(), &container.object(ObjectName::parse("own").unwrap()))
    }

    fn refusal(json: &str) -> String {
        parsed(json).unwrap_err().client_text
    }

    #[test]
    fn sizes_are_parsed_as_swift_parses_them() {
        for (sent, size) in [
            ("3", Some(3)),
            ("3.0", Some(3)),
            ("3.9", Some(3)),
            ("3e2", Some(300)),
            ("true", Some(1)),
            ("null", None),
            ("\"3\"", Some(3)),
            ("\" +3 \"", Some(3)),
            ("\"1_000\"", Some(1000)),
            ("1e300", Some(u64::MAX)),
            ("\"99999999999999999999999999999999999999999999\"", Some(u64::MAX)),
            ("0", Some(0)),
            ("-5", Some(u64::MAX)),
        ] {
            let json = format!("[{{\"path\":\"/c/o\",\"size_bytes\":{sent}}}]");
            assert_eq!(parsed(&json).unwrap()[0].size, size, "{sent}");
        }
        for sent in ["\"3.0\"", "\"\"", "\"_3\"", "\"3 0\"", "\"0x3\"", "[]", "{}", "[3]"] {
            let json = format!("[{{\"path\":\"/c/o\",\"size_bytes\":{sent}}}]");
            assert_eq!(refusal(&json), "Index 0: invalid size_bytes\n", "{sent}");
        }
    }

    #[test]
    fn only_the_last_segment_may_be_empty() {
        let small = "too small; each segment must be at least 1 byte.\n";
        for size in ["0", "-1", "0.9", "false", "\"0\""] {
            let empty = format!("{{\"path\":\"/c/o\",\"size_bytes\":{size}}}");
            assert!(parsed(&format!("[{{\"path\":\"/c/p\"}},{empty}]")).is_ok(), "{size}");
            let text = refusal(&format!("[{empty},{{\"path\":\"/c/p\"}}]"));
            assert_eq!(text, format!("Index 0: {small}"), "{size}");
        }
    }

    #[test]
    fn each_invalid_item_is_reported_with_swifts_text() {
        for (item, problem) in [
            ("0", "not a JSON object"),
            ("null", "not a JSON object"),
            ("[{}]", "not a JSON object"),
            ("\"x\"", "not a JSON object"),
            ("{}", "expected keys to include one of \"data\" or \"path\""),
            (r#"{"path":"/c/o","b\"":1,"a":{}}"#, r#"extraneous keys "a", "b\"""#),
            (r#"{"path":"/c/o","data":"YQ=="}"#, "extraneous keys \"path\""),
            (r#"{"path":5}"#, "\"path\" must be a string"),
            (r#"{"path":null}"#, "\"path\" must be a string"),
            (r#"{"path":"/c/o","etag":5}"#, "\"etag\" must be a string or null (if provided)"),
            (r#"{"path":"/c/own"}"#, "manifest must not include itself as a segment"),
            (r#"{"path":"/c/o","range":"a-b"}"#, "invalid range"),
            (r#"{"path":"/c/o","range":5}"#, "invalid range"),
            (r#"{"path":"/c/o","range":"0-1,3-4"}"#, "multiple ranges (only one allowed)"),
            (r#"{"path":"/c/o","range":"5-","size_bytes":5}"#, "unsatisfiable range"),
            (r#"{"data":""}"#, "too small; each segment must be at least 1 byte."),
            (r#"{"data":"YQ="}"#, "data must be valid base64"),
            (r#"{"data":"Y Q=="}"#, "data must be valid base64"),
            (r#"{"data":null}"#, "data must be valid base64"),
        ] {
            let text = refusal(&format!("[{{\"path\":\"/c/p\"}},{item}]"));
            assert_eq!(text, format!("Index 1: {problem}\n"), "{item}");
        }
        let form = "path does not refer to an object. Path must be of the form /container/object.";
        for path in ["", "c", "/c/", "c//", "/", r"c/\u0000o"] {
            let text = refusal(&format!("[{{\"path\":\"{path}\"}}]"));
            assert_eq!(text, format!("Index 0: {form}\n"), "{path}");
        }
        assert_eq!(refusal("[0,{\"path\":\"/c/o\"},1]").lines().count(), 2);
    }

    #[test]
    fn documents_that_are_not_lists_are_refused() {
        for json in ["", "[", "[{\"path\":\"/c/o\"}", "[]]", "[] x", "nonsense", "[1,]", "\u{0}"] {
            assert_eq!(refusal(json), "Manifest must be valid JSON.\n", "{json}");
        }
        for json in ["{}", "{\"path\":\"/c/o\"}", "5", "5.5", "-1", "true", "null", "\"[]\""] {
            assert_eq!(refusal(json), "Manifest must be a list.\n", "{json}");
        }
        assert_eq!(refusal("[]"), "Manifest must contain at least one segment");
        let inline = "Inline data segments require at least one object-backed segment.\n";
        assert_eq!(refusal("[{\"data\":\"YQ==\"}]"), inline);
    }

    #[test]
    fn inline_data_is_kept_with_its_padding_in_order() {
        let list = parsed("[{\"data\":\"YQ====\"},{\"path\":\"c/o\",\"range\":\"\"}]").unwrap();
        assert_eq!(list[0].data.as_deref(), Some("YQ=="));
        assert_eq!((list[1].path.as_str(), &list[1].range), ("c/o", &None));
    }

    #[test]
    fn reading_stops_at_the_limit_of_segments() {
        let of = |item: &str, count: usize| format!("[{}]", vec![item; count].join(","));
        let kind = |json: &str| parsed(json).map(|list| list.len()).map_err(|error| error.kind);
        let object = "{\"path\":\"/c/o\"}";
        assert_eq!(kind(&of(object, SLO_MAX_SEGMENTS)), Ok(SLO_MAX_SEGMENTS));
        // The rest is not read.
        let many = of(object, SLO_MAX_SEGMENTS + 1).replace(']', ",nonsense");
        assert_eq!(kind(&many), Err(Kind::TooLarge));
        let data =
            of("{\"data\":\"YQ==\"}", SLO_MAX_SEGMENTS).replace(']', ",{\"path\":\"/c/o\"}]");
        assert_eq!(kind(&data), Ok(SLO_MAX_SEGMENTS + 1));
        assert_eq!(kind(&of("0", ITEMS_MAX + 1)), Err(Kind::TooLarge));
        let problems = refusal(&of("0", ITEMS_MAX));
        assert!(problems.len() < PROBLEMS_BYTES_MAX + 100, "{}", problems.len());
        assert!(problems.ends_with("more segments are invalid\n"), "{}", problems.len());
    }
}
