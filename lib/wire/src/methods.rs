//! Verbs between servers beside HTTP's. A server that does not know one of ours answers 405.

/// Swift's: the suffix hashes of a partition.
pub const REPLICATE: &str = "REPLICATE";
/// Swift's: an exchange in which one node brings another what it lacks.
pub const SSYNC: &str = "SSYNC";
/// Swift's: rows to merge into a container, whatever they say.
pub const UPDATE: &str = "UPDATE";

/// Takes the name of an object at `X-Timestamp`, for a conditional write: 200 with what is stored
/// or 404, with `X-Backend-Timestamp`; 409 when a later time was promised to somebody.
pub const RESERVE: &str = "RESERVE";
/// Sends an object to the nodes that [`REPAIR_TO`](crate::headers::REPAIR_TO) names, as replication
/// would: 200 when all have it.
pub const REPAIR: &str = "REPAIR";
/// Gives back what was taken at `X-Timestamp`: 204.
pub const RELEASE: &str = "RELEASE";
