//! What the reaper keeps: locked versions, and parts of uploads that may belong to them.
//!
//! A version without an answer of a majority of its primaries counts as locked, since the newest
//! lock may be on those that did not answer. The account stays until all locks have ended.

use apus_bucket::object_lock::{LEGAL_HOLD, RETENTION, SETTINGS_MARK, VersionLock};
use apus_cluster::policy::majority;
use apus_daemon::http::header;
use apus_ring::Device;
use apus_wire::message::container::ReadContainerRequest;
use apus_wire::message::object::{ObjectAddress, ReadObjectRequest, ReadVerb, StoredObject};
use http::StatusCode;
use http::response::Parts;

use super::remove::{ReapedAccount, Remover};
use super::report::Reaped;

/// Suffix of the hidden container of a bucket's multipart uploads.
const SEGMENTS: &str = "+segments";

/// Whether objects of a container may be locked, by the head of its listing.
pub(super) fn may_have_locks(head: &Parts) -> bool {
    header(&head.headers, SETTINGS_MARK).is_some()
}

impl Remover<'_> {
    /// Whether a version is locked now, by the newest of what its primaries have.
    pub(super) async fn is_locked(
        &self,
        nodes: &[Device],
        address: &ObjectAddress,
        reaped: &mut Reaped,
    ) -> bool {
        let mut request = ReadObjectRequest::new(ReadVerb::Head, address.clone());
        request.open_expired = true;
        let request = request.encode();
        let mut newest = None;
        let mut answers = 0;
        for node in nodes {
            let Some(response) = self.send(node, &request, reaped).await else { continue };
            if response.status().is_success() {
                let stored = StoredObject::decode(response.headers());
                if newest.as_ref().is_none_or(|(time, _)| *time < stored.timestamp) {
                    let get = |name: &str| stored.metadata.get(name).map(String::as_str);
                    let lock = VersionLock::from_stored(get(RETENTION), get(LEGAL_HOLD));
                    newest = Some((stored.timestamp, lock));
                }
            }
            let is_known =
                response.status().is_success() || response.status() == StatusCode::NOT_FOUND;
            answers += usize::from(is_known);
        }
        let now_ms = self.now().steps() / 100;
        answers < majority(nodes.len())
            || newest.is_some_and(|(_, lock)| lock.check_removal(now_ms, false).is_err())
    }

    /// Whether a container has the parts of versions that still exist.
    pub(super) async fn has_parts_of_versions(
        &self,
        account: &ReapedAccount,
        name: &str,
        reaped: &mut Reaped,
    ) -> bool {
        let Some(bucket) = name.strip_suffix(SEGMENTS) else { return false };
        let Ok(hidden) = self.locate(account, &format!("\0versions\0{bucket}")) else {
            return false;
        };
        let query = "format=json&limit=1".to_owned();
        let mut request = ReadContainerRequest::list(hidden.address(), query);
        request.allow_reserved = true;
        let request = request.encode();
        for node in &hidden.nodes {
            let Some(response) = self.send(node, &request, reaped).await else { continue };
            match response.status() {
                StatusCode::NOT_FOUND => return false,
                status if status.is_success() => return may_have_locks(&response.into_parts().0),
                _ => {}
            }
        }
        true
    }
}
