# The parts of ./test, for working on one of them.

default:
    @just --list

fmt:
    cargo fmt --check

lint:
    cargo clippy --locked --all-targets -- -D warnings

unit:
    cargo test --locked --workspace

build:
    cargo build --locked --release
    ln -sf apus target/release/ring-builder

blackbox: build
    target/venv/bin/python -m pytest -q -p no:cacheprovider --timeout=300 tests/blackbox

# Every part at dates 40 days, 400 days and 20 years ahead; takes hours.
later: build
    target/venv/bin/python tests/later/run.py full

suite name: build
    target/venv/bin/python tests/suites/run.py {{name}}

bench: build
    target/venv/bin/python tests/bench/quick.py target/release/apus
