use crate::Ring;

use super::*;

fn vector(name: &str) -> Vec<u8> {
    let path = format!("{}/../../shared/vectors/ring/{name}", env!("CARGO_MANIFEST_DIR"));
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
fn both_versions_of_one_ring_say_the_same() {
    let (mut one, mut two) =
        (decode(&vector("saio.ring.gz")).unwrap(), decode(&vector("saio.v2.ring.gz")).unwrap());
    one.version = 0;
    two.version = 0;
    assert_eq!(one, two);
}

#[test]
fn what_we_write_we_read_back_in_both_versions() {
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
    assert!(v2::decode(&inflated).unwrap_err().contains("sha256"));
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
