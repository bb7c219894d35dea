//! Entry points for fuzzing: parsers of bytes that other servers send and that devices hold.
//!
//! Each function accepts any bytes, and must return without a panic.

use std::time::Duration;

use apus_daemon::http::stream;
use bytes::Bytes;
use futures_util::FutureExt;

use crate::diskfile::metadata;
use crate::engine::suffix_hashes::{SuffixHashes, decode_reply, encode_reply};
use crate::ssync::input::SsyncInput;
use crate::ssync::line::{Offer, decode_wanted, encode_wanted};

/// The stream of an `SSYNC` exchange, in pieces of sizes that the input chooses: lines, and a body
/// where a `Content-Length` announces one.
pub fn ssync(input: &[u8]) {
    // The reader's deadline needs a timer.
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else {
        return;
    };
    let _entered = runtime.enter();
    let size = usize::from(input.first().copied().unwrap_or(1)).max(1);
    let (sender, receiver) = tokio::sync::mpsc::channel(input.len() + 1);
    for piece in input.chunks(size) {
        // The channel has room for every piece.
        let _ = sender.try_send(Ok(Bytes::copy_from_slice(piece)));
    }
    drop(sender);
    let mut stream = SsyncInput::new(stream(receiver), Duration::from_secs(1));
    let mut left = 0;
    while let Some(Ok(Some(line))) = stream.line().now_or_never() {
        let text = String::from_utf8_lossy(&line);
        // A content type is newer than the data only where metadata is.
        let is_real = |offer: &Offer| offer.meta != offer.data || offer.content_type == offer.data;
        if let Some(offer) = Offer::decode(&text).filter(is_real) {
            assert_eq!(Offer::decode(&offer.encode()), Some(offer), "{text}");
        }
        if let Some((hash, wanted)) = decode_wanted(&text) {
            assert_eq!(decode_wanted(&encode_wanted(&hash, wanted)), Some((hash, wanted)));
        }
        if let Some(length) = text.strip_prefix("Content-Length:") {
            left = length.trim().parse().unwrap_or(0);
        }
        while text.is_empty() && left > 0 {
            let Some(Ok(piece)) = stream.piece(left).now_or_never() else { return };
            assert!(!piece.is_empty() && piece.len() as u64 <= left);
            left -= piece.len() as u64;
        }
    }
}

/// `hashes.pkl`, and the response to `REPLICATE`.
pub fn suffix_hashes(input: &[u8]) {
    if let Some(hashes) = SuffixHashes::decode(input) {
        let again = SuffixHashes::decode(&hashes.encode());
        assert_eq!(again.map(|again| again.suffixes), Some(hashes.suffixes));
    }
    if let Some(reply) = decode_reply(input) {
        assert_eq!(decode_reply(&encode_reply(&reply)), Some(reply));
    }
}

/// The pickled metadata of an object file.
pub fn stored_metadata(input: &[u8]) {
    if let Ok(stored) = metadata::decode(input) {
        let again = metadata::decode(&metadata::encode(&stored));
        assert_eq!(again.ok(), Some(stored));
    }
}
