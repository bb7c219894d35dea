//! Headers that name versions and delete markers.

use apus_daemon::http::set;
use apus_store::operation::{Deleted, ObjectHead, VersionId};
use http::HeaderMap;

use super::head::last_modified;

/// The version of a response.
const VERSION: &str = "x-amz-version-id";
/// Whether it is a delete marker.
const DELETE_MARKER: &str = "x-amz-delete-marker";

/// The version that was read, if its bucket keeps versions.
pub(in crate::s3) fn of_read(head: &ObjectHead, out: &mut HeaderMap) {
    if let Some(version) = head.version {
        set(out, VERSION, &version.to_string());
    }
}

/// The version that was written. As in AWS, the null version has no header.
pub(in crate::s3) fn of_write(version: Option<VersionId>, out: &mut HeaderMap) {
    if let Some(version @ VersionId::At(_)) = version {
        set(out, VERSION, &version.to_string());
    }
}

/// The version that was copied, if its bucket keeps versions.
pub(in crate::s3) fn of_source(version: Option<VersionId>, out: &mut HeaderMap) {
    if let Some(version) = version {
        set(out, "x-amz-copy-source-version-id", &version.to_string());
    }
}

/// The version that was removed, or the delete marker that was written.
pub(in crate::s3) fn of_deletion(deleted: &Deleted, out: &mut HeaderMap) {
    if let Some(version) = deleted.version {
        set(out, VERSION, &version.to_string());
    }
    if deleted.delete_marker {
        set(out, DELETE_MARKER, "true");
    }
}

/// The delete marker for which a read failed. A request that named it may only delete it.
pub(in crate::s3) fn of_error(head: &ObjectHead, is_named: bool, out: &mut HeaderMap) {
    if !head.delete_marker {
        return;
    }
    of_read(head, out);
    set(out, DELETE_MARKER, "true");
    if is_named {
        set(out, "last-modified", &last_modified(head));
        set(out, "allow", "DELETE");
    }
}
