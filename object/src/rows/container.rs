//! Rows of container listings.

use std::io;

use apus_cluster::metadata::has_prefix;
use apus_cluster::{Metadata, Timestamp};
use apus_wire::headers;
use apus_wire::message::container::{RowHeaders, RowVerb};

use super::pending::Update;
use super::{RowNotifier, RowSource};

/// The row of an object that was put or posted to, from its metadata and the values that the
/// request gives instead.
pub(crate) fn row_headers(
    overrides: &Metadata,
    metadata: &Metadata,
    time: Timestamp,
) -> RowHeaders {
    let field = |name: &str| metadata.get(name).map_or("", String::as_str);
    let (size, content_type) = (field("Content-Length"), field("Content-Type"));
    let mut row = RowHeaders::stored(time, size, content_type, field("ETag"));
    for (field, value) in overrides {
        row.override_field(field, value);
    }
    // What is stored with the object wins over the request.
    for (name, value) in metadata {
        if has_prefix(name, headers::SYSMETA_OVERRIDE_PREFIX) {
            let field = name.get(headers::SYSMETA_OVERRIDE_PREFIX.len()..).unwrap_or_default();
            row.override_field(field, value);
        }
    }
    row
}

impl RowNotifier {
    /// Sends the row to the container servers that the request names. A row that one of them does
    /// not take is kept on the device: when this returns, it is in a database or in
    /// `async_pending`.
    ///
    /// # Errors
    /// When the row could be neither sent nor kept; the write must then not be acknowledged.
    pub(crate) async fn update(
        &self,
        source: &RowSource<'_>,
        verb: RowVerb,
        mut row: RowHeaders,
        time: Timestamp,
    ) -> io::Result<()> {
        let RowSource { object, targets, trans_id, .. } = *source;
        row.set_origin(object.place.policy, trans_id);
        let update = Update {
            verb,
            account: object.object.account().to_string(),
            container: object.object.container.container.to_string(),
            object: object.object.object.to_string(),
            headers: row,
            container_path: targets.shard.clone(),
            db_state: targets.root_state.clone(),
        };
        self.deliver(object, &targets.listing, update, time).await
    }
}
