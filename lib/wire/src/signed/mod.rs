//! Signed requests between the servers of one cluster, which accept no others.
//!
//! **What is signed.** Each request that leaves by TCP carries `X-Apus-Signature`: the id of the key,
//! the time, a random nonce, how the body is protected, and an HMAC-SHA256 over all that together with
//! method, path with query, `Host` and every other header except those of one connection
//! ([`signature`]). It is valid for one request to one server, for a minute, once ([`Guard`]).
//!
//! **Bodies.** A request without a body says so. Any other body travels in frames of at most 64 KiB,
//! each with an HMAC of its number, its length and its bytes under a key that is derived from the
//! request's own signature; the last one says that it is the last ([`frames`]). A server gives its
//! handler no byte that was not verified before, so a commit in the middle of a body is as authentic
//! as the end, nothing needs to be undone, and at most one frame is held. One MAC at the end would
//! save 36 bytes per frame, but come after the commit of a two-phase PUT. The CRC in the footers is not
//! a substitute: any sender can compute one that fits. HMAC-SHA256 costs about 0.7 s of CPU per GiB on
//! each side with the SHA instructions of the processor, which `sha2` finds at run time; universal
//! hashes are faster and need another dependency.
//!
//! **Answers are not signed**, except for those that set up a node or let a disk be pulled ([`seal`]).
//! An attacker who can alter packets can forge an answer (a false 404, another body); the reader's
//! digest checks content end to end. Where the network itself is hostile, use TLS between nodes, which
//! also hides what is sent.
//!
//! **Replays after a restart.** The nonces seen are in memory. A write that is sent again within a
//! minute after a restart has its old `X-Timestamp` and changes nothing.
//!
//! A request in the same process is a function call and needs no signature.

mod frames;
pub mod fuzzing;
mod guard;
pub(crate) mod key;
mod log_rate_limiter;
mod nonces;
pub mod seal;
mod signature;
mod signer;

pub use guard::Guard;
pub(crate) use log_rate_limiter::LogRateLimiter;
pub use signer::Signer;

/// Extension of a request whose signature the guard found good.
#[derive(Debug, Clone, Copy)]
struct VerifiedRequest;

/// The signature of a request.
pub const SIGNATURE: &str = "x-apus-signature";
/// On answers to `OPTIONS`: the version of framed bodies that this server reads.
pub const FRAMES: &str = "x-apus-frames";
/// The version in both headers.
const VERSION: &str = "v1";
/// How far the clocks of two nodes may be apart, in milliseconds.
const WINDOW_MS: u64 = 60_000;
