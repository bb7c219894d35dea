//! Verification of a body's checksums as it passes.

use std::pin::Pin;
use std::task::{Context, Poll};

use apus_daemon::Body;
use apus_daemon::http::BodyError;
use apus_store::body::LateMetadata;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use sha2::Digest as _;

use super::algorithm::{Algorithm, Digest};
use super::declared::DeclaredChecksums;
use crate::s3::body_error::{PayloadHashMismatch, body_error, coded};
use crate::s3::chunked::TrailerValue;

/// The value that a digest is compared with at the end.
enum Expected {
    Value(String),
    /// The trailer of the body.
    Trailer,
    /// No value was declared: the digest is computed to be stored.
    Nothing,
}

/// A body that fails at its end unless its digests are the expected ones.
pub(super) struct VerifiedBody {
    body: Body,
    digest: Option<(Algorithm, Digest, Expected)>,
    sha256: Option<(Box<sha2::Sha256>, String)>,
    trailer: Option<TrailerValue>,
    late: LateMetadata,
    ended: bool,
}

impl VerifiedBody {
    /// A body whose digest is computed and stored, without an expected value.
    pub(super) fn computed(body: Body, algorithm: Algorithm, late: &LateMetadata) -> Body {
        let digest = Some((algorithm, Digest::new(algorithm), Expected::Nothing));
        let late = late.clone();
        Self { body, digest, sha256: None, trailer: None, late, ended: false }.boxed_unsync()
    }
}

/// Wraps a body so that it fails at its end unless its checksums are the declared ones; verified
/// checksums go into `late`. `trailer` is that of the `aws-chunked` decoder, if any.
pub(in crate::s3) fn verify(
    body: Body,
    declared: DeclaredChecksums,
    trailer: Option<TrailerValue>,
    late: &LateMetadata,
) -> Body {
    let digest = declared.checksum.map(|(algorithm, value)| {
        let expected = value.map_or(Expected::Trailer, Expected::Value);
        (algorithm, Digest::new(algorithm), expected)
    });
    VerifiedBody {
        body,
        digest,
        sha256: declared.sha256.map(|value| (Box::default(), value)),
        trailer,
        late: late.clone(),
        ended: false,
    }
    .boxed_unsync()
}

impl VerifiedBody {
    fn end(&mut self) -> Result<(), BodyError> {
        if let Some((digest, expected)) = self.sha256.take() {
            let computed = hex::encode(digest.finalize());
            if !computed.eq_ignore_ascii_case(&expected) {
                let mismatch = PayloadHashMismatch { declared: expected, computed };
                return Err(coded("XAmzContentSHA256Mismatch", "").because(mismatch).into());
            }
        }
        if let Some((algorithm, digest, expected)) = self.digest.take() {
            let found = digest.base64();
            let is_expected = match &expected {
                Expected::Value(value) => *value == found,
                Expected::Trailer => {
                    self.trailer.as_ref().and_then(TrailerValue::get) == Some(&found)
                }
                Expected::Nothing => true,
            };
            if !is_expected {
                let text = format!(
                    "The {} you specified did not match the calculated checksum.",
                    algorithm.name()
                );
                return Err(body_error("BadDigest", &text));
            }
            self.late.insert(&algorithm.key(), &found);
        }
        Ok(())
    }
}

impl http_body::Body for VerifiedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    if let Some((digest, _)) = &mut self.sha256 {
                        digest.update(data);
                    }
                    if let Some((_, digest, _)) = &mut self.digest {
                        digest.update(data);
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) if !self.ended => {
                self.ended = true;
                Poll::Ready(self.end().err().map(Err))
            }
            other => other,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
