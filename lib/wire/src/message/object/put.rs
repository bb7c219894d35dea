//! `PUT` of an object.

use apus_cluster::etag::EtagList;
use apus_cluster::metadata::{header_name, is_stored_with_object, stored_name};
use apus_cluster::{Metadata, Timestamp};
use apus_daemon::http::{header, set};
use http::request::Parts;
use http::{HeaderMap, Method};

use super::super::{InvalidRequest, Received, fields};
use super::{ObjectAddress, ObjectRowTargets, WriteFence};
use crate::{NodeRequest, headers};

/// `PUT /device/partition/account/container/object`.
#[derive(Debug, Clone, PartialEq)]
pub struct PutObjectRequest {
    /// The object.
    pub address: ObjectAddress,
    /// Time of the write.
    pub timestamp: Timestamp,
    /// Content type; it may come in the footers instead.
    pub content_type: Option<String>,
    /// Length of the object in bytes, if the sender knows it.
    pub length: Option<u64>,
    /// MD5 in hexadecimal that the body must have; it may come in the footers instead.
    pub etag: Option<String>,
    /// What is stored with the object, under the names it is stored under.
    pub metadata: Metadata,
    /// Refuse the write when the object's etag is one of these.
    pub if_none_match: Option<EtagList>,
    /// How the body is framed.
    pub framing: PutFraming,
    /// The footers will carry a CRC-64/NVME of the body, so the server need not compute MD5.
    pub sends_crc: bool,
    /// How the write relates to reservations.
    pub fence: WriteFence,
    /// The write is a copy made by replication: no rows are sent for it.
    pub is_replication: bool,
    /// Values for the container row instead of the object's own, by the row's field.
    pub row_overrides: Metadata,
    /// Databases to report to.
    pub rows: ObjectRowTargets,
}

/// How the body of a PUT is framed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PutFraming {
    /// The body is the object.
    #[default]
    Plain,
    /// A MIME document: the object, then late metadata.
    Footers {
        /// MIME boundary.
        boundary: String,
    },
    /// The same, then a commit that the server waits for after everything else is durable.
    TwoPhase {
        /// MIME boundary.
        boundary: String,
    },
}

impl PutFraming {
    /// The MIME boundary, if the body is a MIME document.
    pub fn boundary(&self) -> Option<&str> {
        match self {
            Self::Plain => None,
            Self::Footers { boundary } | Self::TwoPhase { boundary } => Some(boundary),
        }
    }

    fn encode(&self, head: &mut HeaderMap) {
        let Some(boundary) = self.boundary() else { return };
        set(head, headers::METADATA_FOOTER, "yes");
        set(head, headers::MIME_BOUNDARY, boundary);
        if matches!(self, Self::TwoPhase { .. }) {
            set(head, headers::MULTIPHASE_COMMIT, "yes");
        }
    }

    fn decode(head: &HeaderMap) -> Result<Self, InvalidRequest> {
        let two_phases = header(head, headers::MULTIPHASE_COMMIT).is_some();
        match fields::text(head, headers::MIME_BOUNDARY) {
            Some(boundary) if two_phases => Ok(Self::TwoPhase { boundary }),
            Some(boundary) => Ok(Self::Footers { boundary }),
            None if two_phases => {
                let name = "X-Backend-Obj-Multipart-Mime-Boundary";
                Err(InvalidRequest::header(name, None, "a boundary, since a commit was announced"))
            }
            None => Ok(Self::Plain),
        }
    }
}

impl PutObjectRequest {
    /// As a request to any of the servers.
    pub fn encode(&self) -> NodeRequest {
        let mut request = self.address.encode(Method::PUT);
        let head = &mut request.headers;
        set(head, headers::TIMESTAMP, &self.timestamp.to_string());
        encode_metadata(&self.metadata, head);
        fields::set_some(head, "content-type", self.content_type.as_deref());
        fields::set_some(head, "etag", self.etag.as_deref());
        let list = self.if_none_match.as_ref().map(EtagList::to_header);
        fields::set_some(head, "if-none-match", list.as_deref());
        self.framing.encode(head);
        let length = match self.framing {
            PutFraming::Plain => "content-length",
            PutFraming::Footers { .. } | PutFraming::TwoPhase { .. } => headers::OBJECT_LENGTH,
        };
        fields::set_display(head, length, self.length);
        if self.sends_crc {
            set(head, headers::BODY_CRC, "yes");
        }
        self.fence.encode(head);
        if self.is_replication {
            set(head, headers::REPLICATION, "True");
        }
        encode_overrides(&self.row_overrides, head);
        self.rows.encode(head);
        request
    }

    /// Reads a request.
    ///
    /// # Errors
    /// When path, policy, time, expiry, part power or framing are malformed.
    pub fn decode(parts: &Parts) -> Result<Received<Self>, InvalidRequest> {
        let Received { device, message: address } = ObjectAddress::decode(parts)?;
        let head = &parts.headers;
        check_delete_at(head)?;
        let framing = PutFraming::decode(head)?;
        let plain = || header(head, "content-length").filter(|_| framing.boundary().is_none());
        let length = header(head, headers::OBJECT_LENGTH).or_else(plain);
        let message = Self {
            address,
            timestamp: fields::required_timestamp(head)?,
            content_type: fields::text(head, "content-type"),
            length: length.and_then(|text| text.parse().ok()),
            etag: fields::text(head, "etag").map(|etag| etag.trim_matches('"').to_owned()),
            metadata: fields::metadata(head, is_stored_with_object, stored_name),
            if_none_match: header(head, "if-none-match").map(EtagList::parse),
            sends_crc: header(head, headers::BODY_CRC).is_some(),
            fence: WriteFence::decode(head),
            is_replication: fields::flag(head, headers::REPLICATION).unwrap_or(false),
            row_overrides: decode_overrides(head),
            rows: ObjectRowTargets::decode(head),
            framing,
        };
        Ok(Received { device, message })
    }

    /// When the object expires, in seconds since 1970; `None` for never.
    pub fn delete_at(&self) -> Option<u64> {
        delete_at(&self.metadata)
    }
}

/// The expiry among metadata; 0 stands for none.
pub(super) fn delete_at(metadata: &Metadata) -> Option<u64> {
    let at = metadata.get("X-Delete-At")?;
    at.trim().parse().ok().filter(|at| *at > 0)
}

/// Refuses an expiry that is not a number, also one that is not text, and one of several.
pub(super) fn check_delete_at(head: &HeaderMap) -> Result<(), InvalidRequest> {
    for value in head.get_all(headers::DELETE_AT).iter().filter(|value| !value.is_empty()) {
        let text = String::from_utf8_lossy(value.as_bytes());
        if text.parse::<u64>().is_err() {
            let expected = "whole seconds since 1970";
            return Err(InvalidRequest::header("X-Delete-At", Some(&text), expected));
        }
    }
    Ok(())
}

/// Writes metadata as headers.
pub(super) fn encode_metadata(metadata: &Metadata, head: &mut HeaderMap) {
    for (name, value) in metadata {
        set(head, &header_name(name), value);
    }
}

/// Writes values for the container row.
pub(super) fn encode_overrides(overrides: &Metadata, head: &mut HeaderMap) {
    for (field, value) in overrides {
        set(head, &format!("{}{field}", headers::OVERRIDE_PREFIX), value);
    }
}

/// Reads values for the container row, by field: `etag`, `size`, `content-type`.
pub(super) fn decode_overrides(head: &HeaderMap) -> Metadata {
    let given = head.iter().filter_map(|(name, value)| {
        let field = name.as_str().strip_prefix(headers::OVERRIDE_PREFIX)?;
        Some((field.to_owned(), std::str::from_utf8(value.as_bytes()).ok()?.to_owned()))
    });
    given.collect()
}
