"""Servers with an overseer and workers: USR1 and HUP, with requests in flight and under load (Swift's `test_signals`)."""

import http.client
import os
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from apus_testing import etc
from apus_testing.clients import Refused
from apus_testing.cluster import Cluster
from apus_testing.process import is_listening
from apus_testing.uploads import object_upload, proxy_upload
from apus_testing.waiting import wait_until

RELOADS = 5
SERVERS = ["proxy", *etc.KINDS]
TOKEN_SECTION = "[filter:tempauth]"


@pytest.fixture(scope="module")
def bed():
    with Cluster(options={f"app:{server}-server": {"workers": 1} for server in SERVERS}) as cluster:
        yield cluster


@pytest.fixture
def cluster(bed):
    return bed.start()


def status(pid, field):
    """A line of /proc/<pid>/status; `None` when the process does not exist."""
    try:
        lines = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    except (OSError, ValueError):
        return None
    return lines[field].strip()


def workers(process):
    """The processes that serve for a process."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return {pid for pid in pids if status(pid, "PPid") == str(process.running.pid)}


def reload(process):
    """Has a new worker take over, and waits until it has."""
    old = workers(process)
    ready = process.tail(10**6).count(" ready")
    process.running.send_signal(signal.SIGUSR1)
    wait_until(lambda: workers(process) - old, f"{process.name}: no new worker")
    wait_until(lambda: process.tail(10**6).count(" ready") > ready, f"{process.name}: the new worker does not serve")
    return old


def only_new_workers(process, old):
    return wait_until(lambda: not workers(process) & old and len(workers(process)) == 1, f"{process.name}: {old} do not end")


@contextmanager
def changed(path, old, new):
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new, 1))
    try:
        yield
    finally:
        path.write_text(before)


@contextmanager
def load(work, threads=3):
    """Does `work(number)` again and again; returns what was done and what failed."""
    stopped, done, failed = threading.Event(), [], []

    def repeat(first):
        number = first
        while not stopped.is_set():
            number += threads
            try:
                work(number)
                done.append(number)
            except Exception as error:  # counted and reported by the test
                failed.append(error)

    running = [threading.Thread(target=repeat, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield done, failed
    finally:
        stopped.set()
        for thread in running:
            thread.join()


def test_a_seamless_reload_finishes_what_is_open_with_the_old_configuration_and_begins_with_the_new(cluster, swift, container):
    process, upload = proxy_upload(cluster, swift, container, "across")
    time.sleep(0.3)
    pid = process.running.pid
    with changed(process.etc / "proxy-server.conf", TOKEN_SECTION, f"{TOKEN_SECTION}\nuser_later_comer = secret .admin"):
        old = reload(process)
    cluster.swift("later:comer", "secret").put("c")
    assert old < workers(process), "it did not wait for the upload"
    assert upload.finish() == 201
    only_new_workers(process, old)
    assert (process.running.pid, process.is_alive) == (pid, True)
    assert swift.get(f"{container}/across").body == b"body" * 10


def test_an_upload_to_an_object_server_is_finished_by_the_worker_that_began_it(cluster):
    process, upload = object_upload(cluster, "across")
    time.sleep(0.3)
    old = reload(process)
    assert old < workers(process), "it did not wait for the upload"
    assert upload.finish() == 201
    only_new_workers(process, old)


def test_reloads_of_a_proxy_under_load_of_new_connections_lose_no_request(cluster, swift, container):
    def work(number):
        connection = http.client.HTTPConnection(*cluster.proxy.address, timeout=60)
        path = f"/v1/{swift.account}/{container}/o{number % 20}"
        connection.request("PUT", path, b"x" * 100, {"X-Auth-Token": swift.token})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        assert answer.status == 201, answer.status

    with load(work) as (done, failed):
        for _ in range(RELOADS):
            before = len(done)
            only_new_workers(cluster.proxy, reload(cluster.proxy))
            wait_until(lambda before=before: len(done) > before + 10 or failed, "nothing is served")
    assert failed == []


@pytest.mark.parametrize("kind", etc.KINDS)
def test_reloads_of_all_storage_servers_of_a_kind_fail_no_request(cluster, swift, container, kind):
    def work(number):
        swift.put(f"{container}/o{number % 20}", b"x" * 100)
        assert swift.get(f"{container}/o{number % 20}").body == b"x" * 100

    with load(work) as (done, failed):
        for _ in range(2):
            processes = [node.servers[kind] for node in cluster.nodes]
            old = [reload(process) for process in processes]
            for process, gone in zip(processes, old, strict=True):
                only_new_workers(process, gone)
    assert len(done) > 10
    assert failed == []


def test_conditional_writes_have_one_winner_while_object_servers_are_reloaded(cluster):
    cluster.s3().put("reloaded")
    won = {}

    def work(number):
        key = f"k{number // 3}"
        try:
            cluster.s3().put("reloaded", key, str(number).encode(), {"If-None-Match": "*"})
        except Refused as refused:
            if refused.answer.status >= 500:
                return
            assert refused.answer.status in (409, 412), refused
        else:
            won.setdefault(key, []).append(number)

    with load(work) as (_, failed):
        for node in cluster.nodes * 2:
            only_new_workers(node.servers["object"], reload(node.servers["object"]))
    assert failed == []
    assert len(won) > 10
    assert {key: numbers for key, numbers in won.items() if len(numbers) > 1} == {}
    for key, (number,) in won.items():
        assert cluster.s3().get("reloaded", key).body == str(number).encode()


def test_a_bad_configuration_keeps_the_worker_that_serves(cluster, swift, container):
    process = cluster.proxy
    old = workers(process)
    with changed(process.etc / "proxy-server.conf", f"bind_port = {etc.PROXY_PORT}", "bind_port = many"):
        process.running.send_signal(signal.SIGUSR1)
        wait_until(lambda: "the reload failed" in process.tail(), "it says nothing")
    assert "bind_port" in process.tail() and "many" in process.tail()
    assert workers(process) == old
    swift.put(f"{container}/o", b"x")
    only_new_workers(process, reload(process))


def test_a_worker_that_dies_is_replaced_and_its_socket_stays_open(cluster, swift, container):
    process = cluster.nodes[0].servers["container"]
    (worker,) = workers(process)
    os.kill(worker, signal.SIGKILL)
    assert is_listening(process.address)
    swift.put(f"{container}/o", b"x")
    only_new_workers(process, {worker})
    assert is_listening(process.address)


def test_workers_end_with_their_overseer(cluster):
    process = cluster.nodes[0].servers["account"]
    (worker,) = workers(process)
    process.kill()
    wait_until(lambda: (status(worker, "State") or "Z")[0] == "Z", "the worker goes on alone")
    process.start()


def test_hang_up_stops_to_accept_and_waits_for_what_is_open(cluster):
    process, upload = object_upload(cluster, "hup")
    time.sleep(0.3)
    process.running.send_signal(signal.SIGHUP)
    wait_until(lambda: not is_listening(process.address), "still accepts")
    assert process.is_alive, "it did not wait"
    assert upload.finish() == 201
    assert process.running.wait(timeout=20) == 0
    process.start()


def test_a_reload_is_refused_where_there_are_no_workers(cluster):
    process = cluster.nodes[1].servers["account"]
    conf = cluster.nodes[1].etc / "account-server.conf"
    with changed(conf, "workers = 1", "workers = 0"):
        process.stop()
        process.start()
        assert workers(process) == set()
        process.running.send_signal(signal.SIGUSR1)
        wait_until(lambda: "a reload needs" in process.tail(), "it says nothing")
        assert is_listening(process.address)
    process.stop()
    process.start()
