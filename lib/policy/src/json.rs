//! JSON in which no key of an object occurs twice.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A JSON value whose objects keep the order of their keys.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum JsonNode {
    Null,
    /// A boolean or a number, as text.
    Scalar(String),
    Text(String),
    List(Vec<JsonNode>),
    Object(Vec<(String, JsonNode)>),
}

impl JsonNode {
    /// Parses a document.
    pub(crate) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Its type, for errors.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Scalar(_) => "a number or boolean",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = JsonNode;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<JsonNode, E> {
        Ok(JsonNode::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<JsonNode, E> {
        Ok(JsonNode::Scalar(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<JsonNode, E> {
        Ok(JsonNode::Scalar(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<JsonNode, E> {
        Ok(JsonNode::Scalar(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<JsonNode, E> {
        Ok(JsonNode::Scalar(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<JsonNode, E> {
        Ok(JsonNode::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<JsonNode, E> {
        Ok(JsonNode::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<JsonNode, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(JsonNode::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<JsonNode, A::Error> {
        let mut items: Vec<(String, JsonNode)> = Vec::new();
        let mut names = std::collections::HashSet::new();
        while let Some((key, value)) = access.next_entry::<String, JsonNode>()? {
            if !names.insert(key.clone()) {
                return Err(A::Error::custom(format_args!("the key {key:?} occurs twice")));
            }
            items.push((key, value));
        }
        Ok(JsonNode::Object(items))
    }
}

impl<'de> Deserialize<'de> for JsonNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_occurs_twice_is_refused() {
        assert!(JsonNode::parse(r#"{"a":1,"b":{"a":[true,null,"x"]}}"#).is_ok());
        let error = JsonNode::parse(r#"{"a":1,"b":{"c":1,"c":2}}"#).unwrap_err();
        assert!(error.to_string().starts_with("the key \"c\" occurs twice"), "{error}");
        assert!(JsonNode::parse(&"[".repeat(100_000)).is_err());
    }
}
