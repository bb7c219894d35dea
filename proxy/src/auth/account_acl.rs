//! The access control list of an account: JSON in `X-Account-Access-Control`.
//!
//! Source: `extract_acl_and_report_errors` in `swift/common/middleware/tempauth.py`, `format_acl_v2` in
//! `swift/common/middleware/acl.py`.

use apus_cluster::python_json::in_ascii;
use serde::Deserialize;
use serde::de::{Error, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::acl::is_group;

/// The keys of a list, in the order in which they are stored.
const KEYS: [&str; 3] = ["admin", "read-only", "read-write"];

/// The access control list of an account: users and groups with each right.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct AccountAcl {
    /// Have all rights of the owner.
    pub admin: Vec<String>,
    /// May read.
    pub read_only: Vec<String>,
    /// May read and write containers and objects.
    pub read_write: Vec<String>,
}

/// A JSON object in which no key is repeated.
struct UniqueKeys(Map<String, Value>);

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = UniqueKeys;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "an object with lists")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<UniqueKeys, A::Error> {
                let mut map = Map::new();
                while let Some((key, value)) = items.next_entry::<String, Value>()? {
                    if map.contains_key(&key) {
                        return Err(A::Error::custom(format!("duplicate key {key:?}")));
                    }
                    map.insert(key, value);
                }
                Ok(UniqueKeys(map))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// JSON that is not the access control list of an account, with Swift's text.
#[derive(Debug, thiserror::Error)]
pub enum InvalidAccountAcl {
    /// It is not a JSON object with unique keys.
    #[error("Syntax error in input: {0}")]
    Syntax(#[from] serde_json::Error),
    /// It has a key that no list has.
    #[error("Key {0:?} not recognized")]
    UnknownKey(String),
    /// The value of a key is not a list.
    #[error("Value for key {0:?} must be a list")]
    NotAList(&'static str),
    /// A list has elements that are not strings.
    #[error("Elements of {0:?} list must be strings")]
    NotStrings(&'static str),
}

impl AccountAcl {
    /// Parses the JSON of a client.
    ///
    /// # Errors
    /// For anything but an object of lists of strings.
    pub fn parse(json: &str) -> Result<Self, InvalidAccountAcl> {
        if json.trim().is_empty() {
            return Ok(Self::default());
        }
        let UniqueKeys(map) = serde_json::from_str(json)?;
        if let Some(key) = map.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(InvalidAccountAcl::UnknownKey(key.clone()));
        }
        Self::of(&map)
    }

    /// Parses a stored list, which may be as a client sent it to Swift. Any other form grants
    /// nothing.
    pub fn stored(json: &str) -> Self {
        serde_json::from_str(json).ok().and_then(|map| Self::of(&map).ok()).unwrap_or_default()
    }

    fn of(map: &Map<String, Value>) -> Result<Self, InvalidAccountAcl> {
        let list = |key: &'static str| {
            let Some(value) = map.get(key) else { return Ok(Vec::new()) };
            let list = value.as_array().ok_or(InvalidAccountAcl::NotAList(key))?;
            let words = list.iter().map(|word| word.as_str().map(str::to_owned));
            words.collect::<Option<Vec<String>>>().ok_or(InvalidAccountAcl::NotStrings(key))
        };
        let [admin, read_only, read_write] = KEYS.map(list);
        Ok(Self { admin: admin?, read_only: read_only?, read_write: read_write? })
    }

    /// Whether a list names one of these groups.
    pub(super) fn names(list: &[String], groups: &[String]) -> bool {
        list.iter().any(|word| is_group(word) && groups.contains(word))
    }

    /// The list as it is stored and shown: ASCII, without empty lists; empty when all are empty.
    pub fn render(&self) -> String {
        let lists = [&self.admin, &self.read_only, &self.read_write];
        let map: Map<String, Value> = KEYS
            .into_iter()
            .zip(lists)
            .filter(|(_, list)| !list.is_empty())
            .map(|(key, list)| (key.to_owned(), Value::from(list.clone())))
            .collect();
        if map.is_empty() {
            return String::new();
        }
        in_ascii(Value::Object(map).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_object_of_lists_of_strings_is_a_list() {
        for json in [
            r#"[["test2:tester2"]]"#,
            r#"["a",["b"],["c"]]"#,
            "[]",
            "null",
            "1",
            r#""admin""#,
            "yuck",
            "{",
            r#"{"admin":["a"]} x"#,
            r#"{"admin":"a"}"#,
            r#"{"admin":null}"#,
            r#"{"admin":{"a":1}}"#,
            r#"{"admin":[1]}"#,
            r#"{"admin":[null]}"#,
            r#"{"admin":[["a"]]}"#,
            r#"{"admin":["a"],"admin":["b"]}"#,
            r#"{"read-only":[],"read-only":[]}"#,
            r#"{"readers":["a"]}"#,
            r#"{"Admin":["a"]}"#,
            r#"{"read_only":["a"]}"#,
        ] {
            assert!(AccountAcl::parse(json).is_err(), "{json}");
            if !json.contains("dmin\":[\"a\"],") && !json.contains("[],") {
                assert_eq!(AccountAcl::stored(json), AccountAcl::default(), "{json}");
            }
        }
    }

    #[test]
    fn a_stored_list_has_the_parsed_rights() {
        for (json, stored) in [
            ("", ""),
            ("{}", ""),
            (r#"{"admin":[]}"#, ""),
            (r#"{"admin":["bob"]}"#, r#"{"admin":["bob"]}"#),
            (
                r#" { "read-write" : ["b"] , "read-only":["a", "c"], "admin":[] } "#,
                r#"{"read-only":["a","c"],"read-write":["b"]}"#,
            ),
            (
                r#"{"admin":["\u00fc☃\ud83d\ude00\u0000"]}"#,
                r#"{"admin":["\u00fc\u2603\ud83d\ude00\u0000"]}"#,
            ),
        ] {
            let acl = AccountAcl::parse(json).unwrap();
            assert_eq!(acl.render(), stored);
            assert_eq!(AccountAcl::stored(stored), acl);
        }
    }

    #[test]
    fn lists_that_swift_stored_are_parsed_as_swift_parses_them() {
        let acl = AccountAcl::stored(r#"{"admin":["a"],"later":1,"admin":["b"]}"#);
        assert_eq!(acl, AccountAcl { admin: vec!["b".to_owned()], ..AccountAcl::default() });
        assert_eq!(AccountAcl::stored(""), AccountAcl::default());
    }
}
