//! Responses of long requests: the head at once, blanks while they last, then the document.

use std::time::Duration;

use apus_daemon::Body;
use apus_daemon::http::stream;
use apus_daemon::task::{TaskKind, spawn};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::format::Format;

/// Interval between two blanks (Swift's `yield_frequency`).
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);

/// A body that ends with the document that `work` returns. `first` replaces the first blank; an empty
/// line separates the blanks from the document. The work is cancelled when the client disconnects.
pub(super) fn body(
    first: &'static str,
    work: impl Future<Output = Vec<u8>> + Send + 'static,
) -> Body {
    body_after(first, "", work)
}

/// The same, with the first blank at once and the empty line in any case.
pub(super) fn body_at_once(work: impl Future<Output = Vec<u8>> + Send + 'static) -> Body {
    body_after(" ", " \r\n\r\n", work)
}

/// What replaces the first blank before a report: the declaration of XML.
pub(super) fn first_blank(format: Format) -> &'static str {
    match format {
        Format::Xml => "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
        Format::Json | Format::Plain => " ",
    }
}

fn body_after(
    first: &'static str,
    before: &'static str,
    work: impl Future<Output = Vec<u8>> + Send + 'static,
) -> Body {
    let (sender, receiver) = mpsc::channel(1);
    spawn(TaskKind::Request, async move {
        let mut work = std::pin::pin!(work);
        let mut blank = first;
        let mut separator = before;
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
