//! Verifies the row updates in `async_pending`.
//!
//! A damaged update is quarantined. When a single bit has flipped, its checksum identifies the bit;
//! otherwise the update is written again from the object itself. At every moment either the damaged
//! update or a good one exists.

use std::io;
use std::path::Path;

use apus_cluster::{Metadata, PathHash, Timestamp};
use apus_disk::Committer;
use apus_wire::message::container::{RowHeaders, RowVerb};

use crate::engine::audit::Examined;
use crate::engine::place::Place;
use crate::rows::container::row_headers;
use crate::rows::pending::{self as row_updates, Update};
use crate::store::ObjectStore;

/// Result of checking one update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UpdateCheck {
    /// It is as it was written, does not exist any longer, or is not an update.
    Good,
    /// It was quarantined, and restored to what it was before a bit flipped.
    Repaired,
    /// It was quarantined, and written again from the object.
    Rewritten,
    /// It was quarantined, and the object is not stored here.
    Lost,
}

/// Dependencies of the repair of an update.
pub(super) struct RepairContext<'a> {
    pub(super) store: &'a ObjectStore,
    /// The place of the object with a hash on this device.
    pub(super) place: &'a (dyn Fn(PathHash) -> Place + Send + Sync),
    pub(super) committer: &'a Committer,
}

/// The time and the hash in the name of an update.
fn parse(path: &Path) -> Option<(PathHash, Timestamp)> {
    let name = path.file_name()?.to_str()?;
    let (hash, time) = name.split_once('-')?;
    Some((PathHash::parse(hash)?, Timestamp::parse(time)?))
}

/// Checks one file of a suffix directory. Blocking.
pub(super) fn check(path: &Path, context: &RepairContext<'_>) -> io::Result<UpdateCheck> {
    let Some((hash, _)) = parse(path) else { return Ok(UpdateCheck::Good) };
    let Some(reason) = row_updates::damage(path, &hash, &context.store.hash)? else {
        return Ok(UpdateCheck::Good);
    };
    let place = (context.place)(hash);
    let kind = place.policy.suffixed("async_pending");
    let quarantined = apus_disk::quarantine_file(&place.device, &kind, path)?;
    tracing::error!(update = %path.display(), to = %quarantined.display(), %reason, "Quarantined a damaged row update");
    apus_fault::point("quarantine.pending.linked");
    if let Some(pending) = row_updates::repaired(path)? {
        row_updates::replace(path, &pending, &context.store.counters)?;
        if row_updates::damage(path, &hash, &context.store.hash)?.is_none() {
            return Ok(UpdateCheck::Repaired);
        }
    }
    let again = rewrite(&place, context)?;
    apus_fault::point("quarantine.pending.announced");
    // It may have replaced the damaged one.
    if again.as_deref() != path.file_name().and_then(|name| name.to_str()) {
        row_updates::remove(path)?;
    }
    Ok(if again.is_some() { UpdateCheck::Rewritten } else { UpdateCheck::Lost })
}

/// Writes the update of an object from its own metadata; returns the name of the file.
fn rewrite(place: &Place, context: &RepairContext<'_>) -> io::Result<Option<String>> {
    let (name, verb, time, mut row) = match context.store.engine(place.policy).examine(place)? {
        Examined::Object(name, object) => {
            let overrides = Metadata::new();
            let mut row = row_headers(&overrides, &object.metadata, object.data_time);
            row.set_content_type_timestamp(&object.content_type_time.to_string());
            row.set_meta_timestamp(object.time);
            (name, RowVerb::Put, object.time, row)
        }
        Examined::Deleted(name, time) => (name, RowVerb::Delete, time, RowHeaders::deleted(time)),
        Examined::Nothing | Examined::Damaged(_) => return Ok(None),
    };
    row.set_origin(place.policy, None);
    let mut names = name.trim_start_matches('/').splitn(3, '/').map(str::to_owned);
    let (Some(account), Some(container), Some(object)) = (names.next(), names.next(), names.next())
    else {
        return Ok(None);
    };
    let update = Update {
        verb,
        account,
        container,
        object,
        headers: row,
        container_path: None,
        db_state: None,
    };
    let of = (place.device.as_path(), place.policy, &place.hash);
    row_updates::write(of, time, &update, context.committer)?;
    Ok(Some(row_updates::name(&place.hash, time)))
}
