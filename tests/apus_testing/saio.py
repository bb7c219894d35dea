"""`apus saio`, all servers in one process."""

import json
import signal
import subprocess
from pathlib import Path

import boto3
import botocore.config
import swiftclient

from .addresses import free_port
from .executables import APUS


class Saio:
    """`apus saio` as a process of its own."""

    def __init__(self, folder, *options):
        self.data = Path(folder)
        self.port = free_port()
        self.options = options
        self.process = None
        self.access = None

    def start(self):
        command = [APUS, "saio", "--data", str(self.data), "--port", str(self.port), "--json"]
        self.process = subprocess.Popen([*command, *self.options], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line, f"{command} ended with {self.process.wait()}"
        self.access = json.loads(line)
        return self

    def configure(self, server, text):
        """Adds sections to a server's configuration, and starts again with them."""
        assert self.stop() == 0
        with open(self.data / "etc" / f"{server}-server.conf", "a") as conf:
            conf.write(text)
        return self.start()

    def change(self, server, old, new):
        """Replaces a text in a server's configuration, and starts again with the new one."""
        assert self.stop() == 0
        path = self.data / "etc" / f"{server}-server.conf"
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} is not once in {path}"
        path.write_text(text.replace(old, new))
        return self.start()

    def set_option(self, server, section, option, value):
        """Sets an option in a section that a server's configuration has, and starts again with it."""
        assert self.stop() == 0
        path = self.data / "etc" / f"{server}-server.conf"
        head, found, rest = path.read_text().partition(f"[{section}]\n")
        assert found, section
        path.write_text(f"{head}{found}{option} = {value}\n{rest}")
        return self.start()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """Ctrl-C; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=30)

    def s3(self, access_key="test:tester", secret_key="testing", **options):
        config = botocore.config.Config(retries={"max_attempts": 1}, connect_timeout=5, read_timeout=30, **options)
        return boto3.client(
            "s3",
            endpoint_url=self.access["endpoint"],
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            region_name="us-east-1",
            config=config,
        )

    def swift(self, user="test:tester", key="testing"):
        return swiftclient.Connection(authurl=self.access["auth_url"], user=user, key=key, retries=0)
