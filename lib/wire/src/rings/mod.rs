//! How ring files travel between the nodes of a cluster.
//!
//! **What travels.** A ring file as it is, and beside it a [`Statement`]: name, series, version, length and
//! digests of the file, with an HMAC by the cluster's key. The statement is kept next to the file
//! (`object.ring.gz.signature`), so whoever takes a ring from a node can see that somebody who has the
//! key pushed just that ring, whatever happened to it on the way. A file that no statement fits is
//! used by its node, but passed on to nobody.
//!
//! **Which ring wins.** The one of the higher [`Rank`]: series, then version. The version is the
//! builder's. The series is 0 until somebody forces an older ring upon the cluster, which makes it
//! one higher; so a forced ring is told from one that somebody sends again, also by a node that was
//! away at the time. Of two different rings of one rank none wins: the one that is there stays.
//!
//! **What may follow.** Only rings that load, that can place every partition, and whose part power
//! is that of the ring before or the next step of Swift's increase ([`judge`]).
//!
//! **Ways.** Somebody pushes ([`push()`]); and every node asks some others now and then and takes what
//! is newer ([`fetch`]). All of it needs signed requests: where anybody may send requests, anybody could
//! send rings.

mod body;
pub mod courier;
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

pub use courier::{Courier, Failure};
pub use fetch::{Fetched, fetch_from, keep_fetching};
pub use file::RingFile;
pub use folder::{RingFolder, take_up};
pub use http::RingsHttp;
pub use judge::Step;
pub use manifest::{Entry, Manifest};
pub use name::RingName;
pub use push::{Outcome, PushOptions, Report, Target, Told, manifests, push, targets_of};
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
