"""Measures what an idle cluster costs: `idle.py PATH-TO-APUS [--containers 100,1400,20000]`.

For each number of containers it makes a new `apus saio` (four devices, three replicas, all daemons)
with some small files in each container, waits until the database replicators have been through
everything at least twice, and then counts for some time without any client: CPU seconds of the
process from /proc, and the threads that it made. These are exact where the server can run in a PID
namespace of its own (as root): ids are given there in turn, one for each thread.
"""

import argparse
import concurrent.futures
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse

TICK = os.sysconf("SC_CLK_TCK")
REPLICAS = 3


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


class Saio:
    """The server, in a PID namespace of its own where that is allowed."""

    def __init__(self, apus, folder, databases_per_second=None):
        self.data = os.path.join(folder, "data")
        self.port, self.metrics_port = free_port(), free_port()
        self.start(apus, own_ids=False)
        self.stop()
        self.configure(databases_per_second)
        self.start(apus, own_ids=os.geteuid() == 0 and shutil.which("unshare") is not None)

    def configure(self, databases_per_second):
        proxy = os.path.join(self.data, "etc/proxy-server.conf")
        section = "[app:proxy-server]\n"
        with open(proxy) as file:
            text = file.read()
        with open(proxy, "w") as file:
            bind = f"{section}metrics_bind = 127.0.0.1:{self.metrics_port}\n"
            file.write(text.replace(section, bind))
        if databases_per_second:
            with open(os.path.join(self.data, "etc/container-server.conf"), "a") as file:
                rate = f"databases_per_second = {databases_per_second}"
                file.write(f"\n[container-replicator]\n{rate}\n")

    def start(self, apus, own_ids):
        self.own_ids = own_ids
        command = [apus, "saio", "--data", self.data, "--port", str(self.port), "--json"]
        if self.own_ids:
            command = ["unshare", "--pid", "--fork", "--kill-child", *command]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.access = json.loads(self.process.stdout.readline())
        self.pid = children(self.process.pid)[0] if self.own_ids else self.process.pid

    def stop(self):
        os.kill(self.pid, 2)
        self.process.wait(timeout=60)

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def memory_mib(self):
        with open(f"/proc/{self.pid}/status") as file:
            resident = next(line for line in file if line.startswith("VmRSS"))
        return int(resident.split()[1]) / 1024

    def last_id(self):
        """The newest id of a thread or process; asking takes one."""
        if not self.own_ids:
            return None
        command = ["nsenter", "--target", str(self.pid), "--pid", "sh", "-c", "echo $$"]
        return int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)

    def passes(self):
        try:
            with open(os.path.join(self.data, "cache", "apus-passes.recon")) as file:
                return json.load(file)
        except (FileNotFoundError, ValueError):
            return {}

    def metrics(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port)
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs if "{" not in name}


def fill(saio, containers, files, clients):
    """Makes the containers and their files with several clients at a time."""
    auth = urllib.parse.urlsplit(saio.access["auth_url"])
    connection = http.client.HTTPConnection("127.0.0.1", saio.port)
    head = {"X-Auth-User": saio.access["user"], "X-Auth-Key": saio.access["key"]}
    connection.request("GET", auth.path, headers=head)
    answer = connection.getresponse()
    answer.read()
    base = urllib.parse.urlsplit(answer.headers["X-Storage-Url"]).path
    head = {"X-Auth-Token": answer.headers["X-Auth-Token"]}
    own = threading.local()

    def put(path, body=b""):
        if not hasattr(own, "connection"):
            own.connection = http.client.HTTPConnection("127.0.0.1", saio.port)
        own.connection.request("PUT", base + path, body=body, headers=head)
        answer = own.connection.getresponse()
        answer.read()
        assert answer.status in (201, 202), (path, answer.status)

    def container(number):
        put(f"/c{number}")
        for file in range(files):
            put(f"/c{number}/f{file}", b"some content")

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        for _ in pool.map(container, range(containers)):
            pass


def settle(saio, passes):
    """Waits for whole passes of all three replicators that began after now."""
    for _ in range(passes):
        began = time.time()
        names = ("container-replicator", "account-replicator", "object-replicator")

        def is_over(name):
            last = saio.passes().get(name, {"ended": 0, "seconds": 0})
            return last["ended"] - last["seconds"] >= began

        while not all(is_over(name) for name in names):
            time.sleep(1)


def measure(apus, containers, options):
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        saio = Saio(apus, folder, options.databases_per_second)
        try:
            fill(saio, containers, options.files, options.clients)
            settle(saio, options.passes)
            counts, ids, cpu = saio.metrics(), saio.last_id(), saio.cpu_seconds()
            time.sleep(options.seconds)
            cpu = saio.cpu_seconds() - cpu
            threads = None if ids is None else saio.last_id() - ids - 1
            after = saio.metrics()
            opens = after.get("apus_database_opens_total", 0) - counts.get("apus_database_opens_total", 0)
            made = "?" if threads is None else f"{threads / options.seconds:.2f}"
            took = saio.passes()["container-replicator"]["seconds"]
            print(
                f"| {containers:,} | {containers * REPLICAS:,} | {containers * options.files:,} "
                f"| {100 * cpu / options.seconds:.2f} % | {made} | {opens / options.seconds:.2f} "
                f"| {took:.0f} | {saio.memory_mib():.0f} |",
                flush=True,
            )
        finally:
            saio.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("apus")
    parser.add_argument("--containers", default="100,1400,20000")
    parser.add_argument("--files", type=int, default=11, help="in each container")
    parser.add_argument("--seconds", type=float, default=120, help="how long to count")
    parser.add_argument("--passes", type=int, default=2, help="of the replicators, before that")
    parser.add_argument("--clients", type=int, default=16, help="that make the content")
    parser.add_argument("--databases-per-second", type=float, help="of the container replicator")
    parser.add_argument("--folder", help="where the data goes")
    options = parser.parse_args()
    print("| containers | databases | files | of a core | threads made/s | opens/s | pass s | MiB |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    for containers in options.containers.split(","):
        measure(os.path.abspath(options.apus), int(containers), options)


if __name__ == "__main__":
    main()
