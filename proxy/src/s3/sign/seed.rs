//! The chain of signatures of `aws-chunked` bodies.

use aws_sigv4::sign::v4::calculate_signature;
use subtle::ConstantTimeEq;

use super::canonical::sha256;

/// The last verified signature, which the next chunk's signature includes.
#[derive(Clone)]
pub(in crate::s3) struct Seed {
    key: Vec<u8>,
    date: String,
    scope: String,
    signature: String,
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(secret)")
    }
}

impl Seed {
    /// The signature of the request itself, with the key, date and scope that it was made with.
    pub(super) fn new(key: &[u8], date: &str, scope: String, signature: String) -> Self {
        Self { key: key.to_vec(), date: date.to_owned(), scope, signature }
    }

    /// Checks the signature of the next chunk, given the SHA-256 of its data in hex.
    pub(in crate::s3) fn check_chunk(&mut self, data_sha256: &str, signature: &str) -> bool {
        let text = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{}\n{data_sha256}",
            self.date,
            self.scope,
            self.signature,
            sha256(b""),
        );
        self.check(&text, signature)
    }

    /// Checks the signature of the trailers.
    pub(in crate::s3) fn check_trailers(&mut self, trailers: &[u8], signature: &str) -> bool {
        let text = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{}\n{}",
            self.date,
            self.scope,
            self.signature,
            sha256(trailers),
        );
        self.check(&text, signature)
    }

    fn check(&mut self, text: &str, signature: &str) -> bool {
        let expected = calculate_signature(&self.key, text.as_bytes());
        let equal = bool::from(expected.as_bytes().ct_eq(signature.as_bytes()));
        self.signature = expected;
        equal
    }
}
