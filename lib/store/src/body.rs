//! Bodies of operations, and what is known only at their end.

use std::sync::{Arc, Mutex, PoisonError};

use apus_cluster::Metadata;
use apus_daemon::Body;

/// Metadata that a wrapper of the body adds when the body has ended (checksums of trailers).
#[derive(Debug, Clone, Default)]
pub struct LateMetadata(Arc<Mutex<Metadata>>);

impl LateMetadata {
    /// Adds one item.
    pub fn insert(&self, name: &str, value: &str) {
        let mut items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        items.insert(name.to_owned(), value.to_owned());
    }

    /// Takes everything; called once, after the body has ended.
    pub fn take(&self) -> Metadata {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads a whole body of at most `max` bytes.
///
/// # Errors
/// `TooLarge`, or `ClientGone` when it breaks off.
pub async fn collect(mut body: Body, max: u64) -> crate::Result<bytes::Bytes> {
    use http_body_util::BodyExt;
    let mut whole = bytes::BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            crate::Error::new(crate::Kind::Body, crate::Subject::Request).because(error)
        })?;
        if let Ok(data) = frame.into_data() {
            if (whole.len() + data.len()) as u64 > max {
                return Err(crate::Error::new(crate::Kind::TooLarge, crate::Subject::Request));
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}
