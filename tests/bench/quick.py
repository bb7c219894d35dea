"""Counts what one request costs the server, over real sockets: `quick.py PATH-TO-APUS`.

CPU is that of the server process (all four servers, three replicas) from /proc; times are of one
client over one connection and only inform.
"""

import http.client
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ["APUS_BIN"] = sys.argv[1]

from apus_testing.saio import Saio
from apus_testing.waiting import wait_until

TICK = os.sysconf("SC_CLK_TCK")


def cpu(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def rss_mib(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0


def is_idle(pid):
    """Whether a process uses no CPU for half a second."""
    before = cpu(pid)
    time.sleep(0.5)
    return cpu(pid) == before


def measure(cluster, name, count, work):
    before, began, times = cpu(cluster.process.pid), time.perf_counter(), []
    for index in range(count):
        start = time.perf_counter()
        work(index)
        times.append((time.perf_counter() - start) * 1000)
    spent = cpu(cluster.process.pid) - before
    p99 = statistics.quantiles(times, n=100)[98]
    print(
        f"{name:24} {count / (time.perf_counter() - began):8.0f}/s  p50 {statistics.median(times):6.2f} ms"
        f"  p99 {p99:6.2f} ms  server CPU {spent / count * 1000:6.3f} ms each"
    )


with tempfile.TemporaryDirectory() as folder:
    began = time.perf_counter()
    cluster = Saio(folder + "/data", "--dev-users").start()
    print(f"first start, ready after {(time.perf_counter() - began) * 1000:.0f} ms")
    swift = cluster.swift()
    url, token = swift.get_auth()
    base = url.split(str(cluster.port), 1)[1]
    swift.put_container("c")
    wait_until(lambda: is_idle(cluster.process.pid), "the server has nothing to do")
    print(f"idle memory {rss_mib(cluster.process.pid):.0f} MiB")
    connection = http.client.HTTPConnection("127.0.0.1", cluster.port)

    def request(method, path, body=None, expect=(200, 201, 204)):
        connection.request(method, base + path, body=body, headers={"X-Auth-Token": token})
        answer = connection.getresponse()
        data = answer.read()
        assert answer.status in expect, (answer.status, data)
        return data

    small, middle = os.urandom(4096), os.urandom(65536)
    measure(cluster, "PUT 4 KiB", 2000, lambda n: request("PUT", f"/c/s{n}", small))
    measure(cluster, "GET 4 KiB", 4000, lambda n: request("GET", f"/c/s{n % 2000}"))
    measure(cluster, "HEAD", 4000, lambda n: request("HEAD", f"/c/s{n % 2000}"))
    measure(cluster, "PUT 64 KiB", 500, lambda n: request("PUT", f"/c/m{n}", middle))
    measure(cluster, "GET 64 KiB", 1000, lambda n: request("GET", f"/c/m{n % 500}"))
    measure(cluster, "list 2,500 rows, json", 100, lambda n: request("GET", "/c?format=json"))
    measure(cluster, "DELETE", 2000, lambda n: request("DELETE", f"/c/s{n}"))
    large = os.urandom(64 << 20)
    measure(cluster, "PUT 64 MiB", 5, lambda n: request("PUT", f"/c/l{n}", large))
    measure(cluster, "GET 64 MiB", 5, lambda n: request("GET", f"/c/l{n}"))
    print(f"memory afterwards {rss_mib(cluster.process.pid):.0f} MiB")
    cluster.stop()
