"""One process of the executable: start, stop, kill, pause."""

import os
import signal
import socket
import subprocess

from .executables import APUS
from .waiting import wait_until

START_SECONDS = 15
STOP_SECONDS = 30


def is_listening(address):
    try:
        socket.create_connection(address, timeout=1).close()
        return True
    except OSError:
        return False


class Process:
    """A server, or a daemon that runs on.

    `faults` is the file of its armed fault points, `address` is where it listens, if it does, and `program` a command line
    that serves there instead of the executable.
    """

    def __init__(self, name, arguments, log, faults=None, address=None, environment=None, program=None):
        self.name, self.arguments, self.log, self.address = name, [str(word) for word in arguments], log, address
        self.environment = {**(environment or {}), **({"APUS_FAULTS": str(faults)} if faults else {})}
        self.command = program or [APUS, *self.arguments]
        self.running = None

    def spawn(self):
        """Starts it and does not wait until it serves."""
        with open(self.log, "ab") as log:
            self.running = subprocess.Popen(self.command, stderr=log, stdout=log, env={**os.environ, **self.environment})
        return self

    def wait_ready(self):
        def ready():
            assert self.running.poll() is None, f"{self.name} ended with {self.running.returncode}: {self.tail()}"
            return self.address is None or is_listening(self.address)

        wait_until(ready, f"{self.name} does not listen", START_SECONDS, 0.01)

    def start(self):
        self.spawn().wait_ready()
        return self

    @property
    def pid(self):
        return self.running.pid

    @property
    def is_alive(self):
        return self.running is not None and self.running.poll() is None

    @property
    def was_killed(self):
        """Whether it ended by SIGKILL, as at a fault point."""
        return self.running is not None and self.running.poll() == -signal.SIGKILL

    def kill(self):
        """Ends it at once; returns the exit code."""
        if self.running is not None:
            self.running.kill()
            return self.running.wait()
        return None

    def stop(self, sig=signal.SIGTERM):
        """Stops it as an operator does; returns the exit code."""
        if self.is_alive:
            self.running.send_signal(signal.SIGCONT)
            self.running.send_signal(sig)
        try:
            return self.running.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} does not stop: {self.tail()}") from None

    def pause(self):
        if self.is_alive:
            self.running.send_signal(signal.SIGSTOP)

    def resume(self):
        if self.is_alive:
            self.running.send_signal(signal.SIGCONT)

    def tail(self, size=3000):
        return self.log.read_text(errors="replace")[-size:] if self.log.exists() else ""
