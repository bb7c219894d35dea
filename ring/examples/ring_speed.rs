//! Times what servers do with a ring: `cargo run --release -p apus-ring --example ring_speed -- FILE`.
//!
//! Loading is reading the file, inflating, decoding and checking it; the least of twenty. Look-ups
//! are of paths drawn beforehand: the partition from a hash and the ids of its devices; with
//! the devices themselves, one by one (their ports are added up) or in a vector; and with the path's
//! MD5 before. A handoff walk goes on until every device was named. One thread throughout; times are of the CPU, so that other programs do not count.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a program for developers")]

use std::hint::black_box;
use std::time::Duration;

use apus_cluster::{HashConf, PathHash};
use apus_ring::SharedRing;

/// Time that this thread was on a CPU.
fn cpu() -> Duration {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(statistics.split(' ').next().unwrap().parse().unwrap())
}

fn least(times: usize, mut work: impl FnMut()) -> Duration {
    let once = |work: &mut dyn FnMut()| {
        let start = cpu();
        work();
        cpu().saturating_sub(start)
    };
    (0..times).map(|_| once(&mut work)).min().unwrap()
}

fn main() {
    let file = std::env::args().nth(1).expect("the name of a ring file");
    let path = std::path::Path::new(&file);
    let load = least(20, || drop(black_box(SharedRing::load(path).unwrap())));
    println!("load {:.1} ms", load.as_secs_f64() * 1e3);
    let shared = SharedRing::load(path).unwrap();
    let ring = shared.get();
    println!(
        "{} partitions, {} replicas, {} devices",
        ring.partitions(),
        ring.replica_count(),
        ring.devices().iter().flatten().count()
    );

    let conf = HashConf { prefix: b"prefix".to_vec(), suffix: b"suffix".to_vec() };
    let count = 1_000_000;
    let names: Vec<String> = (0..count).map(|number| format!("object-{number:08}")).collect();
    let hash = |name: &String| conf.hash(&["AUTH_test", "container", name]);
    let hashes: Vec<PathHash> = names.iter().map(hash).collect();
    let rate = |what: &str, time: Duration| {
        println!("{what}: {:.1} million/s", f64::from(count) / time.as_secs_f64() / 1e6);
    };
    let time = least(5, || {
        let mut sum = 0u64;
        for hash in &hashes {
            sum += ring.primary_ids(ring.partition(hash)).map(u64::from).sum::<u64>();
        }
        black_box(sum);
    });
    rate("hash to partition to device ids", time);
    let time = least(5, || {
        let mut sum = 0u64;
        for hash in &hashes {
            let devices = ring.primary_devices(ring.partition(hash));
            sum += devices.map(|device| u64::from(device.port)).sum::<u64>();
        }
        black_box(sum);
    });
    rate("hash to partition to devices", time);
    let time = least(5, || {
        for hash in &hashes {
            black_box(ring.primaries(ring.partition(hash)));
        }
    });
    rate("hash to partition to a vector of devices", time);
    let time = least(5, || {
        let mut sum = 0u64;
        for name in &names {
            sum += ring.primary_ids(ring.partition(&hash(name))).map(u64::from).sum::<u64>();
        }
        black_box(sum);
    });
    rate("path to MD5 to partition to device ids", time);

    let walks = 200;
    let time = least(5, || {
        for partition in 0..walks {
            black_box(ring.handoffs(partition * 37 % ring.partitions()).count());
        }
    });
    println!("a whole handoff walk {:.3} ms", time.as_secs_f64() * 1e3 / f64::from(walks));
}
