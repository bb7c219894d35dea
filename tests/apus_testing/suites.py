"""Test suites of other projects: their sources, their configuration, and outcomes by test."""

import os
import re
import subprocess
import sys
import tarfile

from .executables import ROOT

SWIFT_VERSION = "2.38.1"
SWIFT_CONF = """
[func_test]
auth_uri = http://127.0.0.1:{port}/auth/v1.0
auth_host = 127.0.0.1
auth_port = {port}
auth_ssl = no
auth_prefix = /auth/
account = test
username = tester
password = testing
account2 = test2
username2 = tester2
password2 = testing2
username3 = tester3
password3 = testing3
account6 = test
username6 = tester6
password6 = testing6
s3_access_key = test:tester
s3_secret_key = testing
s3_access_key2 = test:tester2
s3_secret_key2 = testing2
s3_access_key3 = test:tester3
s3_secret_key3 = testing3
s3_region = us-east-1
collate = C
storage_domain = example.com
"""


def pytest_outcomes(folder, environment, targets, wrapped=lambda command: command, timeout=120):
    """Runs pytest; returns outcome by test id."""
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "--tb=line", f"--timeout={timeout}"]
    command = wrapped([*command, "-p", "no:cacheprovider", *targets])
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    outcomes = {}
    for line in done.stdout.splitlines():
        found = re.match(r"(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) (\S.*?)(?: - .*)?$", line)
        if found and "::" in found[2]:
            outcomes.setdefault(found[2], found[1])
    if not outcomes:
        print(done.stdout[-3000:], done.stderr[-3000:])
    # The reasons of failures are nowhere else.
    suites = ROOT / "target/suites"
    suites.mkdir(parents=True, exist_ok=True)
    with open(suites / "pytest.log", "a") as log:
        log.write(done.stdout)
    return outcomes


def swift_source():
    folder = ROOT / "target" / f"swift-{SWIFT_VERSION}"
    if not folder.is_dir():
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
        # The index's certificate is judged by the machine's own date (tests/later).
        today = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        subprocess.run([*command, "-d", str(ROOT / "target"), f"swift=={SWIFT_VERSION}"], env=today, check=True)
        with tarfile.open(ROOT / "target" / f"swift-{SWIFT_VERSION}.tar.gz") as archive:
            archive.extractall(ROOT / "target", filter="data")
    return folder


def must_pass(suite):
    path = ROOT / "tests/suites" / f"{suite}.must-pass"
    names = path.read_text().split("\n") if path.exists() else []
    return [name for name in names if name]
