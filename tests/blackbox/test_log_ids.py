"""Follows one write through the logs of the proxy, object and container servers by its transaction id."""

import shutil
import socket
import subprocess
import time

import pytest
import swiftclient

from conftest import APUS, free_port

STORAGE = ["account", "container", "object"]
DEVICES = ["sd1", "sd2", "sd3"]


class LoggedServers:
    """Each server as a process of its own, with its log in a file. Every device has a replica of everything."""

    def __init__(self, folder):
        self.etc, self.devices = folder / "etc", folder / "devices"
        self.ports = {kind: free_port() for kind in [*STORAGE, "proxy"]}
        self.processes = []
        self.etc.mkdir()
        (self.etc / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = a\n")
        for device in DEVICES:
            (self.devices / device).mkdir(parents=True)
        for kind in STORAGE:
            self.make_ring(kind)
            level = "DEBUG" if kind == "container" else "INFO"
            self.write_conf(kind, f"devices = {self.devices}\nmount_check = false\nlog_level = {level}\n")
        self.write_conf("proxy", "", "[filter:tempauth]\nuser_test_tester = testing .admin\n")

    def make_ring(self, kind):
        commands = [["create", "4", "3", "1"]]
        commands += [["add", f"r1z1-127.0.0.1:{self.ports[kind]}/{device}", "1"] for device in DEVICES]
        commands += [["rebalance"]]
        for command in commands:
            builder = str(self.etc / f"{kind}.builder")
            subprocess.run([APUS, "ring-builder", builder, *command], check=True, stdout=subprocess.PIPE)

    def write_conf(self, kind, defaults, more=""):
        text = f"[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {self.ports[kind]}\n{defaults}"
        text += f"[app:{kind}-server]\nuse = egg:swift#{kind}\n{more}"
        (self.etc / f"{kind}-server.conf").write_text(text)

    def log(self, kind):
        return self.etc / f"{kind}.log"

    def start(self, kind):
        with open(self.log(kind), "w") as log:
            process = subprocess.Popen([APUS, f"{kind}-server", str(self.etc)], stderr=log)
        self.processes.append(process)
        until = time.monotonic() + 10
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.ports[kind]), timeout=1).close()
            except ConnectionRefusedError:
                assert process.poll() is None and time.monotonic() < until, self.log(kind).read_text()
                time.sleep(0.02)

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(timeout=30)

    def lines(self, kind, text):
        return [line for line in self.log(kind).read_text().splitlines() if text in line]

    def break_objects(self):
        """Puts a file in place of the directory of objects of one device."""
        directory = self.devices / DEVICES[0] / "objects"
        shutil.rmtree(directory)
        directory.write_text("not a directory")


@pytest.fixture
def servers(tmp_path):
    servers = LoggedServers(tmp_path)
    for kind in [*STORAGE, "proxy"]:
        servers.start(kind)
    yield servers
    servers.stop()


def test_one_transaction_id_is_in_the_logs_of_three_servers(servers):
    url = f"http://127.0.0.1:{servers.ports['proxy']}/auth/v1.0"
    swift = swiftclient.Connection(authurl=url, user="test:tester", key="testing", retries=0)
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
    until = time.monotonic() + 10
    while not all(any(text in line for line in servers.lines(kind, trans_id)) for kind, text in expected.items()):
        assert time.monotonic() < until, {kind: servers.log(kind).read_text() for kind in expected}
        time.sleep(0.05)
    [access] = servers.lines("proxy", trans_id)
    assert "/v1/AUTH_test/c/broken" in access
    for kind in ["object", "container"]:
        for line in servers.lines(kind, trans_id):
            assert line.count(trans_id) == 1, line
            assert f"server={kind}" in line and "method=PUT" in line and "/AUTH_test/c/broken" in line, line
    causes = servers.lines("object", trans_id)
    assert any("ERROR" in line and "Not a directory" in line and 'device="sd1"' in line for line in causes), causes
    assert all("path=/sd1/" in line for line in causes), "good answers are not logged at this level"
