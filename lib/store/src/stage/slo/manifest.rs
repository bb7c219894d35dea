//! The stored manifest of a static large object: a JSON list of entries.

use apus_cluster::{AccountName, ContainerName, ContainerPath, ObjectName, ObjectPath};
use base64::Engine;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::budget::{JOINED_BYTES_MAX, MANIFEST_BYTES_MAX, add_lengths};
use crate::body::collect;
use crate::context::Context;
use crate::operation::{GetObject, ObjectRead, VersionId};
use crate::{Error, Kind, Primitive, Result, Subject};

/// One entry of a manifest, as Swift stores it.
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
    /// The range of the segment, `first-last`.
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

    /// The object of a segment.
    pub(crate) fn path(&self, account: &AccountName) -> Result<ObjectPath> {
        let (container, object) = self
            .name
            .trim_start_matches('/')
            .split_once('/')
            .ok_or_else(|| broken("the path of a segment has no object"))?;
        let refuse = |error: apus_cluster::name::NameError| broken(&error.to_string());
        let container = ContainerName::parse(container).map_err(refuse)?;
        let object = ObjectName::parse(object).map_err(refuse)?;
        Ok(ContainerPath::new(account.clone(), container).object(object))
    }

    /// Offset and number of bytes that the entry takes from its object.
    pub(crate) fn span(&self) -> Result<(u64, u64)> {
        let Some(range) = &self.range else { return Ok((0, self.bytes)) };
        let (first, last) =
            range.split_once('-').ok_or_else(|| broken("the range of a segment is invalid"))?;
        let number = |text: &str| {
            text.parse::<u64>().map_err(|_| broken("the range of a segment is invalid"))
        };
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last >= JOINED_BYTES_MAX {
            return Err(broken("the range of a segment is invalid"));
        }
        Ok((first, last - first + 1))
    }

    /// Number of bytes that the entry adds to the whole.
    pub(crate) fn length(&self) -> Result<u64> {
        match self.inline()? {
            Some(bytes) => Ok(bytes.len() as u64),
            None => Ok(self.span()?.1),
        }
    }
}

/// A manifest with the offsets of its entries in the whole.
#[derive(Debug, Default)]
pub(crate) struct StoredManifest {
    /// The entries in order.
    pub(crate) entries: Vec<Entry>,
    /// The end of each entry in the joined object, in bytes.
    ends: Vec<u64>,
    /// Size of the stored manifest in bytes.
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

    /// Parses the manifest in the reply to a raw read, of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// `Conflict` when the object is not a manifest, or one that cannot be joined.
    pub(crate) async fn collect(read: ObjectRead, bytes_max: u64) -> Result<Self> {
        if !read.head.is_manifest() {
            return Err(broken("the object is not a manifest"));
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
        (object, version): (&ObjectPath, Option<VersionId>),
    ) -> Result<Self> {
        Self::collect(open(store, cx, object, version).await?, MANIFEST_BYTES_MAX).await
    }

    /// Length of the joined object in bytes.
    pub(crate) fn total(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Index of the entry that has this byte of the joined object; the number of entries past the
    /// end.
    pub(crate) fn entry_at(&self, offset: u64) -> usize {
        self.ends.partition_point(|end| *end <= offset)
    }

    /// The entry of this index, with its start and end in the joined object.
    pub(crate) fn entry(&self, number: usize) -> Option<(&Entry, u64, u64)> {
        let entry = self.entries.get(number)?;
        let end = *self.ends.get(number)?;
        let start = number.checked_sub(1).and_then(|before| self.ends.get(before).copied());
        Some((entry, start.unwrap_or(0), end))
    }
}

/// Reads a stored object without following a manifest.
pub(super) async fn open(
    store: &dyn Primitive,
    cx: &Context,
    object: &ObjectPath,
    version: Option<VersionId>,
) -> Result<ObjectRead> {
    let mut get = GetObject::new(object.clone());
    get.head.version = version;
    get.head.raw = true;
    store.get_object(cx, get).await
}

/// MD5 of the etags of the entries, with `:range;` after those that have one.
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
