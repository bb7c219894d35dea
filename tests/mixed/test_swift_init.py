"""Swift's own manager (`swift-init`) starts, reloads and stops our programs under the names of Swift's."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests

from apus_testing.process import is_listening
from apus_testing.testbed import APUS, KINDS, Testbed
from apus_testing.waiting import wait_until

# swift-init, with configuration and pid files elsewhere.
MANAGER = """
import sys
from swift.common import manager
manager.SWIFT_DIR, run = sys.argv.pop(1), sys.argv.pop(1)
for made in manager.Manager, manager.Server:
    made.__init__.__defaults__ = (run,)
sys.exit(manager.main())
"""
SYSLOG_PORT = 5514
ROLES = ["account-server", "container-server", "object-server", "object-replicator", "container-updater", "object-auditor"]


class Managed:
    """The configuration of two nodes of a testbed as /etc/swift has it: object-server/1.conf and so on."""

    def __init__(self, testbed, folder):
        self.testbed, self.etc, self.run = testbed, folder / "etc", folder / "run"
        bin_folder = folder / "bin"
        for path in [self.etc, self.run, bin_folder]:
            path.mkdir(parents=True)
        for role in ROLES:
            (bin_folder / f"swift-{role}").symlink_to(Path(APUS).resolve())
        self.environment = dict(os.environ, PATH=f"{bin_folder}:{os.environ['PATH']}")
        self.log = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.log.bind((testbed.ip("memcached"), SYSLOG_PORT))
        self.log.settimeout(10)
        more = f"log_udp_host = {testbed.ip('memcached')}\nlog_udp_port = {SYSLOG_PORT}\nlog_name = managed\n"
        for kind in KINDS:
            for node in (1, 2):
                text = testbed.conf(node, kind).read_text().replace("[DEFAULT]\n", f"[DEFAULT]\n{more}", 1)
                if kind == "object" and node == 2:
                    # A directory of parts in place of one file.
                    parts = self.etc / "object-server" / "2.conf.d"
                    parts.mkdir()
                    first, rest = text.split("[pipeline:main]")
                    (parts / "10-default.conf").write_text(first)
                    (parts / "20-rest.conf").write_text("[pipeline:main]" + rest)
                    continue
                (self.etc / f"{kind}-server").mkdir(exist_ok=True)
                (self.etc / f"{kind}-server" / f"{node}.conf").write_text(text)

    def init(self, *words, code=0):
        command = [sys.executable, "-c", MANAGER, str(self.etc), str(self.run), "-r", str(self.run), *words]
        began = time.monotonic()
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        assert time.monotonic() - began < 20
        return done.stdout

    def pid(self, role, node):
        return int((self.run / role / f"{node}.pid").read_text())

    def logged(self):
        return self.log.recv(65536).decode()


@pytest.fixture(scope="module")
def managed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("init")
    testbed = Testbed(folder / "cluster", lambda node, kind: "apus")
    managed = Managed(testbed, folder / "managed")
    managed.init("object", "container", "account", "start")
    yield managed
    managed.init("main", "stop")
    testbed.stop()


def url(managed, kind, node=1):
    return f"http://{managed.testbed.ip(node)}:{KINDS[kind]}"


def test_servers_started_by_the_manager_answer_and_log_to_syslog(managed):
    for kind in KINDS:
        for node in (1, 2):
            assert requests.get(f"{url(managed, kind, node)}/recon/version", timeout=5).ok
    assert managed.init("object", "status").count("object-server running") == 2
    assert managed.logged().split(">", 1)[1].startswith("managed: ")
    assert "already started" in managed.init("object", "start", code=1)


def test_one_of_several_is_stopped_and_started(managed):
    before = managed.pid("container-server", 2)
    managed.init("container-server.1", "stop")
    with pytest.raises(requests.ConnectionError):
        requests.get(url(managed, "container"), timeout=5)
    assert "container-server #1 not running" in managed.init("container-server", "status", "-c", "1", code=1)
    managed.init("container-server.1", "start")
    assert requests.get(f"{url(managed, 'container')}/recon/version", timeout=5).ok
    assert managed.pid("container-server", 2) == before


def slow_put(managed, path, pause):
    """A PUT whose body comes in two halves; returns the status line."""
    with socket.create_connection((managed.testbed.ip(1), KINDS["object"]), timeout=30) as connection:
        head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nX-Timestamp: {time.time():.5f}\r\nContent-Type: a/b\r\nContent-Length: 10\r\n\r\n"
        connection.sendall(head.encode() + b"hello")
        pause()
        connection.sendall(b"world")
        return connection.recv(65536).split(b"\r\n")[0].decode()


def test_reload_lets_open_requests_finish(managed):
    """SIGHUP: the listener is closed at once, the request goes on for as long as it takes."""
    before = managed.pid("object-server", 1)
    reloader = threading.Thread(target=managed.init, args=("object-server.1", "reload"))

    def reload_meanwhile():
        reloader.start()
        wait_until(lambda: not is_listening((managed.testbed.ip(1), KINDS["object"])), "it accepts no connections", 10)

    assert slow_put(managed, "/sd1/0/AUTH_test/c/slow", reload_meanwhile).startswith("HTTP/1.1 201 ")
    reloader.join()
    assert managed.pid("object-server", 1) != before
    answer = requests.get(f"{url(managed, 'object')}/sd1/0/AUTH_test/c/slow", timeout=5)
    assert answer.content == b"helloworld"


@pytest.mark.parametrize("word", ["reload", "reload-seamless"])
def test_with_workers_a_reload_does_not_wait_for_open_requests(managed, word):
    conf = managed.etc / "object-server" / "1.conf"
    before = conf.read_text()
    conf.write_text(before.replace("workers = 0", "workers = 1"))
    managed.init("object-server.1", "stop")
    managed.init("object-server.1", "start")
    pid = managed.pid("object-server", 1)
    try:

        def reload_meanwhile():
            managed.init("object-server.1", word)
            assert requests.get(f"{url(managed, 'object')}/recon/version", timeout=5).ok

        name = f"/sd1/0/AUTH_test/c/{word}"
        assert slow_put(managed, name, reload_meanwhile).startswith("HTTP/1.1 201 ")
        assert requests.get(url(managed, "object") + name, timeout=5).content == b"helloworld"
        assert (managed.pid("object-server", 1) == pid) == (word == "reload-seamless")
        assert "object-server running" in managed.init("object-server.1", "status")
    finally:
        conf.write_text(before)
        managed.init("object-server.1", "stop")
        managed.init("object-server.1", "start")


def test_daemons_run_once_and_by_the_hour(managed):
    out = managed.init("object-replicator", "container-updater", "once")
    assert "Running object-replicator once" in out and "Running container-updater once" in out
    managed.init("object-auditor.1", "start")
    assert "object-auditor running" in managed.init("object-auditor.1", "status")
    managed.init("object-auditor.1", "stop")
    managed.init("object-auditor.1", "status", code=1)


def test_swifts_options_are_taken(managed):
    conf = str(managed.etc / "object-server" / "1.conf")
    for words in [
        ["swift-object-replicator", conf, "once", "-v", "-d", "sd1", "--partitions=1,2", "-i", "0"],
        ["swift-object-replicator", conf, "-o", "--devices=sd1"],
        ["swift-object-server", conf, "--test-config"],
        ["swift-object-server", conf, "-t", "-v"],
    ]:
        done = subprocess.run(words, env=managed.environment, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, (words, done)
    bad = managed.etc / "bad.conf"
    bad.write_text(Path(conf).read_text().replace("bind_port = 6200", "bind_port = many"))
    done = subprocess.run(["swift-object-server", str(bad), "-t"], env=managed.environment, capture_output=True, text=True)
    assert done.returncode != 0 and "bind_port" in done.stderr


def test_a_configuration_error_is_shown_by_the_manager(managed):
    conf = managed.etc / "object-server" / "3.conf"
    conf.write_text("[DEFAULT]\nswift_dir = /nonexistent\n")
    assert "/nonexistent" in managed.init("object-server.3", "start", code=1)
    conf.unlink()
