//! Conditions and choices of a read.

use apus_cluster::etag::EtagList;
use apus_daemon::http::{format_date, header, parse_date, set};
use http::HeaderMap;

use super::super::fields;
use crate::headers;

/// `If-Match` and its kin (RFC 9110, section 13), and the metadata that holds the etag they compare
/// with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadConditions {
    /// Only if the etag is one of these.
    pub if_match: Option<EtagList>,
    /// Only if the etag is none of these.
    pub if_none_match: Option<EtagList>,
    /// Only if changed after this time, in seconds since 1970.
    pub if_modified_since: Option<u64>,
    /// Only if not changed after this time, in seconds since 1970.
    pub if_unmodified_since: Option<u64>,
    /// Names of system metadata: the first that the object has holds the etag to compare with.
    pub etag_at: Vec<String>,
}

impl ReadConditions {
    pub(super) fn encode(&self, head: &mut HeaderMap) {
        let list = |list: &Option<EtagList>| list.as_ref().map(EtagList::to_header);
        fields::set_some(head, "if-match", list(&self.if_match).as_deref());
        fields::set_some(head, "if-none-match", list(&self.if_none_match).as_deref());
        let date = |seconds: Option<u64>| seconds.map(format_date);
        fields::set_some(head, "if-modified-since", date(self.if_modified_since).as_deref());
        fields::set_some(head, "if-unmodified-since", date(self.if_unmodified_since).as_deref());
        if !self.etag_at.is_empty() {
            set(head, headers::ETAG_IS_AT, &self.etag_at.join(","));
        }
    }

    pub(super) fn decode(head: &HeaderMap) -> Self {
        let list = |name| header(head, name).map(EtagList::parse);
        let date = |name| header(head, name).and_then(parse_date);
        Self {
            if_match: list("if-match"),
            if_none_match: list("if-none-match"),
            if_modified_since: date("if-modified-since"),
            if_unmodified_since: date("if-unmodified-since"),
            etag_at: fields::list(head, headers::ETAG_IS_AT),
        }
    }
}
