//! The stored manifest: a JSON list of entries.

use apus_cluster::{AccountName, ContainerName, ContainerPath, ObjectName, ObjectPath};
use base64::Engine;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::budget::{HELD_BYTES_MAX, JOINED_BYTES_MAX, add_lengths};
use crate::body::collect;
use crate::context::Context;
use crate::operation::{GetObject, ObjectRead};
use crate::{Error, Kind, Primitive, Result, Subject};

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
        if first > last || last >= JOINED_BYTES_MAX {
            return Err(broken("bad range"));
        }
        Ok((first, last - first + 1))
    }

    /// Bytes the entry adds to the whole.
    pub(crate) fn length(&self) -> Result<u64> {
        match self.inline()? {
            Some(bytes) => Ok(bytes.len() as u64),
            None => Ok(self.span()?.1),
        }
    }
}

/// A manifest that was read, with the places of its entries in the whole.
#[derive(Debug, Default)]
pub(crate) struct StoredManifest {
    /// The entries in order.
    pub(crate) entries: Vec<Entry>,
    /// Where each entry ends in the joined object, in bytes.
    ends: Vec<u64>,
    /// Size of the manifest as it is stored, in bytes.
    pub(crate) stored_bytes: u64,
}

impl StoredManifest {
    /// Adds up the entries.
    ///
    /// # Errors
    /// `Conflict` for an entry that is broken, or when the whole is too long.
    pub(crate) fn new(entries: Vec<Entry>, stored_bytes: u64) -> Result<Self> {
        let mut ends = Vec::with_capacity(entries.len());
        let mut end = 0;
        for entry in &entries {
            end = add_lengths(end, entry.length()?)?;
            ends.push(end);
        }
        Ok(Self { entries, ends, stored_bytes })
    }

    /// Takes the manifest from the answer to a raw read; no more than `bytes_max` bytes of it.
    ///
    /// # Errors
    /// `Conflict` when the object is no manifest, or one that cannot be joined.
    pub(crate) async fn collect(read: ObjectRead, bytes_max: u64) -> Result<Self> {
        if !read.head.is_manifest() {
            return Err(broken("the object is no manifest"));
        }
        let json = collect(read.body, bytes_max).await.map_err(|error| match error.kind {
            Kind::TooLarge => broken("too many bytes"),
            _ => error,
        })?;
        Self::new(parse(&json)?, json.len() as u64)
    }

    /// Reads the manifest of `object`.
    ///
    /// # Errors
    /// As [`StoredManifest::collect`], and those of the read.
    pub(crate) async fn read(
        store: &dyn Primitive,
        cx: &Context,
        object: &ObjectPath,
    ) -> Result<Self> {
        Self::collect(open(store, cx, object).await?, HELD_BYTES_MAX).await
    }

    /// Bytes of the joined object.
    pub(crate) fn total(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The entry that holds this byte of the joined object; the number of entries when it is past
    /// the end.
    pub(crate) fn entry_at(&self, offset: u64) -> usize {
        self.ends.partition_point(|end| *end <= offset)
    }

    /// The entry of this number, where it begins in the joined object and where it ends.
    pub(crate) fn entry(&self, number: usize) -> Option<(&Entry, u64, u64)> {
        let entry = self.entries.get(number)?;
        let end = *self.ends.get(number)?;
        let start = number.checked_sub(1).and_then(|before| self.ends.get(before).copied());
        Some((entry, start.unwrap_or(0), end))
    }
}

/// Reads an object as it is stored, without following a manifest.
pub(super) async fn open(
    store: &dyn Primitive,
    cx: &Context,
    object: &ObjectPath,
) -> Result<ObjectRead> {
    let mut get = GetObject::new(object.clone());
    get.head.raw = true;
    store.get_object(cx, get).await
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
