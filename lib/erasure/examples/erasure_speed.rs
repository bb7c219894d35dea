//! Speed of encoding and decoding on one core: `erasure_speed TYPE DATA PARITY`, for `tests/bench/erasure.py`.
//!
//! Prints GB of segments a second, the best of many rounds, for each kernel of the machine: `parity` is the
//! arithmetic alone, `encode` with copies and headers, `decode` with as many data fragments lost as there
//! are parities.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program for developers"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use apus_erasure::{Codec, ErasureScheme, HEADER_BYTES, Kernel, MatrixCodec, SegmentCoder};

const SEGMENT_BYTES: usize = 1 << 20;
const ROUNDS: usize = 400;

fn best(mut work: impl FnMut()) -> f64 {
    let round = |_| {
        let began = Instant::now();
        work();
        began.elapsed()
    };
    let fastest = (0..ROUNDS).map(round).min().unwrap_or(Duration::MAX);
    SEGMENT_BYTES as f64 / fastest.as_secs_f64() / 1e9
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| words[at].parse().unwrap();
    let scheme = ErasureScheme::new(words[0].parse().unwrap(), number(1), number(2)).unwrap();
    let segment: Vec<u8> = (0..SEGMENT_BYTES).map(|at| (at * 31 + at / 255) as u8).collect();
    for kernel in Kernel::available() {
        let codec = Arc::new(MatrixCodec::with_kernel(scheme, kernel).unwrap());
        let coder = SegmentCoder::with_codec(codec.clone());
        let fragments = coder.encode(&segment).unwrap();
        let data: Vec<&[u8]> =
            fragments[..scheme.data()].iter().map(|block| &block[HEADER_BYTES..]).collect();
        let mut parity = vec![vec![0; data[0].len()]; scheme.parity()];
        let parity = best(|| {
            let mut outputs: Vec<&mut [u8]> = parity.iter_mut().map(Vec::as_mut_slice).collect();
            codec.encode(&data, &mut outputs).unwrap();
        });
        let mut archives = vec![Vec::new(); scheme.fragments()];
        let encode = best(|| {
            archives.iter_mut().for_each(Vec::clear);
            coder.encode_into(&segment, &mut archives).unwrap();
        });
        let lost = scheme.parity().min(scheme.data());
        let left: Vec<&[u8]> = fragments[lost..].iter().map(Vec::as_slice).collect();
        let mut decoded = Vec::new();
        let decode = best(|| {
            decoded.clear();
            coder.decode_into(&left, &mut decoded).unwrap();
        });
        assert!(decoded == segment);
        println!("{kernel:?} {parity:.2} {encode:.2} {decode:.2}");
    }
}
