//! A body of a bounded length, read whole.

use apus_daemon::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

/// Errors of reading a bounded body.
#[derive(Debug)]
pub(super) enum BodyError {
    /// It broke off.
    Broken(String),
    /// It is longer than allowed.
    TooLong,
}

/// Reads a body whole; memory for `expected` bytes is reserved at once.
pub(super) async fn whole(
    body: &mut Body,
    bytes_max: u64,
    expected: u64,
) -> Result<Bytes, BodyError> {
    let mut bytes = BytesMut::with_capacity(usize::try_from(expected).unwrap_or_default());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
        bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
        if bytes.len() as u64 > bytes_max {
            return Err(BodyError::TooLong);
        }
    }
    Ok(bytes.freeze())
}
