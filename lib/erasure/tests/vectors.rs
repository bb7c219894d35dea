//! Fragments, lengths and ranges equal those of liberasurecode, ISA-L, PyECLib and Swift.
//!
//! The vectors are made by `tests/fixtures/make_erasure.py`. Since all stripes are equal byte for byte,
//! decoding ours is decoding theirs.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use apus_erasure::{
    ClientRange, CrcForm, ErasureScheme, Kernel, LibraryVersion, MatrixCodec, SegmentCoder,
    SegmentLayout,
};
use base64::Engine;

/// The version in the vectors.
const MADE_BY: LibraryVersion = LibraryVersion(0x01_08_00);

fn lines(name: &str) -> Vec<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/erasure");
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

fn number(text: &str) -> u64 {
    text.parse().unwrap()
}

fn scheme(line: &[String]) -> ErasureScheme {
    let of = |at: usize| number(&line[at]) as usize;
    ErasureScheme::new(line[0].parse().unwrap(), of(1), of(2)).unwrap()
}

/// The stream of which segments are prefixes.
fn stream(bytes: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

fn coder(scheme: ErasureScheme, form: &str, kernel: Kernel) -> SegmentCoder {
    let codec = Arc::new(MatrixCodec::with_kernel(scheme, kernel).unwrap());
    let coder = SegmentCoder::with_codec(codec).with_library_version(MADE_BY);
    let coder = if form.starts_with("crc32") { coder.with_payload_crc() } else { coder };
    if form.ends_with("legacy") { coder.with_crc_form(CrcForm::Legacy) } else { coder }
}

/// All sets of up to `most` of `count` things.
fn subsets(count: usize, most: usize) -> Vec<Vec<usize>> {
    let mut sets = vec![vec![]];
    let mut start = 0;
    for _ in 0..most.min(count) {
        let end = sets.len();
        for at in start..end {
            let next = sets[at].last().map_or(0, |last| last + 1);
            for item in next..count {
                let mut set = sets[at].clone();
                set.push(item);
                sets.push(set);
            }
        }
        start = end;
    }
    sets
}

/// Thirty sets of up to `most` of `count` things.
fn sample(count: usize, most: usize) -> Vec<Vec<usize>> {
    let chances = stream(30 * (most + 1));
    let sets = chances.chunks(most + 1).map(|chances| {
        let size = usize::from(chances[0]) % (most + 1);
        let mut things: Vec<usize> = (0..count).collect();
        let taken = chances[1..=size].iter().map(|chance| {
            let at = usize::from(*chance) % things.len();
            things.swap_remove(at)
        });
        taken.collect()
    });
    sets.collect()
}

fn without<'a>(fragments: &'a [Vec<u8>], lost: &[usize]) -> Vec<&'a [u8]> {
    let kept = fragments.iter().enumerate().filter(|(index, _)| !lost.contains(index));
    kept.map(|(_, fragment)| fragment.as_slice()).collect()
}

/// Losses that the code repairs for certain.
fn repaired(scheme: ErasureScheme) -> usize {
    match scheme.erasure_type().name() {
        "flat_xor_hd_3" => 2,
        "flat_xor_hd_4" => 3,
        // Some of five losses are final (Swift's bug 1639691).
        "isa_l_rs_vand" => scheme.parity().min(4),
        _ => scheme.parity(),
    }
}

#[test]
fn stripes_are_equal_with_every_kernel() {
    let stream = stream((1 << 20) + 17);
    let cases = lines("stripes.txt");
    assert!(cases.len() > 900, "{}", cases.len());
    for kernel in Kernel::available() {
        for case in &cases {
            let bytes = number(&case[3]) as usize;
            let fragments = coder(scheme(case), &case[4], kernel).encode(&stream[..bytes]).unwrap();
            assert_eq!(
                format!("{:x}", md5::compute(fragments.concat())),
                case[5],
                "{kernel:?} {case:?}"
            );
        }
    }
}

#[test]
fn every_loss_is_repaired() {
    let mut decoded = 0;
    for case in lines("stripes.txt") {
        let bytes = number(&case[3]) as usize;
        if bytes > 1000 {
            continue;
        }
        let (segment, scheme) = (stream(bytes), scheme(&case));
        let coder = coder(scheme, &case[4], Kernel::best());
        let fragments = coder.encode(&segment).unwrap();
        let is_sampled = bytes != 1000 || case[4] != "none" || scheme.fragments() > 11;
        let losses = if is_sampled {
            sample(scheme.fragments(), repaired(scheme))
        } else {
            subsets(scheme.fragments(), repaired(scheme))
        };
        for lost in losses {
            let left = without(&fragments, &lost);
            assert_eq!(coder.decode(&left).unwrap(), segment, "{case:?} without {lost:?}");
            for index in lost.iter().chain([&0]) {
                let made = coder.reconstruct(&left, *index).unwrap();
                assert_eq!(made, fragments[*index], "{case:?} without {lost:?}");
            }
            decoded += 1;
        }
    }
    assert!(decoded > 20_000, "{decoded}");
}

#[test]
fn a_loss_of_more_than_the_parity_is_refused() {
    for case in lines("stripes.txt").iter().filter(|case| case[3] == "1000" && case[4] == "none") {
        let scheme = scheme(case);
        let coder = coder(scheme, "none", Kernel::best());
        let fragments = coder.encode(&stream(1000)).unwrap();
        for first in 0..scheme.data() {
            let lost: Vec<usize> = (first..=first + scheme.parity()).collect();
            let left = without(&fragments, &lost);
            let mut segment = b"before".to_vec();
            let error = coder.decode_into(&left, &mut segment).unwrap_err().to_string();
            assert!(left.is_empty() || error.contains("cannot be made"), "{error}");
            assert_eq!(segment, b"before");
        }
    }
}

#[test]
fn fragments_in_every_form_are_read_and_written() {
    let mut stripes: BTreeMap<Vec<String>, Vec<Vec<u8>>> = BTreeMap::new();
    for case in lines("fragments.txt") {
        let fragment = base64::engine::general_purpose::STANDARD.decode(&case[6]).unwrap();
        let stripe = stripes.entry(case[..5].to_vec()).or_default();
        assert_eq!(stripe.len() as u64, number(&case[5]));
        stripe.push(fragment);
    }
    assert!(stripes.keys().any(|case| case[4] == "swapped"));
    for (case, fragments) in stripes {
        let (segment, scheme) = (stream(number(&case[3]) as usize), scheme(&case));
        let coder = coder(scheme, &case[4], Kernel::best());
        if case[4] != "swapped" {
            assert_eq!(coder.encode(&segment).unwrap(), fragments, "{case:?}");
        }
        // A reader does not know the form.
        let reader = SegmentCoder::new(scheme).unwrap();
        for lost in subsets(scheme.fragments(), repaired(scheme)) {
            let left = without(&fragments, &lost);
            assert_eq!(reader.decode(&left).unwrap(), segment, "{case:?}");
            for index in lost {
                assert_eq!(coder.reconstruct(&left, index).unwrap(), fragments[index], "{case:?}");
            }
        }
    }
}

#[test]
fn lengths_are_equal() {
    for case in lines("sizes.txt") {
        let layout = SegmentLayout::new(scheme(&case), number(&case[3])).unwrap();
        let object_bytes = number(&case[5]);
        assert_eq!(layout.fragment_bytes(), number(&case[4]), "{case:?}");
        assert_eq!(layout.archive_bytes(object_bytes), number(&case[6]), "{case:?}");
        let lengths = (0..layout.segments(object_bytes))
            .map(|segment| layout.bytes_of_segment(object_bytes, segment));
        assert_eq!(lengths.sum::<u64>(), object_bytes, "{case:?}");
    }
}

fn client_range(first: &str, last: &str) -> ClientRange {
    match (first, last) {
        (first, "-") => ClientRange::From { first: number(first) },
        ("-", bytes) => ClientRange::Suffix { bytes: number(bytes) },
        (first, last) => ClientRange::Bounded { first: number(first), last: number(last) },
    }
}

#[test]
fn ranges_are_equal() {
    for case in lines("ranges.txt") {
        let of = |at: usize| number(&case[at]);
        let (segment, object) = (of(0), of(2));
        // Data fragments that result in this length of fragments.
        let shares = (1..=20).map(|data| {
            let scheme = ErasureScheme::new("isa_l_rs_vand".parse().unwrap(), data, 2).unwrap();
            SegmentLayout::new(scheme, segment).unwrap()
        });
        let layout = shares.into_iter().find(|layout| layout.fragment_bytes() == of(1)).unwrap();
        let range = client_range(&case[3], &case[4]);
        assert_eq!(layout.archive_range(range), client_range(&case[5], &case[6]), "{case:?}");
        let decoded = layout.decoded_range(range, object);
        assert_eq!(decoded.is_some(), case[7] == "1", "{case:?}");
        if let (Some(decoded), true) = (decoded, case[8] != "-") {
            let start = decoded.first_segment * segment;
            assert_eq!(start + decoded.skip_bytes, of(8), "{case:?} {decoded:?}");
            assert_eq!(
                start + decoded.skip_bytes + decoded.client_bytes - 1,
                of(9),
                "{case:?} {decoded:?}"
            );
            assert_eq!(start, of(10), "{case:?} {decoded:?}");
            let end = ((decoded.first_segment + decoded.segments) * segment).min(object);
            // Of `-bytes` Swift has no end: it reads to the end of the object.
            assert_eq!(end - 1, of(11), "{case:?} {decoded:?}");
        }
    }
}

/// A range is read from a fragment archive as an object server returns it, and decoded.
#[test]
fn a_decoded_range_is_the_range_of_the_object() {
    let scheme = ErasureScheme::new("liberasurecode_rs_vand".parse().unwrap(), 3, 2).unwrap();
    let coder = SegmentCoder::new(scheme).unwrap();
    let layout = SegmentLayout::new(scheme, 100).unwrap();
    for bytes in [1usize, 99, 100, 101, 250, 300] {
        let object = stream(bytes);
        let mut archives = vec![Vec::new(); scheme.fragments()];
        for segment in object.chunks(100) {
            coder.encode_into(segment, &mut archives).unwrap();
        }
        assert_eq!(archives[0].len() as u64, layout.archive_bytes(bytes as u64));
        let ends = [0, 1, 50, 99, 100, 199, 200, 299, 400];
        let bounded = ends.iter().flat_map(|first| ends.map(|last| (*first, last)));
        let bounded = bounded
            .filter(|(first, last)| first <= last)
            .map(|(first, last)| ClientRange::Bounded { first, last });
        let from = ends.map(|first| ClientRange::From { first });
        let suffix = ends.map(|bytes| ClientRange::Suffix { bytes });
        for range in bounded.chain(from).chain(suffix) {
            let expected = slice(&object, range);
            let Some(decoded) = layout.decoded_range(range, bytes as u64) else {
                assert_eq!(expected, [], "{range:?} of {bytes}");
                continue;
            };
            let parts: Vec<&[u8]> = archives[2..]
                .iter()
                .map(|archive| slice(archive, layout.archive_range(range)))
                .collect();
            let mut made = Vec::new();
            for segment in decoded.first_segment..decoded.first_segment + decoded.segments {
                let of = layout.bytes_of_segment(bytes as u64, segment);
                let before = (segment - decoded.first_segment) * layout.fragment_bytes();
                let start = (decoded.leading_bytes + before) as usize;
                let end = start + layout.fragment_bytes_of(of) as usize;
                let fragments: Vec<&[u8]> = parts.iter().map(|part| &part[start..end]).collect();
                coder.decode_into(&fragments, &mut made).unwrap();
            }
            let skip = decoded.skip_bytes as usize;
            let made = &made[skip..skip + decoded.client_bytes as usize];
            assert_eq!(made, expected, "{range:?} of {bytes}");
        }
    }
}

fn slice(bytes: &[u8], range: ClientRange) -> &[u8] {
    let (start, end) = match range {
        ClientRange::Bounded { first, last } => (first as usize, last as usize + 1),
        ClientRange::From { first } => (first as usize, bytes.len()),
        ClientRange::Suffix { bytes: count } => {
            (bytes.len().saturating_sub(count as usize), bytes.len())
        }
    };
    bytes.get(start..end.min(bytes.len())).unwrap_or_default()
}
