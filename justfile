# The parts of ./test, to run one at a time.

default:
    @just --list

# Formatting.
fmt:
    cargo fmt --check

# Clippy, with warnings as errors.
lint:
    cargo clippy --locked --all-targets -- -D warnings

# ruff and mypy over the tests.
python-lints: venv
    target/venv/bin/ruff check --quiet --no-cache tests
    target/venv/bin/ruff format --check --quiet --no-cache tests
    cd tests && ../target/venv/bin/python -m mypy --no-error-summary --cache-dir ../target/mypy .

# Licences, bans and sources of dependencies; installs cargo-deny into target/tools.
deny:
    test -x target/tools/bin/cargo-deny || cargo install --quiet --locked --root target/tools cargo-deny@0.20.2
    target/tools/bin/cargo-deny --log-level error check licenses bans sources

# Documentation of all crates, with warnings as errors.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

# Unit tests, crate edges (tests/tidy.rs), budgets, crash states.
unit:
    cargo test --locked --workspace

build:
    cargo build --locked --release
    ln -sf apus target/release/ring-builder

# The Python environment of the tests, in target/venv.
venv:
    test -x target/venv/bin/pip || python3 -m venv target/venv
    target/venv/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt -e tests

# Black-box tests; `just blackbox -k joining` runs some.
blackbox *args: build venv
    target/venv/bin/python -m pytest -q -p no:cacheprovider --timeout=300 tests/blackbox {{args}}

# Faults, kills, power cuts, consistency: `slice` as in CI, `full` for hours. Needs root.
reliability extent="slice" *args: venv
    target/venv/bin/python tests/reliability/run.py {{extent}} {{args}}

# Clusters of Apus and Swift together.
mixed *args: build venv
    target/venv/bin/python -m pytest -q -p no:cacheprovider --timeout=600 tests/mixed {{args}}

# Every part at dates 40 days, 400 days and 20 years ahead; `full` takes hours.
later extent="full": build venv
    target/venv/bin/python tests/later/run.py {{extent}}

# A suite of another project: swift, probe or s3-tests.
suite name *args: build venv
    target/venv/bin/python tests/suites/run.py {{name}} {{args}}

# A short load test that prints requests per second and CPU time.
bench: build venv
    target/venv/bin/python tests/bench/quick.py target/release/apus
