//! How ring files travel between the nodes of a cluster.
//!
//! **What travels.** A ring file as it is, and a [`Statement`] with it: name, series, version, length and
//! digests of the file, with an HMAC by the cluster's key. The statement is kept next to the file
//! (`object.ring.gz.signature`), so a node that receives a ring from another one can verify that a
//! holder of the key pushed exactly that ring. A file without a valid statement is used by its node,
//! but not passed on.
//!
//! **Which ring wins.** The one of the higher [`Rank`]: series, then version. The version is the
//! builder's. The series is 0 until an operator forces an older ring upon the cluster, which raises it
//! by one; so every node can distinguish a forced ring from an old one that is sent again, also a node
//! that was away at the time. Of two different rings of one rank neither wins: the present one stays.
//!
//! **What may follow.** Only rings that load, that can place every partition, and whose part power
//! is that of the ring before or the next step of Swift's increase ([`judge`]).
//!
//! **Ways.** An operator pushes ([`push()`]), and every node regularly asks some others and takes what
//! is newer ([`fetch`]). Both need signed requests: where unsigned requests are accepted, any peer
//! could send rings.

mod body;
pub mod client;
pub mod fetch;
pub mod file;
pub mod folder;
pub mod http;
pub mod install;
pub mod judge;
pub mod manifest;
pub mod name;
pub mod push;
pub mod refusal;
pub mod statement;

pub use client::{RingClient, RingClientError};
pub use fetch::{Fetched, fetch_from, keep_fetching};
pub use file::RingFile;
pub use folder::{RingFolder, take_up};
pub use http::RingsHttp;
pub use judge::Step;
pub use manifest::{Entry, Manifest};
pub use name::RingName;
pub use push::{
    PushOptions, PushOutcome, PushReport, RingServer, ServerOutcome, manifests, push, targets_of,
};
pub use refusal::Refusal;
pub use statement::{Rank, RingKeys, Statement};

/// Where storage servers have their manifest; a file is below it. No path of Swift's: what follows
/// a device is a number there.
pub const PATH: &str = "/apus/rings";
/// The statement of the ring in a request's or an answer's body.
pub const STATEMENT: &str = "x-apus-ring";
/// Longest ring file, in bytes: some 2^23 partitions of six replicas are 200 MB.
pub const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Longest statement, as text.
const STATEMENT_BYTES_MAX: usize = 4096;
