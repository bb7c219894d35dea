//! What is fuzzed: the readers of foreign bytes that other crates can call, with good inputs.

use std::io::Write;

use apus_cluster::byte_range::{ByteRanges, Framing, Resolution};
use apus_cluster::pickle::{self, Value};
use apus_cluster::timestamp::RowTimes;
use apus_cluster::{
    AccountName, ContainerName, Metadata, ObjectName, PartPower, PathHash, SwiftConf, Timestamp,
    etag, listing, percent,
};
use apus_daemon::config::{BindOptions, Conf};
use apus_erasure::{
    ByteOrder, CrcForm, ErasureScheme, ErasureType, FragmentHeader, HEADER_BYTES, SegmentCoder,
};
use apus_node::{Server, declarations};
use apus_ring::Ring;
use apus_ring::builder::{NewDevice, RingBuilder};
use apus_ring::format::{self, v1, v2};
use apus_wire::NodePath;
use apus_wire::put_stream::{PutDecoder, PutEncoder};
use apus_wire::rings::{RingName, Statement};
use bytes::Bytes;

use crate::messages::{
    calls, heads, read_call, read_database_request, read_object_request, read_reply,
};

/// Its name, good inputs, and what reads one input.
pub(crate) type Target = (&'static str, fn() -> Vec<Vec<u8>>, fn(&[u8]));

/// All of them.
pub(crate) const TARGETS: &[Target] = &[
    ("pickle", pickles, read_pickle),
    ("pending", pending_files, read_pending),
    ("builder", builders, read_builder),
    ("ring file", ring_files, read_ring),
    ("inflated ring", inflated_rings, read_inflated_ring),
    ("ring statement", statements, read_statement),
    ("configuration", configurations, read_configuration),
    ("timestamp", timestamps, read_timestamp),
    ("range", ranges, read_range),
    ("name and path", paths, read_path),
    ("listing field", listing_fields, read_listing_field),
    ("put document", put_documents, read_put_document),
    ("fragment", fragments, read_fragment),
    ("object request", heads, read_object_request),
    ("database request", heads, read_database_request),
    ("reply", heads, read_reply),
    ("replication call", calls, read_call),
];

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn text(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

/// What `hashes.pkl`, `REPLICATE`, an async note, a listing row, attributes and a builder look like.
pub(crate) fn pickles() -> Vec<Vec<u8>> {
    let word = |word: &str| Value::Str(word.to_owned());
    let suffixes = (0..64).map(|n| (word(&format!("{n:03x}")), word(&"5a".repeat(16))));
    let metadata = |n: u8| (Value::Bytes(vec![b'X', n]), Value::Bytes(vec![n; 40]));
    let values = [
        Value::Dict(suffixes.chain([(word("valid"), Value::Bool(true))]).collect()),
        Value::Dict((0..20).map(metadata).collect()),
        Value::Tuple(vec![word("name"), word("1700000000.00000"), Value::Int(5), Value::None]),
        Value::List(vec![Value::Array(b'H', (0..300).collect()), Value::Float(1.5)]),
    ];
    let python: [&[u8]; 3] = [
        b"\x80\x02}q\x00c_codecs\nencode\nq\x01X\x01\x00\x00\x00aq\x02X\x06\x00\x00\x00latin1q\x03\x86q\x04Rq\x05h\x01X\x02\x00\x00\x00\xc3\xbfq\x06h\x03\x86q\x07Rq\x08s.",
        b"(dp0\nS'abc'\np1\nS'0123456789abcdef'\np2\nsV\\u00fcx\np3\nI01\nsF1.5\nL12L\ns.",
        b"\x80\x04\x95\x20\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x03abc\x94N\x8c\x01b\x94]\x94(K\x01M\x02\x02J\x03\x03\x03\x03\x8a\x02\xff\x00eu.",
    ];
    let written =
        values.iter().flat_map(|value| [pickle::dumps(value), pickle::dumps_compact(value)]);
    written.chain(python.map(<[u8]>::to_vec)).collect()
}

fn read_pickle(input: &[u8]) {
    if let Ok(value) = pickle::loads(input) {
        // By bytes, since a NaN is not equal to itself.
        let again = pickle::dumps(&value);
        if let Ok(second) = pickle::loads(&again) {
            assert_eq!(pickle::dumps(&second), again);
        }
    }
}

fn pending_files() -> Vec<Vec<u8>> {
    use base64::Engine;
    let encode = |pickled: &Vec<u8>| base64::engine::general_purpose::STANDARD.encode(pickled);
    let entries: Vec<String> =
        pickles().iter().map(|pickled| format!(":{}", encode(pickled))).collect();
    vec![entries.concat().into_bytes(), entries[0].clone().into_bytes()]
}

fn read_pending(input: &[u8]) {
    drop(apus_broker::pending::decode(input));
}

fn builder() -> RingBuilder {
    let mut builder = RingBuilder::new(4, 2.5, 1).unwrap();
    for zone in 1..=4u32 {
        builder.add(NewDevice {
            region: 1,
            zone,
            ip: format!("10.0.0.{zone}"),
            port: 6200,
            replication_ip: None,
            replication_port: None,
            device: format!("sd{zone}"),
            weight: f64::from(zone),
            meta: String::new(),
        });
    }
    builder.rebalance(0, 1).unwrap();
    builder
}

fn builders() -> Vec<Vec<u8>> {
    vec![apus_ring::builder::file::encode(&builder())]
}

fn read_builder(input: &[u8]) {
    drop(apus_ring::builder::file::decode(input));
}

fn ring_files() -> Vec<Vec<u8>> {
    let ring = builder().ring_data();
    vec![v1::encode(&ring).unwrap(), v2::encode(&ring).unwrap()]
}

fn read_ring(input: &[u8]) {
    drop(format::version(input));
    let Ok(ring) = format::decode(input) else { return };
    let Ok(checked) = Ring::check(ring.clone()) else { return };
    for part in [0, checked.partitions() - 1] {
        drop(checked.primaries(part));
        let _ = checked.handoffs(part).take(8).count();
    }
    for version in [1, 2] {
        if let Ok(file) = format::encode(&ring, version) {
            let again = format::decode(&file).unwrap();
            assert_eq!((&again.rows, again.part_power), (&ring.rows, ring.part_power));
        }
    }
}

fn inflated_rings() -> Vec<Vec<u8>> {
    let inflate = |file: Vec<u8>| {
        let mut bytes = Vec::new();
        let mut decoder = flate2::read::MultiGzDecoder::new(file.as_slice());
        std::io::Read::read_to_end(&mut decoder, &mut bytes).unwrap();
        bytes
    };
    ring_files().into_iter().map(inflate).collect()
}

/// What stands behind the compression, where altered bytes of a file hardly come.
fn read_inflated_ring(input: &[u8]) {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    out.write_all(input).unwrap();
    read_ring(&out.finish().unwrap());
}

fn statements() -> Vec<Vec<u8>> {
    let (digest, md5) = ("5a".repeat(32), "5a".repeat(16));
    let statement = format!(
        r#"{{"name":"object.ring.gz","series":0,"version":7,"length":1234,"sha256":"{digest}","md5":"{md5}","key":"0011aabb","mac":"{digest}"}}"#
    );
    texts(&[&statement, "object-1.ring.gz", "account.ring.gz"])
}

fn read_statement(input: &[u8]) {
    let input = text(input);
    drop(RingName::parse(&input));
    if let Ok(statement) = Statement::parse(&input) {
        assert_eq!(Statement::parse(&statement.to_text()), Ok(statement.clone()));
        assert!(statement.file(&Bytes::from_static(b"other")).is_err());
    }
}

fn configurations() -> Vec<Vec<u8>> {
    texts(&[
        "[swift-hash]\nswift_hash_path_prefix = a\nswift_hash_path_suffix = b\n\n[storage-policy:0]\nname = gold\ndefault = yes\naliases = one, two\n\n[storage-policy:1]\nname = ec\npolicy_type = erasure_coding\nec_type = isa_l_rs_cauchy\nec_num_data_fragments = 4\nec_num_parity_fragments = 2\nec_object_segment_size = 1048576\nec_duplication_factor = 2\n\n[swift-constraints]\nmax_file_size = 5368709122\nmax_meta_count = 90\n\n[apus]\ncluster_key = 5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a\nring_overlap = 3600\n",
        "# a comment\n[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = 6200\nset log_level = INFO\n[pipeline:main]\npipeline = a b\n    c\n[app:object-server]\nuse = egg:swift#object\nlisten = yes\n",
    ])
}

fn read_configuration(input: &[u8]) {
    let Ok(conf) = Conf::parse(&text(input)) else { return };
    drop(SwiftConf::from_sections(conf.sections()));
    drop(BindOptions::read(&conf.section("app:object-server")));
    for server in Server::ALL {
        for finding in apus_options::check(declarations::file_of(server), conf.given()) {
            assert!(!finding.text().is_empty());
        }
    }
}

fn timestamps() -> Vec<Vec<u8>> {
    texts(&[
        "1700000000.12345",
        "1700000000.123456789_0000000000000003",
        "1700000000.12345+219b7+c350",
        "9999999999.99999-1+0",
        "0",
    ])
}

fn read_timestamp(input: &[u8]) {
    let input = text(input);
    if let Some(time) = Timestamp::parse(&input) {
        assert_eq!(Timestamp::parse(&time.to_string()), Some(time));
        drop((time.iso(), time.iso_millis(), time.next(), time.seconds_ceil()));
    }
    if let Some(times) = RowTimes::decode(&input) {
        let again = RowTimes::decode(&times.encode()).unwrap();
        assert_eq!(again.encode(), times.encode());
    }
}

fn ranges() -> Vec<Vec<u8>> {
    texts(&[
        "bytes=0-9",
        "bytes=5-",
        "bytes=-5",
        "bytes=0-0,2-3,-1",
        "bytes=0-18446744073709551615",
    ])
}

fn read_range(input: &[u8]) {
    let Some(ranges) = ByteRanges::parse(&text(input)) else { return };
    drop((ranges.to_header(), ranges.is_single(), ranges.is_several()));
    for total in [0, 1, 10, 1 << 40, u64::MAX] {
        let Resolution::Ranges(resolved) = ranges.resolve(total) else { continue };
        for range in &resolved {
            assert!(
                range.length > 0 && range.length <= total && range.start <= total - range.length
            );
            drop(ByteRanges::single(range.start, range.length));
        }
        drop(Framing::new(&resolved, total, "text/plain", "boundary"));
    }
}

fn paths() -> Vec<Vec<u8>> {
    texts(&[
        "/sd1/1023/AUTH_a/c/o/with%20a%2Fslash",
        "/sd1/0/AUTH_a",
        "/sd1/7/abc-def",
        "d41d8cd98f00b204e9800998ecf8427e",
        "\0versions\0name",
    ])
}

fn read_path(input: &[u8]) {
    let input = text(input);
    for names_max in [0, 1, 3] {
        if let Ok(path) = NodePath::decode(&input, names_max) {
            // A name with a slash is refused by what reads names.
            let is_plain = path.names.iter().all(|name| !name.contains('/'));
            let again = NodePath::decode(&path.encode(), names_max);
            assert!(!is_plain || again == Ok(path));
        }
    }
    if let Some(decoded) = percent::decode_utf8(&input) {
        assert_eq!(percent::decode_utf8(&percent::encode_path(&decoded)), Some(decoded.clone()));
        drop((
            AccountName::parse(&decoded),
            ContainerName::parse(&decoded),
            ObjectName::parse(&decoded),
        ));
    }
    if let Some(hash) = PathHash::parse(&input) {
        let partition = PartPower::new(10).map(|power| power.partition(&hash));
        drop((partition, hash.suffix_dir(), hash.modulo(7)));
    }
}

fn listing_fields() -> Vec<Vec<u8>> {
    texts(&[
        "text/plain; charset=utf-8; swift_bytes=12",
        "photos/2026/11/one.jpg",
        "\"d41d8cd98f00b204e9800998ecf8427e\", W/\"x\", *",
    ])
}

fn read_listing_field(input: &[u8]) {
    drop(listing::after_prefix(input));
    let input = text(input);
    drop(listing::split_swift_bytes(&input));
    let (prefix, delimiter) = input.split_once('/').unwrap_or((&input, "/"));
    for delimiter in ["/", "", "ü", delimiter] {
        let _ = listing::common_prefix(&input, prefix, delimiter).map(str::len);
    }
    let _ = etag::unquote(&input).len();
}

const BOUNDARY: &str = "boundary";

fn put_documents() -> Vec<Vec<u8>> {
    let encoder = PutEncoder::new(BOUNDARY.to_owned());
    let footers = Metadata::from([("Etag".to_owned(), "x".to_owned())]);
    let document = |commits: bool| {
        let end = if commits { encoder.commit() } else { Bytes::new() };
        [
            &encoder.head(),
            &Bytes::from_static(b"object\r\n--bound"),
            &encoder.footers(&footers, commits),
            &end,
        ]
        .map(|part| part.to_vec())
        .concat()
    };
    vec![document(true), document(false)]
}

fn read_put_document(input: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // In pieces whose size the input itself chooses, and with a length that may be wrong.
    let piece = usize::from(input.first().copied().unwrap_or(1)).max(1);
    let lengths = [None, Some(15), input.last().map(|byte| u64::from(*byte))];
    for length in lengths {
        runtime.block_on(async {
            let (sender, receiver) = tokio::sync::mpsc::channel(input.len() + 1);
            for piece in input.chunks(piece) {
                sender.send(Ok(Bytes::copy_from_slice(piece))).await.unwrap();
            }
            drop(sender);
            let body = apus_daemon::http::stream(receiver);
            let Ok(mut decoder) = PutDecoder::open(body, BOUNDARY, length).await else { return };
            let mut read = 0;
            while let Ok(Some(data)) = decoder.data().await {
                assert!(!data.is_empty());
                read += data.len();
            }
            assert!(read <= input.len());
            if decoder.footers().await.is_ok() && decoder.commit().await.is_ok() {
                drop(decoder.finish().await);
            }
        });
    }
}

/// Two data fragments and one parity fragment, with checksums of the payload.
fn fragment_coder() -> SegmentCoder {
    let scheme = ErasureScheme::new(ErasureType::IsaLRsCauchy, 2, 1).unwrap();
    SegmentCoder::new(scheme).unwrap().with_payload_crc()
}

const SEGMENT: &[u8] = b"a segment whose last block has to be padded";

/// As written here, without a checksum of the payload, and by a machine of the other byte order with the
/// legacy CRC.
fn fragments() -> Vec<Vec<u8>> {
    let written = fragment_coder().encode(SEGMENT).unwrap();
    let scheme = ErasureScheme::new(ErasureType::LiberasurecodeRsVand, 2, 1).unwrap();
    let plain = SegmentCoder::new(scheme).unwrap().encode(SEGMENT).unwrap();
    let foreign = |fragment: &Vec<u8>| {
        let mut header = FragmentHeader::parse(fragment).unwrap();
        header.byte_order = ByteOrder::Big;
        [header.to_bytes(CrcForm::Legacy).as_slice(), &fragment[HEADER_BYTES..]].concat()
    };
    let swapped: Vec<_> = written.iter().map(foreign).collect();
    [written, plain, swapped].concat()
}

fn read_fragment(input: &[u8]) {
    read_one_fragment(input);
    // With a valid CRC of the header, which altered bytes hardly have.
    let mut sealed = input.to_vec();
    if let Some(metadata) = input.get(..59)
        && let Some(place) = sealed.get_mut(67..71)
    {
        let mut crc = flate2::Crc::new();
        crc.update(metadata);
        let bytes = crc.sum().to_le_bytes();
        // The magic number shows the byte order.
        let is_little = input[59] == 0xcc;
        place.copy_from_slice(&if is_little { bytes } else { crc.sum().to_be_bytes() });
    }
    read_one_fragment(&sealed);
}

fn read_one_fragment(input: &[u8]) {
    if let Ok(header) = FragmentHeader::parse(input) {
        for form in [CrcForm::Zlib, CrcForm::Legacy] {
            let again = FragmentHeader::parse(&header.to_bytes(form));
            assert_eq!(again, Ok(header));
        }
    }
    if let Ok((header, payload)) = FragmentHeader::verify(input) {
        assert_eq!(payload.len() as u64, u64::from(header.payload_bytes));
    }
    let coder = fragment_coder();
    let good = coder.encode(SEGMENT).unwrap();
    for position in 0..good.len() {
        let mut read: Vec<&[u8]> = good.iter().map(Vec::as_slice).collect();
        read[position] = input;
        if let Ok(segment) = coder.decode(&read) {
            assert!(segment.len() <= SEGMENT.len() + 1);
        }
        drop(coder.decode(&read[..2]));
        drop(coder.reconstruct(&read[1..], 0));
    }
}
