"""One machine: its configuration, its devices, and its servers and daemons as processes."""

import os
import subprocess

from .answers import request
from .executables import APUS
from .process import Process

DAEMON_SECONDS = 120


class Machine:
    """Servers by kind, with one folder of configuration; `addresses` says where each listens."""

    # Of each server process.
    environment: dict[str, str] = {}

    def __init__(self, etc, devices, cache, *, addresses, swift_conf, device_names):
        self.etc, self.devices, self.cache, self.addresses = etc, devices, cache, addresses
        self.processes: dict[str, Process] = {}
        self.etc.mkdir()
        for name in device_names:
            (self.devices / name).mkdir(parents=True)
        (self.etc / "swift.conf").write_text(swift_conf)

    @property
    def ports(self):
        return {kind: port for kind, (_, port) in self.addresses.items()}

    def address(self, kind):
        return self.addresses[kind]

    def conf(self, kind, defaults="", more=""):
        """Writes the file of a server: options of `[DEFAULT]`, and more of its application and further sections."""
        ip, port = self.address(kind)
        if kind != "proxy":
            defaults = f"devices = {self.devices}\nmount_check = false\n{defaults}"
        text = f"[DEFAULT]\nbind_ip = {ip}\nbind_port = {port}\n{defaults}[app:{kind}-server]\nuse = egg:swift#{kind}\n{more}"
        (self.etc / f"{kind}-server.conf").write_text(text)

    def log(self, name):
        return self.etc / f"{name}.log"

    def spawn(self, kind, armed=None, program=None):
        """Starts a server, or another program in its place, and does not wait until it serves."""
        name, words = f"{kind} server at {self.address(kind)}", [f"{kind}-server", self.etc]
        process = Process(name, words, self.log(kind), armed, self.address(kind), self.environment, program)
        self.processes[kind] = process.spawn()
        return process

    def start(self, kind, **options):
        self.spawn(kind, **options).wait_ready()

    def start_daemon(self, name):
        self.processes[name] = Process(name, [name, self.etc], self.log(name)).spawn()

    def stop(self, kind, kill=False):
        """Stops a server or a daemon; returns its exit code."""
        process = self.processes.pop(kind)
        return process.kill() if kill else process.stop()

    def stop_all(self):
        for kind in list(self.processes):
            assert self.stop(kind) == 0, kind

    def run_once(self, daemon, *options, armed=None, environment=None):
        """One pass of a daemon in a process of its own."""
        environment = {**(environment or os.environ), **({"APUS_FAULTS": str(armed)} if armed else {})}
        words = [APUS, daemon, str(self.etc), "--once", *options]
        return subprocess.run(words, capture_output=True, text=True, timeout=DAEMON_SECONDS, env=environment)

    def request(self, kind, method, target, headers=None, body=None):
        """One request to a server, as another server sends it."""
        return request(self.address(kind), method, target, headers, body)
