//! Verbs between servers that HTTP does not define. Servers answer 405 to those they do not know.

use http::Method;

/// One of the verbs below as the method of a request.
pub(crate) fn method(verb: &'static str) -> Method {
    // Every one of them is a token, as the test below checks.
    Method::from_bytes(verb.as_bytes()).unwrap_or_default()
}

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
/// would, and its rows to the databases that the request names: 200 when all have it.
pub const REPAIR: &str = "REPAIR";
/// Releases the name that was reserved at `X-Timestamp`: 204.
pub const RELEASE: &str = "RELEASE";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_a_method_of_its_own() {
        for verb in [REPLICATE, SSYNC, UPDATE, RESERVE, REPAIR, RELEASE] {
            assert_eq!(method(verb).as_str(), verb);
        }
    }
}
