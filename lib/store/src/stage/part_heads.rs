//! Metadata of the segments of a joined object, requested several at a time.

use std::sync::Arc;

use apus_cluster::ObjectPath;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};

use crate::context::Context;
use crate::operation::{HeadObject, PartHead};
use crate::{Error, Kind, Primitive, Result};

/// Maximum number of simultaneous requests.
const AT_ONCE: usize = 16;

/// Adds the metadata of each part that is an object; one that does not exist, or that the caller may
/// not read, has none.
pub(super) async fn fill(
    store: Arc<dyn Primitive>,
    cx: &Context,
    parts: Vec<(PartHead, Option<ObjectPath>)>,
) -> Result<Vec<PartHead>> {
    let asked = parts.into_iter().map(|(part, path)| one(store.clone(), cx.clone(), part, path));
    stream::iter(asked).buffered(AT_ONCE).try_collect().await
}

fn one(
    store: Arc<dyn Primitive>,
    cx: Context,
    mut part: PartHead,
    path: Option<ObjectPath>,
) -> BoxFuture<'static, Result<PartHead>> {
    async move {
        let Some(path) = path else { return Ok(part) };
        let ask = HeadObject { raw: true, ..HeadObject::new(path) };
        match store.head_object(&cx, ask).await {
            Ok(head) => part.metadata = head.metadata,
            Err(Error { kind: Kind::NotFound | Kind::Unauthorized | Kind::Forbidden, .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(part)
    }
    .boxed()
}
