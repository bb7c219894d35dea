//! `ring-builder`: rings, in `swift-ring-builder`'s words.

fn main() -> std::process::ExitCode {
    apus_tools::ring::main(std::env::args().skip(1).collect())
}
