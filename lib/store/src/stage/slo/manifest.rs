//! The stored manifest: a JSON list of entries.

use apus_cluster::{AccountName, ContainerName, ContainerPath, ObjectName, ObjectPath};
use base64::Engine;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Error, Kind, Result, Subject};

/// One entry, as Swift stores it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// `/container/object`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// Size of the segment's whole object.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) bytes: u64,
    /// Its etag.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) hash: String,
    /// Its content type.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) content_type: String,
    /// When it was written.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) last_modified: String,
    /// `first-last` of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) range: Option<String>,
    /// Whether it is a manifest itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) sub_slo: bool,
    /// Inline data, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<String>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn broken(what: &str) -> Error {
    Error::new(Kind::Conflict, Subject::Object).because(format!("manifest: {what}"))
}

/// Parses a stored manifest.
pub(crate) fn parse(json: &[u8]) -> Result<Vec<Entry>> {
    serde_json::from_slice(json).map_err(|error| broken(&error.to_string()))
}

impl Entry {
    /// The bytes of an inline entry.
    pub(crate) fn inline(&self) -> Result<Option<Bytes>> {
        let Some(data) = &self.data else { return Ok(None) };
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(data)
            .map_err(|error| broken(&error.to_string()))?;
        Ok(Some(bytes.into()))
    }

    /// The object that a segment names.
    pub(crate) fn path(&self, account: &AccountName) -> Result<ObjectPath> {
        let (container, object) = self
            .name
            .trim_start_matches('/')
            .split_once('/')
            .ok_or_else(|| broken("segment without an object"))?;
        let refuse = |error: apus_cluster::name::NameError| broken(&error.to_string());
        let container = ContainerName::parse(container).map_err(refuse)?;
        let object = ObjectName::parse(object).map_err(refuse)?;
        Ok(ContainerPath::new(account.clone(), container).object(object))
    }

    /// First byte and number of bytes that the entry takes of its object.
    pub(crate) fn span(&self) -> Result<(u64, u64)> {
        let Some(range) = &self.range else { return Ok((0, self.bytes)) };
        let (first, last) = range.split_once('-').ok_or_else(|| broken("bad range"))?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| broken("bad range"));
        let (first, last) = (number(first)?, number(last)?);
        let length = last.checked_sub(first).ok_or_else(|| broken("bad range"))? + 1;
        Ok((first, length))
    }

    /// Bytes the entry adds to the whole.
    pub(crate) fn length(&self) -> Result<u64> {
        match self.inline()? {
            Some(bytes) => Ok(bytes.len() as u64),
            None => Ok(self.span()?.1),
        }
    }
}

/// Bytes that each entry adds.
pub(crate) fn lengths(entries: &[Entry]) -> Result<Vec<u64>> {
    entries.iter().map(Entry::length).collect()
}

/// MD5 over the etags of the entries, with `:range;` behind those that have one.
pub(crate) fn joined_etag(entries: &[Entry]) -> Result<String> {
    let mut digest = md5::Context::new();
    for entry in entries {
        match (entry.inline()?, &entry.range) {
            (Some(bytes), _) => digest.consume(format!("{:x}", md5::compute(&bytes))),
            (None, Some(range)) => digest.consume(format!("{}:{range};", entry.hash)),
            (None, None) => digest.consume(&entry.hash),
        }
    }
    Ok(format!("{:x}", digest.finalize()))
}
