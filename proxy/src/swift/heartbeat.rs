//! Answers to requests that take long: the head at once, blanks while it lasts, then the document.

use std::time::Duration;

use apus_daemon::Body;
use apus_daemon::http::stream;
use apus_daemon::task::{TaskKind, spawn};
use bytes::Bytes;
use tokio::sync::mpsc;

/// Time between two blanks (Swift's `yield_frequency`).
pub(super) const INTERVAL: Duration = Duration::from_secs(10);

/// A body that ends with what `work` gives. `first` is sent in the place of the first blank; the
/// document is set off from the blanks by an empty line. The work ends with the client.
pub(super) fn body(
    first: &'static str,
    work: impl Future<Output = String> + Send + 'static,
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
        // The client may have gone; there is nobody to tell.
        let _ = sender.send(Ok(format!("{separator}{document}").into())).await;
    });
    stream(receiver)
}
