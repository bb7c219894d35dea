//! What is stored with the segments of a joined object, asked for several at a time.

use std::sync::Arc;

use apus_cluster::ObjectPath;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};

use crate::context::Context;
use crate::operation::{HeadObject, PartHead};
use crate::{Error, Kind, Primitive, Result};

/// Segments asked for at the same time.
const AT_ONCE: usize = 16;

/// Fills in the metadata of each part that comes from an object; one that is gone, or not for the
/// caller, has none.
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
