"""Runs test suites of other projects against clusters started here, and checks their must-pass lists.

    run.py swift     Swift's test/functional, from its source distribution on PyPI
    run.py s3-tests  ceph/s3-tests, from the checkout named by S3TESTS_DIR
    run.py s3api     Swift's test/s3api, from the same distribution
    run.py probe     Swift's test/probe, as Swift's functional tests or from a checkout named by SWIFT_PROBE_DIR; as root

Every case on the list must pass. A list only grows: --update adds what passed and is not on it.
"""

import argparse
import base64
import os
import shutil
import sys
import time
from pathlib import Path

from apus_testing.executables import ROOT
from apus_testing.probe_environment import isolated
from apus_testing.saio import Saio
from apus_testing.suites import SWIFT_CONF, must_pass, pytest_outcomes, swift_source

HERE = Path(__file__).resolve().parent
S3_CONF = """
[DEFAULT]
host = 127.0.0.1
port = {port}
is_secure = False
ssl_verify = False
[fixtures]
bucket prefix = apus-{{random}}-
[s3 main]
display_name = test:tester
user_id = test:tester
email = a@example.com
api_name = us-east-1
access_key = test:tester
secret_key = testing
lc_debug_interval = {day}
kms_keyid = testkey-1
kms_keyid2 = testkey-2
[s3 alt]
display_name = test2:tester2
user_id = test2:tester2
email = b@example.com
access_key = test2:tester2
secret_key = testing2
[s3 tenant]
display_name = admin:admin
user_id = admin:admin
email = c@example.com
access_key = admin:admin
secret_key = admin
tenant = t
[iam]
display_name = admin:admin
user_id = admin:admin
email = d@example.com
access_key = admin:admin
secret_key = admin
[iam root]
user_id = admin:admin
email = e@example.com
access_key = admin:admin
secret_key = admin
[iam alt root]
user_id = admin:admin
email = f@example.com
access_key = admin:admin
secret_key = admin
"""


# Seconds of a day of lifecycle rules. Tests wait a few of them.
LIFECYCLE_DAY_SECONDS = 4
LIFECYCLE = f"[container-lifecycle]\ninterval = 1\nseconds_per_day = {LIFECYCLE_DAY_SECONDS}\n"


S3API_CONF = """
[s3api_test]
endpoint = http://127.0.0.1:{port}
region = us-east-1
access_key1 = test:tester
secret_key1 = testing
access_key2 = test:tester2
secret_key2 = testing2
access_key3 = test:tester3
secret_key3 = testing3
s3_acl_tests_enabled = False
"""


# The keys that ceph's suite names.
KMS_KEYS = "[kms]\n" + "".join(f"key_testkey-{n} = {base64.b64encode(bytes([n]) * 32).decode()}\n" for n in (1, 2))


def fresh_cluster(name, container_options=""):
    folder = ROOT / "target" / "suites" / f"{name}-{time.time_ns()}"
    folder.mkdir(parents=True)
    cluster = Saio(folder / "data", "--dev-users").start()
    if container_options:
        cluster.configure("container", container_options)
    return cluster


def swift_cluster(name):
    """One in which each account has names of buckets of its own, as in Swift."""
    return fresh_cluster(name).change("proxy", "bucket_namespace = cluster", "bucket_namespace = account")


def add_policy(cluster, index, name):
    """Adds a storage policy on the same devices as the first one."""
    assert cluster.stop() == 0
    folder = cluster.data / "etc"
    with open(folder / "swift.conf", "a") as conf:
        conf.write(f"\n[storage-policy:{index}]\nname = {name}\n")
    shutil.copy(folder / "object.ring.gz", folder / f"object-{index}.ring.gz")
    cluster.start()


def add_filter(cluster, name, options):
    """Adds a filter to the proxy's pipeline, before authentication."""
    assert cluster.stop() == 0
    path = cluster.data / "etc/proxy-server.conf"
    text = path.read_text()
    assert " healthcheck " in text
    path.write_text(text.replace(" healthcheck ", f" healthcheck {name} ", 1) + f"\n[filter:{name}]\n{options}")
    cluster.start()


def end(cluster):
    cluster.stop()
    shutil.rmtree(cluster.data.parent)


def run_swift():
    source = swift_source()
    outcomes = {}
    # pytest does not collect tests.py by its name, and it must not share a call with its folder.
    for targets in (["test/functional/tests.py"], ["test/functional"]):
        cluster = swift_cluster("swift")
        add_policy(cluster, 1, "silver")
        add_filter(cluster, "domain_remap", "storage_domain = example.com\n")
        conf = cluster.data / "test.conf"
        conf.write_text(SWIFT_CONF.format(port=cluster.port))
        environment = dict(os.environ, SWIFT_TEST_CONFIG_FILE=str(conf), SWIFT_TEST_IN_PROCESS="0")
        outcomes.update(pytest_outcomes(source, environment, targets))
        end(cluster)
    return outcomes


def run_s3api():
    cluster = swift_cluster("s3api")
    conf = cluster.data / "test.conf"
    conf.write_text(S3API_CONF.format(port=cluster.port))
    environment = dict(os.environ, SWIFT_TEST_CONFIG_FILE=str(conf))
    outcomes = pytest_outcomes(swift_source(), environment, ["test/s3api"])
    end(cluster)
    return {name.removeprefix("test/s3api/"): outcome for name, outcome in outcomes.items()}


def run_s3_tests():
    checkout = os.environ.get("S3TESTS_DIR")
    if not checkout:
        print("s3-tests: S3TESTS_DIR does not name a checkout of ceph/s3-tests; not run")
        return None
    cluster = fresh_cluster("s3-tests")
    with open(cluster.data / "etc" / "keymaster.conf", "a") as keymaster:
        keymaster.write(KMS_KEYS)
    cluster.configure("container", LIFECYCLE)
    # Its cases assume that ACLs have an effect, as in RGW and in AWS until 2023.
    cluster.set_option("proxy", "filter:s3api", "default_object_ownership", "ObjectWriter")
    conf = cluster.data / "s3tests.conf"
    conf.write_text(S3_CONF.format(port=cluster.port, day=LIFECYCLE_DAY_SECONDS))
    # The 623 cases that hold for any S3 store; the rest are Ceph's own extensions, some of which wait for minutes.
    portable = (HERE / "s3-tests.portable").read_text().split()
    environment = dict(os.environ, S3TEST_CONF=str(conf))
    found = pytest_outcomes(checkout, environment, [f"s3tests/functional/{name}" for name in portable])
    end(cluster)
    return {name.removeprefix("s3tests/functional/"): outcome for name, outcome in found.items()}


def run_probe(every):
    if os.getuid() != 0:
        print("probe: needs root for namespaces; NOT RUN")
        return {} if os.environ.get("CI") else None
    checkout = os.environ.get("SWIFT_PROBE_DIR") or swift_source()
    folder = ROOT / "target" / "suites" / f"probe-{time.time_ns()}"
    folder.mkdir(parents=True)
    targets = [f"test/probe/{name}" for name in must_pass("probe")]
    if every:
        # These cannot pass, since a sharder does not exist, and take long to fail.
        targets = ["test/probe", "--ignore=test/probe/test_sharder.py"]
    outcomes = pytest_outcomes(
        checkout,
        dict(os.environ),
        targets,
        wrapped=lambda command: isolated(checkout, folder, command),
        timeout=300,
    )
    print(f"probe: the log of our programs is {folder}/syslog")
    return {name.removeprefix("test/probe/"): outcome for name, outcome in outcomes.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", choices=["swift", "s3-tests", "s3api", "probe"])
    parser.add_argument("--update", action="store_true")
    options = parser.parse_args()
    suites = {
        "swift": run_swift,
        "s3-tests": run_s3_tests,
        "s3api": run_s3api,
        "probe": lambda: run_probe(options.update),
    }
    outcomes = suites[options.suite]()
    if outcomes is None:
        return 0
    path = HERE / f"{options.suite}.must-pass"
    required = must_pass(options.suite)
    passed = {name for name, outcome in outcomes.items() if outcome == "PASSED"}
    missing = [name for name in required if name not in passed]
    counts = {kind: sum(o == kind for o in outcomes.values()) for kind in ("PASSED", "FAILED", "SKIPPED", "ERROR")}
    for name in missing:
        print(f"must pass, but {outcomes.get(name, 'did not run')}: {name}")
    if options.update:
        path.write_text("\n".join(sorted(passed | set(required))) + "\n")
    print(f"{options.suite}: {counts} of which {len(required)} must pass and {len(missing)} did not")
    print(f"{len(required) - len(missing)} passed, {len(missing)} failed")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
