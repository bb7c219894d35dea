//! Fuzzing of what reads foreign bytes: each target gets altered forms of good inputs, in a process of
//! its own whose memory is limited, so that a panic, an abort or too much memory fails the test.
//!
//! `cargo test -p apus-tests --test fuzz` runs the same two thousand inputs for each target every
//! time. `APUS_FUZZ_SECONDS=600` goes on for so long with each target, `APUS_FUZZ_SEED=7` chooses
//! other inputs. What fails is printed as hexadecimal digits, for a test where the fault is.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod messages;
mod mutation;
mod proxy;
mod servers;
mod targets;

use std::time::{Duration, Instant};

use mutation::Mutator;
use targets::TARGETS;

/// Names the target that a child process runs.
const TARGET: &str = "APUS_FUZZ_TARGET";
/// Inputs of a run that no time is set for.
const INPUTS: u64 = 2000;
/// Address space of a child: more than twice what any input may cost.
const MEMORY_BYTES: u64 = 1 << 30;
/// Memory that a target ever used, in KiB: code, seeds, and what one input may cost.
const PEAK_KIB_MAX: u64 = 160 * 1024;

fn all_targets() -> impl Iterator<Item = &'static targets::Target> {
    TARGETS.iter().chain(proxy::TARGETS).chain(servers::TARGETS)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} = {text}")))
}

#[test]
fn no_input_of_any_target_panics_or_takes_much_memory() {
    let executable = std::env::current_exe().unwrap();
    let run = |(name, _, _): &targets::Target| {
        let mut command = std::process::Command::new(&executable);
        command.args(["--exact", "one_target", "--nocapture"]).env(TARGET, name);
        (*name, command.output().unwrap())
    };
    // One after the other: their time and memory are limited.
    for (name, done) in all_targets().map(run) {
        let output = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{name}: {}\n{output}", done.status);
    }
}

/// What a child process runs; nothing when it is run with the other tests.
#[test]
fn one_target() {
    let Ok(wanted) = std::env::var(TARGET) else { return };
    let mut all = all_targets();
    let (name, seeds, run) = all.find(|(name, ..)| *name == wanted).unwrap();
    let limit =
        rustix::process::Rlimit { current: Some(MEMORY_BYTES), maximum: Some(MEMORY_BYTES) };
    rustix::process::setrlimit(rustix::process::Resource::As, limit).unwrap();
    let seeds = seeds();
    for seed in &seeds {
        run(seed);
    }
    let until = number("APUS_FUZZ_SECONDS").map(|secs| Instant::now() + Duration::from_secs(secs));
    let mut mutator = Mutator::new(number("APUS_FUZZ_SEED").unwrap_or(1), &seeds);
    let mut count = 0;
    while until.map_or(count < INPUTS, |until| Instant::now() < until) {
        let input = mutator.next_input();
        let failed = std::panic::catch_unwind(|| run(&input)).is_err();
        assert!(!failed, "{name}: input {count} fails: {}", hex(&input));
        count += 1;
    }
    let peak = peak_kib();
    assert!(peak < PEAK_KIB_MAX, "{name}: {peak} KiB were used for {count} inputs");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The most memory that this process ever used.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
