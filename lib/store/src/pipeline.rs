//! The order of the stages, on one screen. The first is the outermost.

use std::sync::Arc;

use crate::Store;
use crate::access::{Authorizer, Nobody};
use crate::gate::Gate;
use crate::quorum::Quorum;
use crate::stage::admission::Admission;
use crate::stage::copy::Copy;
use crate::stage::dlo::Dlo;
use crate::stage::multipart::Multipart;
use crate::stage::slo::Slo;
use crate::stage::symlink::Symlink;

/// What our own daemons talk to: objects as they are stored, and only in the system's name
/// ([`crate::Context::system`]).
pub fn internal(quorum: Quorum) -> Arc<dyn Store> {
    Arc::new(Gate::new(quorum, Arc::new(Nobody)))
}

/// What clients talk to. `upload_bytes` is the memory for bodies on their way, `symloop_max` the
/// number of links that are followed in a row.
pub fn client(
    quorum: Quorum,
    authorizer: Arc<dyn Authorizer>,
    upload_bytes: u64,
    symloop_max: usize,
) -> Arc<dyn Store> {
    // The one place that authorizes; everything above may only ask it.
    let gate: Arc<dyn Store> = Arc::new(Gate::new(quorum, authorizer));
    // A link is followed where its bytes are read, so that everything above sees its target.
    let symlink: Arc<dyn Store> = Arc::new(Symlink::new(gate, symloop_max));
    // A DLO manifest is an ordinary object with a header: joined from a listing.
    let dlo: Arc<dyn Store> = Arc::new(Dlo::new(symlink));
    // A static manifest is followed before a listing is: it may have DLO segments.
    let slo: Arc<dyn Store> = Arc::new(Slo::new(dlo));
    // Uploads end in a static manifest, so they stand above it.
    let multipart: Arc<dyn Store> = Arc::new(Multipart::new(slo));
    // Copies read and write through everything else.
    let copy: Arc<dyn Store> = Arc::new(Copy::new(multipart));
    // Before anything else is done for a write: is there room for its body?
    Arc::new(Admission::new(copy, upload_bytes))
}
