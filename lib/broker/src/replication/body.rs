//! Reads the body of a call or of its response, up to a limit.

use apus_daemon::Body;
use apus_daemon::http::BodyError;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

/// Reasons why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyReadError {
    /// It is longer than it may be.
    #[error("the body is too large")]
    TooLarge,
    /// The connection broke.
    #[error("the body is incomplete: {0}")]
    Broken(#[source] BodyError),
}

/// A body of at most `max` bytes.
pub(super) async fn read(mut body: Body, max: usize) -> Result<Bytes, BodyReadError> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(BodyReadError::Broken)?;
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + data.len() > max {
            return Err(BodyReadError::TooLarge);
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}
