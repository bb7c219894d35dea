//! Pickles that are made to cost more than they weigh.

use super::super::loads;

const RECONSTRUCTOR: &[u8] = b"ccopy_reg\n_reconstructor\nq\x01";
const LATIN1: &[u8] = b"c_codecs\nencode\nq\x01";

/// `BINUNICODE` of so many letters.
fn text(length: u32) -> Vec<u8> {
    let letters = vec![b'x'; length as usize];
    [b"X", length.to_le_bytes().as_slice(), &letters].concat()
}

/// `BINBYTES` likewise.
fn bytes(length: u32) -> Vec<u8> {
    [b"B", &text(length)[1..]].concat()
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// A dict of ten thousand small items.
fn dict() -> Vec<u8> {
    joined(&[b"}(", &b"K\x01K\x02".repeat(10_000), b"u"])
}

/// Sixty levels, each made of the one before: `open`, twice that one, `close`.
fn levels(open: &[u8], close: &[u8]) -> Vec<u8> {
    let level =
        |level: u8| joined(&[open, b"h", &[level], b"h", &[level], close, b"q", &[level + 1]]);
    joined(&[b"K\x01q\x00", &(0..60).flat_map(level).collect::<Vec<u8>>(), b"."])
}

#[test]
fn what_needs_more_memory_than_its_size_allows_is_refused() {
    let many = |what: &[u8]| what.repeat(20_000);
    let state = joined(&[b"NN", &dict(), b"\x87q\x02"]);
    for (name, pickle) in [
        ("a text by BINGET", joined(&[b"(", &text(40_000), b"q\x01", &many(b"h\x01"), b"l."])),
        (
            "a text by LONG_BINGET",
            joined(&[
                b"(",
                &text(40_000),
                b"r\xff\xff\xff\xff",
                &many(b"j\xff\xff\xff\xff"),
                b"t.",
            ]),
        ),
        ("a text by GET", joined(&[b"(", &text(40_000), b"p77\n", &many(b"g77\n"), b"t."])),
        ("a text by MEMOIZE", joined(&[b"(", &text(40_000), b"\x94", &many(b"h\x00"), b"t."])),
        ("a text by DUP", joined(&[b"(", &text(40_000), &many(b"2"), b"l."])),
        ("bytes by DUP", joined(&[b"(", &bytes(40_000), &many(b"2"), b"l."])),
        ("keys by DUP", joined(&[b"(", &text(40_000), &many(b"22"), b"2d."])),
        ("texts one by one", joined(&[&text(40_000), b"q\x01]", &many(b"h\x01a"), b"."])),
        ("items one by one", joined(&[&text(40_000), b"q\x01}", &many(b"h\x01h\x01s"), b"."])),
        ("objects", joined(&[RECONSTRUCTOR, &state, &many(b"h\x01h\x02R"), b"."])),
        ("objects by NEWOBJ", joined(&[RECONSTRUCTOR, &state, &many(b"h\x01h\x02\x81"), b"."])),
        ("states", joined(&[&dict(), b"q\x01}", &many(b"h\x01b"), b"."])),
        (
            "two states in turn",
            joined(&[b"}q\x01K\x01K\x01s}q\x02", &b"h\x02h\x01bh\x01h\x02b00".repeat(60), b"."]),
        ),
        (
            "bytes as text",
            joined(&[
                LATIN1,
                &text(40_000),
                b"X\x06\0\0\0latin1\x86q\x02",
                &many(b"h\x01h\x02R"),
                b".",
            ]),
        ),
        ("globals", joined(&[&text(200_000), b"q\x01", &many(b"h\x01h\x01\x93"), b"."])),
        ("tuples of tuples", levels(b"", b"\x86")),
        ("marked tuples", levels(b"(", b"t")),
        ("lists of lists", levels(b"](", b"e")),
        ("dicts of dicts", levels(b"(", b"d")),
        ("a list of itself", b"]q\x01(h\x01h\x01h\x01e.".to_vec()),
        ("a dict of itself", b"}q\x01(K\x01h\x01K\x02h\x01u.".to_vec()),
        ("a dict that is its key", b"}q\x01h\x01h\x01s.".to_vec()),
    ] {
        let error = loads(&pickle).expect_err(name);
        let is_refused = error.reason.contains("more memory") || error.reason.contains("deeper");
        assert!(is_refused, "{name}: {error}");
    }
}

#[test]
fn a_dict_that_is_its_own_state_is_refused() {
    for pickle in [
        [b"}K\x01K\x01s".as_slice(), &b"2b".repeat(24), b"."].concat(),
        b"}q\x01h\x01b.".to_vec(),
        b"}\x94h\x00b.".to_vec(),
        b"ccopy_reg\n_reconstructor\n)Rp5\ng5\nb.".to_vec(),
    ] {
        let error = loads(&pickle).unwrap_err();
        assert!(error.reason.contains("its own state"), "{error}");
    }
}

#[test]
fn lengths_indices_and_numbers_that_lie_are_refused() {
    for (name, pickle) in [
        ("LONG1 of more than there is", b"\x8a\xff\x01.".to_vec()),
        ("LONG1 of nine bytes", [b"\x8a\x09".as_slice(), &[1; 9], b"."].concat()),
        ("LONG4 of 4 GiB", b"\x8b\xff\xff\xff\xff\x01.".to_vec()),
        ("LONG4 of a megabyte", [b"\x8b\0\0\x10\0".as_slice(), &vec![1; 1 << 20], b"."].concat()),
        ("INT of many digits", [b"I".as_slice(), &vec![b'9'; 1 << 20], b"\n."].concat()),
        ("BINBYTES8 of all memory", b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff.".to_vec()),
        ("BINUNICODE8 of half of it", b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.".to_vec()),
        ("BINSTRING of 4 GiB", b"T\xff\xff\xff\xffx.".to_vec()),
        ("BINGET of nothing", b"h\x07.".to_vec()),
        ("LONG_BINGET of nothing", b"Nq\x01j\xff\xff\xff\xff.".to_vec()),
        ("GET of a number that is too large", b"Nq\x01g99999999999999999999\n.".to_vec()),
        ("PUT of a negative number", b"Np-1\n.".to_vec()),
        ("BINPUT of nothing", b"q\x01.".to_vec()),
        ("TUPLE3 of two", b"NN\x87.".to_vec()),
        ("APPENDS to a dict", b"}(K\x01e.".to_vec()),
        ("SETITEMS of three", b"}(K\x01K\x01K\x01u.".to_vec()),
        ("SETITEMS to a list", b"](K\x01K\x01u.".to_vec()),
        ("a mark above the stack", b"NN(01.".to_vec()),
        ("deep marks", [b"(".repeat(100_000).as_slice(), b"."].concat()),
        ("deep tuples", [b")".as_slice(), &b"\x85".repeat(100_000), b"."].concat()),
        ("deep lists", [b"]".repeat(65).as_slice(), &b"a".repeat(64), b"a."].concat()),
        ("a call of a call", b"ccopy_reg\n_reconstructor\n)R)R.".to_vec()),
        ("a call with a list", b"ccopy_reg\n_reconstructor\n]R.".to_vec()),
        ("a long global", [b"c".as_slice(), &vec![b'm'; 1 << 20], b"\nn\n)R."].concat()),
        ("protocol 9", b"\x80\x09N.".to_vec()),
    ] {
        let error = loads(&pickle).expect_err(name);
        assert!(error.to_string().len() < 1000, "{name}: {error}");
    }
}

#[test]
fn what_costs_most_among_ordinary_values_is_read() {
    const COUNT: usize = 300_000;
    for (name, item) in [
        ("None", b"N".as_slice()),
        ("empty tuples", b")"),
        ("numbers", b"K\x05"),
        ("memoised lists", b"]\x94"),
    ] {
        let pickle = [b"](".as_slice(), &item.repeat(COUNT), b"e."].concat();
        assert_eq!(loads(&pickle).expect(name).items().unwrap().len(), COUNT, "{name}");
    }
}
