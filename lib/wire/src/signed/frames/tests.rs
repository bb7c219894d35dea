use apus_cluster::backend_auth::ClusterKey;
use apus_daemon::http::{full, stream};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::*;
use crate::signed::key::Key;

fn key(signature: u8) -> HmacSha256 {
    let key = Key::new(&ClusterKey::parse(&"5a".repeat(32)).unwrap());
    key.body(&[signature; MAC_BYTES])
}

async fn body(pieces: &[&[u8]]) -> Body {
    let (sender, receiver) = mpsc::channel(pieces.len().max(1));
    for piece in pieces {
        sender.send(Ok(Bytes::copy_from_slice(piece))).await.unwrap();
    }
    stream(receiver)
}

async fn framed(inner: Body) -> Vec<u8> {
    Framed::new(inner, key(1)).collect().await.unwrap().to_bytes().to_vec()
}

/// What a handler gets before the end or an error, and which of the two it was.
async fn read(body: Body, key: HmacSha256) -> (Vec<u8>, Result<(), String>) {
    let mut body = Unframed::new(body, key, Altered::default());
    let mut got = Vec::new();
    loop {
        match body.frame().await {
            None => return (got, Ok(())),
            Some(Ok(frame)) => got.extend(frame.into_data().unwrap()),
            Some(Err(error)) => return (got, Err(error.to_string())),
        }
    }
}

#[tokio::test]
async fn any_body_comes_back_however_it_is_cut() {
    let long = vec![7; PAYLOAD_MAX * 2 + 1];
    for pieces in [vec![], vec![b"one".as_slice()], vec![b"one", b"two"], vec![&long, b"x"]] {
        let bytes = framed(body(&pieces).await).await;
        for size in [1, 35, 36, 37, 4096, bytes.len()] {
            if size == 1 && bytes.len() > 1000 {
                continue;
            }
            let cut: Vec<&[u8]> = bytes.chunks(size).collect();
            let (got, end) = read(body(&cut).await, key(1)).await;
            assert_eq!((got, end), (pieces.concat(), Ok(())), "{size}");
        }
    }
    let (got, end) = read(full(framed(full("all at once")).await), key(1)).await;
    assert_eq!((got.as_slice(), end), (b"all at once".as_slice(), Ok(())));
}

#[tokio::test]
async fn payloads_are_passed_on_and_not_copied() {
    let piece = Bytes::from(vec![1; 1000]);
    let mut sender = Framed::new(full(piece.clone()), key(1));
    let head = sender.frame().await.unwrap().unwrap().into_data().unwrap();
    let payload = sender.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!((head.len(), payload.as_ptr()), (HEAD_BYTES, piece.as_ptr()));
    assert!(http_body::Body::is_end_stream(&sender));
}

#[tokio::test]
async fn no_flipped_bit_missing_byte_or_foreign_frame_gets_through() {
    let bytes = framed(body(&[b"first", b"second"]).await).await;
    let first = HEAD_BYTES + 5;
    for at in 0..bytes.len() {
        for bit in [0x01, 0x80] {
            let mut wrong = bytes.clone();
            wrong[at] ^= bit;
            let (got, end) = read(full(wrong), key(1)).await;
            assert!(end.is_err(), "byte {at}");
            let before: &[u8] = if at < first { b"" } else { b"first" };
            assert!(got.starts_with(before) && b"firstsecond".starts_with(&got[..]), "byte {at}");
            assert!(at >= first || got.is_empty(), "byte {at} was given unverified");
        }
        assert!(read(full(bytes[..at].to_vec()), key(1)).await.1.is_err(), "cut at {at}");
    }
    let swapped = [&bytes[first..], &bytes[..first]].concat();
    assert_eq!(read(full(swapped), key(1)).await.0, b"");
    let twice = [&bytes[..first], &bytes[..first]].concat();
    assert_eq!(read(full(twice), key(1)).await.0, b"first");
    assert!(read(full([bytes.clone(), b"x".to_vec()].concat()), key(1)).await.1.is_err());
    // The body of another request with the same cluster key.
    assert_eq!(read(full(bytes), key(2)).await.0, b"");
}

#[tokio::test]
async fn after_an_error_there_are_only_errors() {
    let bytes = framed(full("body")).await;
    let altered = Altered::default();
    let cut = full(bytes[..bytes.len() - 1].to_vec());
    let mut body = Unframed::new(cut, key(1), altered.clone());
    for _ in 0..3 {
        assert!(body.frame().await.unwrap().is_err());
    }
    assert!(altered.is_set());
}

#[tokio::test]
async fn empty_pieces_make_no_empty_frames() {
    let bytes = framed(body(&[b"", b"a", b""]).await).await;
    assert_eq!(bytes.len(), 2 * HEAD_BYTES + 1);
    assert_eq!(read(full(bytes), key(1)).await, (b"a".to_vec(), Ok(())));
}
