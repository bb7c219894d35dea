//! A body of a bounded length, read whole.

use apus_daemon::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

/// Why it was not read.
#[derive(Debug)]
pub(super) enum Unfit {
    /// It broke off.
    Broken(String),
    /// There is more of it than may be.
    TooLong,
}

/// Reads it; room is made for `expected` bytes at once.
pub(super) async fn whole(body: &mut Body, bytes_max: u64, expected: u64) -> Result<Bytes, Unfit> {
    let mut bytes = BytesMut::with_capacity(usize::try_from(expected).unwrap_or_default());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Unfit::Broken(error.to_string()))?;
        bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
        if bytes.len() as u64 > bytes_max {
            return Err(Unfit::TooLong);
        }
    }
    Ok(bytes.freeze())
}
