use super::super::NewDevice;
use super::*;

const NOW: u64 = 1_700_000_000;
const HOUR: u64 = 3600;

fn device(region: u32, number: u32) -> NewDevice {
    NewDevice {
        region,
        zone: number % 3,
        ip: format!("10.{region}.0.{number}"),
        port: 6200,
        replication_ip: None,
        replication_port: None,
        device: "d".to_owned(),
        weight: 100.0,
        meta: String::new(),
    }
}

/// Builders of two replicas, each in a region of its own, placed at `NOW`.
fn components(count: u32, min_part_hours: u64) -> Vec<RingBuilder> {
    (1..=count)
        .map(|region| {
            let mut builder = RingBuilder::new(9, 2.0, min_part_hours).unwrap();
            for number in 0..6 {
                builder.add(device(region, number));
            }
            builder.rebalance(NOW, 1).unwrap();
            builder
        })
        .collect()
}

/// For each builder, the partitions of which a replica has another device than before.
fn moved(before: &[RingBuilder], after: &[RingBuilder]) -> Vec<Vec<usize>> {
    let moved = |(old, new): (&RingBuilder, &RingBuilder)| {
        let differs = |part: &usize| old.part_devices(*part).ne(new.part_devices(*part));
        (0..new.partitions()).filter(differs).collect()
    };
    before.iter().zip(after).map(moved).collect()
}

fn assert_disjoint(moved: &[Vec<usize>]) {
    let mut all = moved.concat();
    all.sort_unstable();
    let count = all.len();
    all.dedup();
    assert_eq!(all.len(), count, "a partition moved in two components");
}

#[test]
fn a_partition_moves_in_one_component_at_a_time() {
    // 0: only that it has moved in this very rebalance may hold it.
    for min_part_hours in [0, 1] {
        for seed in 0..4 {
            let mut builders = components(3, min_part_hours);
            for (region, builder) in (1..).zip(&mut builders) {
                builder.add(device(region, 6));
            }
            let before = builders.clone();
            let done = rebalance_together(&mut builders, NOW + 2 * HOUR, seed).unwrap();
            let moved = moved(&before, &builders);
            assert_disjoint(&moved);
            for (report, moved) in done.iter().zip(&moved) {
                assert!(report.moved as usize == moved.len() && !moved.is_empty(), "{done:?}");
            }
            builders.iter().for_each(|builder| builder.validate().unwrap());
        }
    }
}

#[test]
fn what_moved_lately_in_one_component_stays_in_all() {
    let mut builders = components(2, 24);
    let later = NOW + 48 * HOUR;
    builders[0].add(device(1, 6));
    let before = builders.clone();
    rebalance_together(&mut builders, later, 1).unwrap();
    let first = moved(&before, &builders);
    assert!(!first[0].is_empty() && first[1].is_empty());
    // The other one asks to move nearly everything, the next hour.
    builders[1].set_weight(0, 0.0).unwrap();
    builders[1].set_weight(1, 0.0).unwrap();
    let before = builders.clone();
    rebalance_together(&mut builders, later + HOUR, 1).unwrap();
    let second = moved(&before, &builders);
    assert!(second[1].len() > 100);
    assert_disjoint(&[first[0].clone(), second[1].clone()]);
}

#[test]
fn replicas_of_removed_devices_are_placed_at_once_and_hold_their_partitions() {
    let mut builders = components(2, 24);
    builders[0].remove(0).unwrap();
    builders[1].remove(0).unwrap();
    rebalance_together(&mut builders, NOW + HOUR, 1).unwrap();
    for builder in &builders {
        builder.validate().unwrap();
        assert!(builder.rows.iter().flatten().all(|id| *id != 0));
    }
}

#[test]
fn a_component_that_is_new_is_placed_whole_without_delay() {
    for seed in 0..4 {
        let mut builders = components(2, 24);
        let mut new = RingBuilder::new(9, 1.0, 24).unwrap();
        for number in 0..3 {
            new.add(device(3, number));
        }
        builders.push(new);
        builders[0].add(device(1, 6));
        let before = builders.clone();
        let done = rebalance_together(&mut builders, NOW + 48 * HOUR, seed).unwrap();
        assert_eq!(done[2].moved, 512);
        assert!(!moved(&before, &builders)[0].is_empty(), "seed {seed}");
    }
}

#[test]
fn the_builder_that_fails_is_named() {
    let mut builders = components(2, 1);
    builders.push(RingBuilder::new(9, 1.0, 1).unwrap());
    let (index, error) = rebalance_together(&mut builders, NOW, 1).unwrap_err();
    assert_eq!(index, 2);
    assert!(error.to_string().contains("requires more than 0 devices"), "{error}");
    builders[2] = RingBuilder::new(8, 1.0, 1).unwrap();
    assert_eq!(rebalance_together(&mut builders, NOW, 1).unwrap_err().0, 2);
}
