//! Reads the body of a call or of its answer, up to a bound.

use apus_daemon::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

/// Why there is no body.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is longer than it may be.
    TooLarge,
    /// It broke off.
    Broken(String),
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge => f.write_str("body too large"),
            Self::Broken(error) => f.write_str(error),
        }
    }
}

/// A body of at most `max` bytes.
pub(super) async fn read(mut body: Body, max: usize) -> Result<Bytes, Unread> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Unread::Broken(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + data.len() > max {
            return Err(Unread::TooLarge);
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}
