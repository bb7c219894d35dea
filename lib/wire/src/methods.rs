//! Verbs between servers that HTTP does not define. Servers answer 405 to those they do not know.

/// Swift's: the suffix hashes of a partition.
pub const REPLICATE: &str = "REPLICATE";
/// Swift's: an exchange in which one node sends another the objects it lacks.
pub const SSYNC: &str = "SSYNC";
/// Swift's: rows to merge into a container.
pub const UPDATE: &str = "UPDATE";

/// Reserves the name of an object at `X-Timestamp`, for a conditional write: 200 with what is stored
/// or 404, with `X-Backend-Timestamp`; 409 when a later time is promised to another writer.
pub const RESERVE: &str = "RESERVE";
/// Sends an object to the nodes that [`REPAIR_TO`](crate::headers::REPAIR_TO) names, as replication
/// would: 200 when all have it.
pub const REPAIR: &str = "REPAIR";
/// Releases the name that was reserved at `X-Timestamp`: 204.
pub const RELEASE: &str = "RELEASE";
