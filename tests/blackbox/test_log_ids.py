"""Follows one write through the logs of the proxy, object and container servers by its transaction id."""

import pytest

from apus_testing.addresses import free_port
from apus_testing.losses import lose
from apus_testing.machine import Machine
from apus_testing.rings import make_ring
from apus_testing.servers import KINDS, swift_client
from apus_testing.waiting import wait_until

DEVICES = ["sd1", "sd2", "sd3"]


class LoggedServers(Machine):
    """Servers whose container server logs answers, too. Every device has a replica of everything."""

    def __init__(self, folder):
        super().__init__(
            folder / "etc",
            folder / "devices",
            folder / "cache",
            addresses={kind: ("127.0.0.1", free_port()) for kind in [*KINDS, "proxy"]},
            swift_conf="[swift-hash]\nswift_hash_path_suffix = a\n",
            device_names=DEVICES,
        )
        for kind in KINDS:
            devices = [f"r1z1-127.0.0.1:{self.ports[kind]}/{device}" for device in DEVICES]
            make_ring(self.etc, kind, devices, part_power=4, min_part_hours=1)
            self.conf(kind, f"log_level = {'DEBUG' if kind == 'container' else 'INFO'}\n")
        self.conf("proxy", more="[filter:tempauth]\nuser_test_tester = testing .admin\n")

    def lines(self, kind, text):
        return [line for line in self.log(kind).read_text().splitlines() if text in line]

    def break_objects(self):
        """Puts a file in place of the directory of objects of one device."""
        directory = self.devices / DEVICES[0] / "objects"
        lose(directory)
        directory.write_text("not a directory")


@pytest.fixture
def servers(tmp_path):
    servers = LoggedServers(tmp_path)
    for kind in [*KINDS, "proxy"]:
        servers.start(kind)
    yield servers
    servers.stop_all()


def test_one_transaction_id_is_in_the_logs_of_three_servers(servers):
    swift = swift_client(servers.address("proxy"))
    swift.put_container("c")
    swift.put_object("c", "good", b"good")
    servers.break_objects()
    answer = {}
    swift.put_object("c", "broken", b"broken", response_dict=answer)
    swift.close()
    assert answer["status"] == 201
    trans_id = answer["headers"]["x-trans-id"]
    expected = {
        "proxy": " access: ",
        "object": "Request failed status=500",
        "container": "Request answered status=201",
    }

    def are_logged():
        return all(any(text in line for line in servers.lines(kind, trans_id)) for kind, text in expected.items())

    wait_until(are_logged, lambda: {kind: servers.log(kind).read_text() for kind in expected}, 10)
    [access] = servers.lines("proxy", trans_id)
    assert "/v1/AUTH_test/c/broken" in access
    for kind in ["object", "container"]:
        for line in servers.lines(kind, trans_id):
            assert line.count(trans_id) == 1, line
            assert f"server={kind}" in line and "method=PUT" in line and "/AUTH_test/c/broken" in line, line
    causes = servers.lines("object", trans_id)
    assert any("ERROR" in line and "Not a directory" in line and 'device="sd1"' in line for line in causes), causes
    assert all("path=/sd1/" in line for line in causes), "good answers are not logged at this level"
