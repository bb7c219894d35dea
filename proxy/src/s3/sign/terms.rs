//! The circumstances under which a signature is valid, and how a refused one is described.

use std::fmt::Write as _;

use crate::auth::key_lookup::KeyUsers;
use crate::config::ProxyConfig;
use crate::deps::ProxyDeps;

/// The circumstances under which a signature is valid.
pub(super) struct SignatureTerms<'a> {
    /// The users and their secrets: above all the one whose key the request claims to be signed with.
    pub(super) auth: &'a dyn KeyUsers,
    /// Region, domains, versions and the public URL.
    pub(super) config: &'a ProxyConfig,
    /// The time, in seconds since 1970.
    pub(super) now_seconds: u64,
}

impl<'a> SignatureTerms<'a> {
    pub(super) fn of(deps: &'a ProxyDeps, auth: &'a dyn KeyUsers) -> Self {
        let now_seconds = deps.clock.now().as_secs();
        Self { auth, config: &deps.config, now_seconds }
    }
}

/// Bytes in hex with blanks between them, as AWS shows those of a text to sign.
pub(super) fn bytes_of(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() * 3);
    for (at, byte) in text.iter().enumerate() {
        let blank = if at == 0 { "" } else { " " };
        // Writing to a string does not fail.
        let _ = write!(out, "{blank}{byte:02x}");
    }
    out
}
