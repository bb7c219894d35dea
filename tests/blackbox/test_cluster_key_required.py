"""A server of a cluster with an `[apus]` section does not start without a key when rings lead to other machines."""

import subprocess

import pytest

from apus_testing.executables import APUS

KEY = "5a" * 32
PLAIN = (
    "[swift-hash]\nswift_hash_path_prefix = a\nswift_hash_path_suffix = b\n"
    "[storage-policy:0]\nname = gold\ndefault = yes\n[storage-policy:1]\nname = silver\n"
)
SERVERS = ["account-server", "container-server", "object-server", "proxy-server", "all"]
REMOTE = ["10.0.0.1", "192.168.1.7", "fd00::7", "storage.example"]
LOOPBACK = ["127.0.0.1", "127.77.3.4", "::1", "localhost"]
RINGS = ["account", "container", "object", "object-1"]


class ConfiguredMachine:
    """A configuration whose rings lead to this machine only, until `ring` is called."""

    def __init__(self, folder):
        self.folder, self.etc = folder, folder / "etc"
        self.etc.mkdir()
        (folder / "devices/sd1").mkdir(parents=True)
        for kind in ["account", "container", "object"]:
            (self.etc / f"{kind}-server.conf").write_text(f"[DEFAULT]\ndevices = {folder}/devices\nmount_check = false\n")
        (self.etc / "proxy-server.conf").write_text("[filter:tempauth]\nuser_test_tester = testing .admin\n")
        self.reset()

    def reset(self):
        for name in RINGS:
            self.ring(name, "127.0.0.1")

    def ring(self, name, host):
        """Builds a ring with one device, at `host`."""
        made = self.folder / f"of-{host.replace(':', '-')}.ring.gz"
        if not made.exists():
            device = ["--region", "1", "--zone", "1", "--ip", host, "--port", "6200", "--device", "sd1", "--weight", "1"]
            for words in [["create", "2", "1", "0"], ["add", *device], ["rebalance"]]:
                command = [APUS, "ring-builder", str(made).replace(".ring.gz", ".builder"), *words]
                done = subprocess.run(command, capture_output=True, text=True, timeout=30)
                assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        (self.etc / f"{name}.ring.gz").write_bytes(made.read_bytes())

    def test_config(self, server, section):
        (self.etc / "swift.conf").write_text(PLAIN + section)
        return subprocess.run([APUS, server, self.etc, "--test-config"], capture_output=True, text=True, timeout=30)

    def is_refused(self, server, section, host):
        ended = self.test_config(server, section)
        if ended.returncode == 0:
            return False
        said = ended.stdout + ended.stderr
        assert all(word in said for word in ["swift.conf", "cluster_key", "backend_auth = open", host]), said
        return True


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return ConfiguredMachine(tmp_path_factory.mktemp("key-required"))


@pytest.fixture(autouse=True)
def rings_of_this_machine(place):
    yield
    place.reset()


@pytest.mark.parametrize("name", RINGS)
def test_one_ring_that_leads_elsewhere_is_enough_for_every_server(place, name):
    place.ring(name, "10.0.0.1")
    for server in SERVERS:
        assert place.is_refused(server, "[apus]\nring_overlap = 60\n", "10.0.0.1"), server


@pytest.mark.parametrize("host", REMOTE)
def test_every_address_of_another_machine_counts(place, host):
    place.ring("container", host)
    for section in ["[apus]\n", "[apus]\nring_check_interval = 5\n"]:
        assert place.is_refused("object-server", section, host), section


@pytest.mark.parametrize("host", LOOPBACK)
def test_rings_of_this_machine_need_no_key(place, host):
    for name in RINGS:
        place.ring(name, host)
    ended = place.test_config("object-server", "[apus]\nring_overlap = 60\n")
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("section", ["", f"[apus]\ncluster_key = {KEY}\n", "[apus]\nbackend_auth = open\n"])
def test_a_key_or_the_word_or_no_section_of_ours_is_taken(place, section):
    place.ring("object", "10.0.0.1")
    for server in SERVERS:
        ended = place.test_config(server, section)
        assert ended.returncode == 0, f"{server}: {ended.stderr}"
