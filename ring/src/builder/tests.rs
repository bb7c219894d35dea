#![allow(clippy::needless_range_loop, reason = "rows and parts are indexes here")]

use super::*;

const NOW: u64 = 1_700_000_000;

fn device(region: u32, zone: u32, node: u32, disk: u32, weight: f64) -> NewDevice {
    NewDevice {
        region,
        zone,
        ip: format!("127.0.{zone}.{node}"),
        port: 6200,
        replication_ip: None,
        replication_port: None,
        device: format!("sd{disk}"),
        weight,
        meta: String::new(),
    }
}

fn builder(zones: u32, disks: u32, replicas: f64) -> RingBuilder {
    let mut builder = RingBuilder::new(8, replicas, 1).unwrap();
    for zone in 1..=zones {
        for disk in 1..=disks {
            builder.add(device(1, zone, 1, disk, 100.0));
        }
    }
    builder
}

#[test]
fn replicas_spread_over_zones_and_devices_evenly() {
    let mut builder = builder(4, 2, 3.0);
    builder.rebalance(NOW, 1).unwrap();
    builder.validate().unwrap();
    for part in 0..builder.partitions() {
        let mut zones: Vec<u32> =
            builder.part_devices(part).map(|id| builder.device(id).unwrap().device.zone).collect();
        zones.sort_unstable();
        zones.dedup();
        assert_eq!(zones.len(), 3, "partition {part}");
    }
    assert!(builder.balance().percent < 1.5, "{:?}", builder.balance());
    assert_eq!(builder.dispersion, 0.0);
}

#[test]
fn a_new_device_moves_at_most_one_replica_of_a_partition() {
    let mut builder = builder(4, 2, 3.0);
    builder.rebalance(NOW, 1).unwrap();
    let before = builder.rows.clone();
    builder.add(device(1, 1, 1, 3, 100.0));
    builder.rebalance(NOW + 7200, 1).unwrap();
    builder.validate().unwrap();
    for part in 0..builder.partitions() {
        let moved = (0..3).filter(|row| before[*row][part] != builder.rows[*row][part]).count();
        assert!(moved <= 1, "partition {part} moved {moved} replicas");
    }
    assert!(builder.devices[8].as_ref().unwrap().parts > 60);
}

#[test]
fn nothing_moves_within_min_part_hours() {
    let mut builder = builder(3, 2, 3.0);
    builder.rebalance(NOW, 1).unwrap();
    builder.add(device(1, 1, 1, 9, 100.0));
    builder.rebalance(NOW + 7200, 1).unwrap();
    let before = builder.rows.clone();
    let recent: Vec<usize> =
        (0..builder.partitions()).filter(|part| builder.last_moves[*part] == 0).collect();
    assert!(!recent.is_empty());
    builder.set_weight(6, 0.0).unwrap();
    builder.rebalance(NOW + 7300, 1).unwrap();
    for part in recent {
        for row in 0..3 {
            assert_eq!(before[row][part], builder.rows[row][part], "partition {part}");
        }
    }
}

#[test]
fn removed_devices_are_emptied_at_once() {
    let mut builder = builder(4, 2, 3.0);
    builder.rebalance(NOW, 1).unwrap();
    builder.remove(0).unwrap();
    let report = builder.rebalance(NOW, 1).unwrap();
    assert_eq!(report.removed, 1);
    builder.validate().unwrap();
    assert!(builder.rows.iter().flatten().all(|id| *id != 0));
}

#[test]
fn weights_are_followed() {
    let mut builder = RingBuilder::new(10, 3.0, 1).unwrap();
    for (disk, weight) in [50.0, 100.0, 150.0, 200.0, 100.0, 200.0].iter().enumerate() {
        builder.add(device(1, 1, disk as u32 % 3, disk as u32, *weight));
    }
    builder.rebalance(NOW, 3).unwrap();
    builder.validate().unwrap();
    assert!(builder.balance().percent < 10.0, "{:?}", builder.balance());
}

#[test]
fn equal_seeds_give_equal_rings_and_fractions_give_short_rows() {
    let make = || {
        let mut builder = builder(4, 2, 2.5);
        builder.rebalance(NOW, 7).unwrap();
        builder
    };
    assert_eq!(make().rows, make().rows);
    assert_eq!(make().rows[2].len(), 128);
}

#[test]
fn swifts_builder_files_are_read_and_ours_read_back() {
    for name in ["saio", "two-regions", "fractional-replicas", "single-device", "ipv6"] {
        let path = format!("{}/../tests/fixtures/ring/{name}.builder", env!("CARGO_MANIFEST_DIR"));
        let builder = file::decode(&std::fs::read(&path).unwrap()).unwrap();
        builder.validate().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(file::decode(&file::encode(&builder)).unwrap(), builder, "{name}");
    }
}
