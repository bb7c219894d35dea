//! Row updates that could not be delivered, kept beside the objects until somebody can.
//!
//! `<device>/async_pending[-N]/<suffix>/<hash>-<time>`, pickled as Swift's updater reads them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use apus_cluster::pickle::{self, Value};
use apus_cluster::{Metadata, PathHash, PolicyIndex, Timestamp};
use apus_disk::{AtomicFile, Counters, make_directories};

/// One update: the verb, the three names and the headers of the request to container servers.
#[derive(Debug, Clone)]
pub(crate) struct Update {
    pub(crate) method: &'static str,
    pub(crate) account: String,
    pub(crate) container: String,
    pub(crate) object: String,
    pub(crate) headers: Metadata,
}

/// Writes an update durably.
pub(crate) fn write(
    device: &Path,
    policy: PolicyIndex,
    hash: &PathHash,
    time: Timestamp,
    update: &Update,
    counters: &Arc<Counters>,
) -> io::Result<()> {
    let text = |text: &str| Value::Str(text.to_owned());
    let items = update.headers.iter().map(|(name, value)| (text(name), text(value)));
    let pickled = pickle::dumps(&Value::Dict(vec![
        (text("op"), text(update.method)),
        (text("account"), text(&update.account)),
        (text("container"), text(&update.container)),
        (text("obj"), text(&update.object)),
        (text("headers"), Value::Dict(items.collect())),
        (text("db_state"), Value::None),
    ]));
    let directory = device.join(policy.suffixed("async_pending")).join(hash.suffix_dir());
    let made = make_directories(device, &directory, counters)?;
    let temporary = device.join(policy.suffixed("tmp"));
    let mut file = AtomicFile::create(&directory, &temporary, counters)?;
    file.append(&pickled)?;
    file.sync()?;
    file.publish(&directory.join(format!("{hash}-{time}")), &made)
}
