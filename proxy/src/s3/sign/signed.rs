//! The outcome of a verified signature.

use apus_store::access::Identity;

use super::seed::Seed;

/// The way in which the signature covers the body.
#[derive(Debug, Clone)]
pub(in crate::s3) enum Payload {
    /// By the body's SHA-256 in hex.
    Sha256(String),
    /// Not at all.
    Unsigned,
    /// In chunks, signed or not.
    Chunked {
        /// The signature that the first chunk's signature includes; `None` for unsigned chunks.
        seed: Option<Seed>,
        /// Whether trailers follow the last chunk.
        trailer: bool,
    },
}

/// The sender of a verified request, and how its body is covered.
pub(in crate::s3) struct Signed {
    pub(in crate::s3) identity: Identity,
    pub(in crate::s3) account: String,
    pub(in crate::s3) payload: Payload,
}
