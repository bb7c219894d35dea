//! Responses of long requests: the head at once, blanks while they last, then the document.

use std::time::Duration;

use apus_daemon::Body;
use apus_daemon::http::stream;
use apus_daemon::task::{TaskKind, spawn};
use bytes::Bytes;
use tokio::sync::mpsc;

/// Interval between two blanks (Swift's `yield_frequency`).
pub(super) const INTERVAL: Duration = Duration::from_secs(10);

/// A body that ends with the document that `work` returns. `first` replaces the first blank; an empty
/// line separates the blanks from the document. The work is cancelled when the client disconnects.
pub(super) fn body(
    first: &'static str,
    work: impl Future<Output = Vec<u8>> + Send + 'static,
) -> Body {
    let (sender, receiver) = mpsc::channel(1);
    spawn(TaskKind::Request, async move {
        let mut work = std::pin::pin!(work);
        let mut blank = first;
        let mut separator = "";
        let document = loop {
            match tokio::time::timeout(INTERVAL, &mut work).await {
                Ok(document) => break document,
                Err(_) => {
                    if sender.send(Ok(Bytes::from_static(blank.as_bytes()))).await.is_err() {
                        return;
                    }
                    (blank, separator) = (" ", "\r\n\r\n");
                }
            }
        };
        // A client that has disconnected receives nothing more.
        let _ = sender.send(Ok([separator.as_bytes(), &document].concat().into())).await;
    });
    stream(receiver)
}
