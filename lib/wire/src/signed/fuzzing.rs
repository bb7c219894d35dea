//! Entry points for fuzzing: what a peer sends before its signature is known to be good.
//!
//! Each function accepts any bytes, and must return without a panic.

use apus_cluster::backend_auth::ClusterKey;
use apus_daemon::Body;
use apus_daemon::http::stream;
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;

use super::frames::{Altered, Framed, Unframed};
use super::key::{Key, MAC_BYTES};
use super::signature;

/// Most pieces of a body: the time of an input grows with them.
const PIECES_MAX: usize = 200;

/// A body in pieces of a size that its first byte chooses.
fn body_of(input: &[u8]) -> Body {
    let chosen = usize::from(input.first().copied().unwrap_or(1)) * 16 + 1;
    let size = chosen.max(input.len() / PIECES_MAX);
    let (sender, receiver) = tokio::sync::mpsc::channel(input.len() + 1);
    for piece in input.chunks(size) {
        // The channel has room for every piece.
        let _ = sender.try_send(Ok(Bytes::copy_from_slice(piece)));
    }
    stream(receiver)
}

/// The value of a signature's header.
pub fn signature_header(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Some((claim, mac)) = signature::parse(&text) {
        let written = signature::header_value(&claim.text(), &mac);
        assert!(written.eq_ignore_ascii_case(&text), "{text}");
    }
}

/// A body in frames: as the input is, and the input in frames with bytes altered that it chooses.
pub fn frames(input: &[u8]) {
    let Some(key) = ClusterKey::parse(&"5a".repeat(32)) else { return };
    let key = Key::new(&key).body(&[7; MAC_BYTES]);
    let foreign = Unframed::new(body_of(input), key.clone(), Altered::default());
    // Without the key no frame is good but by chance.
    let read = foreign.collect().now_or_never();
    assert!(read.is_none_or(|read| read.is_err()));
    let framed = Framed::new(body_of(input), key.clone()).collect().now_or_never();
    let Some(Ok(framed)) = framed else { return };
    let mut framed = framed.to_bytes().to_vec();
    let altered = match input {
        [at, by, ..] if *by != 0 => {
            let at = usize::from(*at) * 257 % framed.len().max(1);
            framed.get_mut(at).map(|byte| *byte ^= by).is_some()
        }
        _ => false,
    };
    let read = Unframed::new(body_of(&framed), key, Altered::default()).collect().now_or_never();
    match (altered, read) {
        (false, Some(Ok(read))) => assert_eq!(read.to_bytes(), input),
        (true, Some(Err(_)) | None) => {}
        (altered, read) => assert!(read.is_none(), "altered: {altered}, read: {read:?}"),
    }
}
