"""One process of a role per device: a second one is refused, and its error names the first."""

import concurrent.futures
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time

import pytest

from apus_testing.addresses import free_port
from apus_testing.executables import APUS
from apus_testing.saio import Saio
from apus_testing.servers import Servers
from apus_testing.waiting import wait_until

TIMEOUT = 30


def refused(*words):
    done = subprocess.run([APUS, *map(str, words)], capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode != 0, done.stderr
    return done.stderr


def tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def copy_with_ports(etc, to, ports):
    """A second configuration over the same devices, which listens elsewhere."""
    shutil.copytree(etc, to)
    for path in to.glob("*-server.conf"):
        text = path.read_text()
        for port in ports:
            text = text.replace(f"bind_port = {port}\n", f"bind_port = {free_port()}\n")
        path.write_text(text)
    return to


def test_a_second_saio_on_a_folder_is_refused_and_changes_nothing(tmp_path):
    cluster = Saio(tmp_path / "data", "--no-daemons").start()
    etc = tree(tmp_path / "data/etc")
    output = refused("saio", "--data", tmp_path / "data", "--port", free_port(), "--dev-users")
    assert str(tmp_path / "data") in output and str(cluster.process.pid) in output, output
    assert tree(tmp_path / "data/etc") == etc
    # A path of another name leads to the same folder.
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert str(cluster.process.pid) in refused("saio", "--data", tmp_path / "link", "--port", free_port())
    # What was killed has nothing any more.
    cluster.kill()
    cluster.start()
    assert cluster.stop() == 0


def test_of_two_that_make_a_folder_at_the_same_time_one_serves(tmp_path):
    command = [APUS, "saio", "--no-daemons", "--json", "--data", str(tmp_path / "data"), "--port", "0"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        lines = list(pool.map(lambda process: process.stdout.readline(), both))
    assert sorted(map(bool, lines)) == [False, True]
    for process, line in zip(both, lines, strict=True):
        if line:
            process.terminate()
        _, errors = process.communicate(timeout=TIMEOUT)
        assert (process.returncode == 0) == bool(line) and bool(line) != ("is in use" in errors), errors


def test_a_folder_whose_format_file_is_locked_is_in_use(tmp_path):
    Saio(tmp_path / "data", "--no-daemons").start().stop()
    with open(tmp_path / "data/FORMAT") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "is in use" in refused("saio", "--data", tmp_path / "data", "--port", free_port())


def test_the_devices_of_a_saio_are_not_served_by_others(tmp_path):
    cluster = Saio(tmp_path / "data").start()
    pid = str(cluster.process.pid)
    for role in ["object-server", "container-server", "account-server", "object-replicator", "all"]:
        output = refused(role, tmp_path / "data/etc")
        assert pid in output and str(tmp_path / "data") in output, (role, output)
    # One pass by hand is what operators do while a daemon runs.
    once = subprocess.run([APUS, "object-replicator", tmp_path / "data/etc", "--once"], capture_output=True, timeout=TIMEOUT)
    assert once.returncode == 0, once.stderr
    assert cluster.stop() == 0


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    servers = Servers(tmp_path_factory.mktemp("owners"))
    for kind in ["account", "container", "object", "proxy"]:
        servers.start(kind)
    yield servers
    for kind in list(servers.processes):
        servers.stop(kind)


def test_servers_and_daemons_of_a_node_share_its_devices_and_a_second_of_a_kind_does_not(servers, tmp_path):
    etc = copy_with_ports(servers.etc, tmp_path / "etc", servers.ports.values())
    daemons = {
        name: subprocess.Popen([APUS, name, servers.etc], stderr=subprocess.DEVNULL) for name in ["object-auditor", "container-updater"]
    }
    try:
        for name, daemon in daemons.items():
            lock = servers.devices / "sd1/.apus-locks" / name
            wait_until(lambda: lock.exists() and f"pid = {daemon.pid}\n" in lock.read_text(), f"a lock of {name}")
            output = refused(name, servers.etc)
            assert str(daemon.pid) in output and str(servers.devices) in output, output
    finally:
        for daemon in daemons.values():
            daemon.terminate()
            assert daemon.wait(timeout=TIMEOUT) == 0
    # By the same ring address a port is taken as well: named is the device.
    output = refused("object-server", servers.etc)
    assert str(servers.processes["object"].pid) in output and "sd1" in output
    # A server that no ring leads to takes devices when they are used.
    text = (etc / "object-server.conf").read_text()
    port = int(text.split("bind_port = ")[1].split()[0])
    second = subprocess.Popen([APUS, "object-server", etc], stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, "the second server listens")
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as connection:
            connection.sendall(b"HEAD /sd1/0/AUTH_test/c/o HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 507")
    finally:
        second.terminate()
        _, log = second.communicate(timeout=TIMEOUT)
    assert str(servers.processes["object"].pid) in log and "sd1" in log, log


def test_a_device_that_comes_back_belongs_to_its_server(servers):
    device = servers.devices / "sd2"
    device.rename(servers.devices / ".away")
    assert servers.objects()
    (servers.devices / ".away").rename(device)
    held = (device / ".apus-locks/object-server").read_text()
    assert f"pid = {servers.processes['object'].pid}\n" in held


def test_a_killed_server_leaves_nothing_that_keeps_the_next_one_away(servers):
    servers.stop("object", kill=True)
    servers.start("object")
    lock = servers.devices / "sd1/.apus-locks/object-server"
    assert f"pid = {servers.processes['object'].pid}\n" in lock.read_text()
    assert f"configuration = {servers.etc}\n" in lock.read_text()


def test_a_reload_hands_the_devices_to_the_next_worker(tmp_path):
    servers = Servers(tmp_path)
    path = servers.etc / "object-server.conf"
    path.write_text(path.read_text().replace("[DEFAULT]\n", "[DEFAULT]\nworkers = 1\n"))
    servers.start("object")
    overseer = servers.processes["object"]
    lock = servers.devices / "sd1/.apus-locks/object-server"

    def pid():
        return int(lock.read_text().split("pid = ")[1].split()[0])

    def status():
        with servers.objects() as connection:
            connection.sendall(b"HEAD /sd1/0/AUTH_test/c/o HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return connection.recv(100).split()[1]

    before = pid()
    assert before != overseer.pid and status() == b"404"
    os.kill(overseer.pid, signal.SIGUSR1)
    until = time.monotonic() + TIMEOUT
    while pid() == before:
        # Never refused, never away.
        assert status() == b"404"
        assert time.monotonic() < until
    assert status() == b"404"
    assert str(pid()) in refused("object-server", servers.etc)
    assert servers.stop("object") == 0
