use crate::Ring;

use super::*;

fn vector(name: &str) -> Vec<u8> {
    let path = format!("{}/../tests/fixtures/ring/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_placement_equals_swifts() {
    let expected: serde_json::Value = serde_json::from_slice(&vector("placement.json")).unwrap();
    let mut compared = 0;
    for case in expected["cases"].as_array().unwrap() {
        let conf = apus_cluster::HashConf {
            prefix: case["prefix"].as_str().unwrap().into(),
            suffix: case["suffix"].as_str().unwrap().into(),
        };
        let path: Vec<&str> =
            case["path"].as_array().unwrap().iter().map(|part| part.as_str().unwrap()).collect();
        let hash = conf.hash(&path);
        assert_eq!(hash.to_string(), case["md5"].as_str().unwrap());
        for (name, placement) in case["rings"].as_object().unwrap() {
            let ring = Ring::check(decode(&vector(&format!("{name}.ring.gz"))).unwrap()).unwrap();
            let part = ring.partition(&hash);
            assert_eq!(u64::from(part), placement["part"].as_u64().unwrap());
            let ids = |key: &str| -> Vec<u64> {
                placement[key].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
            };
            let primaries: Vec<u64> =
                ring.primaries(part).iter().map(|device| u64::from(device.id)).collect();
            assert_eq!(primaries, ids("primaries"), "{name} {path:?}");
            let handoffs: Vec<u64> =
                ring.handoffs(part).take(12).map(|device| u64::from(device.id)).collect();
            assert_eq!(handoffs, ids("handoffs"), "{name} {path:?}");
            compared += 1;
        }
    }
    assert!(compared > 300, "only {compared} placements compared");
}

#[test]
fn both_versions_of_one_ring_are_equal() {
    let (mut one, mut two) =
        (decode(&vector("saio.ring.gz")).unwrap(), decode(&vector("saio.v2.ring.gz")).unwrap());
    one.version = 0;
    two.version = 0;
    assert_eq!(one, two);
}

#[test]
fn both_versions_round_trip() {
    for name in ["saio", "two-regions", "fractional-replicas", "single-device", "ipv6"] {
        let raw = decode(&vector(&format!("{name}.ring.gz"))).unwrap();
        assert_eq!(decode(&v1::encode(&raw).unwrap()).unwrap(), raw, "{name} v1");
        assert_eq!(decode(&v2::encode(&raw).unwrap()).unwrap(), raw, "{name} v2");
    }
}

#[test]
fn a_flipped_bit_in_a_section_is_found() {
    let mut inflated = Vec::new();
    flate2::read::GzDecoder::new(vector("saio.v2.ring.gz").as_slice())
        .read_to_end(&mut inflated)
        .unwrap();
    let at = inflated.windows(10).position(|window| window == b"\"device\": ").unwrap();
    inflated[at + 2] ^= 1;
    assert!(v2::decode(&inflated).unwrap_err().to_string().contains("sha256"));
}

#[test]
fn truncated_files_are_refused_without_a_panic() {
    for name in ["saio.ring.gz", "saio.v2.ring.gz"] {
        let file = vector(name);
        for end in (0..file.len()).step_by(7) {
            assert!(decode(&file[..end]).and_then(Ring::check).is_err(), "{name} cut at {end}");
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut out = flate2::write::GzEncoder::new(Vec::new(), Compression::best());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// A ring of version 1 with this head.
fn version_1(head: &str, ids: &[u8]) -> Vec<u8> {
    let length = u32::try_from(head.len()).unwrap().to_be_bytes();
    gzip(&[b"R1NG\0\x01", length.as_slice(), head.as_bytes(), ids].concat())
}

fn head(devices: &str, part_shift: u32, replicas: &str) -> String {
    format!(
        r#"{{"byteorder":"little","devs":[{devices}],"part_shift":{part_shift},"replica_count":{replicas}}}"#
    )
}

#[test]
fn a_file_that_inflates_to_far_more_than_a_ring_is_refused() {
    let zeros = vec![0; 64 << 20];
    let one = gzip(&zeros);
    let many: Vec<u8> = (0..8).flat_map(|_| gzip(&zeros[..8 << 20])).collect();
    let mut lying = one.clone();
    let size = lying.len() - 4;
    lying[size..].copy_from_slice(&16u32.to_le_bytes());
    let ring = version_1(&head("null", 0, "1"), &zeros);
    for (name, file) in [("zeros", one), ("members", many), ("lying", lying), ("ring", ring)] {
        let reason = decode(&file).unwrap_err().to_string();
        assert!(reason.contains("inflate to more than"), "{name}: {reason}");
    }
}

#[test]
fn what_a_small_ring_may_claim_is_limited() {
    let holes = |count: usize| vec!["null"; count].join(",");
    for (name, file, expected) in [
        ("holes", version_1(&head(&holes(80_000), 32, "1"), &[0, 0]), "without a device"),
        ("replicas", version_1(&head("null", 32, "2000000"), &vec![0; 4_000_000]), "at most 4096"),
        ("many replicas", version_1(&head("null", 0, "18446744073709551615"), &[]), "at most 4096"),
        ("a shift", version_1(&head("null", 33, "1"), &[0, 0]), "part_shift 33"),
        ("a head", gzip(b"R1NG\0\x01\xff\xff\xff\xff{}"), "ends in the head"),
        ("a version", gzip(b"R1NG\0\x03"), "version 3"),
        ("version 0", gzip(b"R1NG\0\x00"), "version 0"),
    ] {
        let reason = decode(&file).unwrap_err().to_string();
        assert!(reason.contains(expected), "{name}: {reason}");
    }
    let ring = decode(&version_1(&head(&holes(60_000), 32, "1"), &[0xff, 0xff])).unwrap();
    assert_eq!(ring.devices.len(), 60_000);
}

#[test]
fn no_altered_byte_of_a_ring_file_panics() {
    for name in ["saio.ring.gz", "saio.v2.ring.gz"] {
        let file = vector(name);
        for at in (0..file.len()).step_by(file.len() / 256) {
            let mut altered = file.clone();
            altered[at] ^= 0x55;
            let _ = decode(&altered);
            let _ = decode(&file[..at]);
        }
        let mut inflated = Vec::new();
        flate2::read::MultiGzDecoder::new(file.as_slice()).read_to_end(&mut inflated).unwrap();
        for at in (0..inflated.len()).step_by(inflated.len() / 1024) {
            let mut altered = inflated.clone();
            altered[at] = altered[at].wrapping_add(0x7f);
            // What reads the inflated bytes is reached without compressing them well.
            let mut out = flate2::write::GzEncoder::new(Vec::new(), Compression::none());
            std::io::Write::write_all(&mut out, &altered).unwrap();
            if let Ok(ring) = decode(&out.finish().unwrap()) {
                let _ = Ring::check(ring);
            }
        }
    }
}
