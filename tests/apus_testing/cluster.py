"""Storage nodes with addresses of their own, proxies before them, and daemons that run on request.

A cluster holds the addresses 127.77.R.x by a lock, so that several may run on one machine.
"""

import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import etc, rings, swift_code
from .addresses import Network
from .clients import S3, Direct, Swift
from .faults import Faults
from .process import Process
from .waiting import wait_until

DAEMON_SECONDS = 180


@dataclass
class Placement:
    """Placement of a path: its partition, its primary nodes in the ring's order, and the handoff nodes."""

    partition: int
    primaries: list
    handoffs: list

    @property
    def primary_half(self):
        """Two of the primaries: with Swift's brain splitter, the half that makes a quorum alone."""
        return self.primaries[:2]

    @property
    def handoff_half(self):
        """The other primary, and the handoff."""
        return [*self.primaries[2:], *self.handoffs[:1]]


class Node:
    """One machine: three servers, its devices, its configuration."""

    def __init__(self, cluster, number, address, *, is_new=False):
        self.cluster, self.number, self.address = cluster, number, address
        self.folder = cluster.folder / f"node{number}"
        self.etc, self.devices, self.cache = self.folder / "etc", self.folder / "devices", self.folder / "cache"
        self.name, self.device = f"node{number}", f"sd{number}"
        for folder in (self.etc, self.devices / self.device, self.cache):
            folder.mkdir(parents=True, exist_ok=True)
        if not is_new:
            (self.etc / "swift.conf").write_text(cluster.swift_conf)
        self.servers = {kind: self.process(f"{kind}-server", (address, port)) for kind, port in etc.KINDS.items()}

    def __repr__(self):
        return self.name

    @property
    def disk(self):
        return self.devices / self.device

    def process(self, role, address=None, *arguments):
        cluster, name = self.cluster, f"{self.name}-{role}"
        faults = cluster.faults.file(name)
        return Process(name, [role, str(self.etc), *arguments], cluster.logs / f"{name}.log", faults, address)

    def configure(self, **options):
        """Writes the servers' files; `options` by section, with `_` for `-` in a daemon's name: `object_replicator={…}`."""

        def dashed(section):
            return section.replace("_", "-", section.partition(":")[0].count("_"))

        given = {dashed(section): more for section, more in options.items()}
        for kind in etc.KINDS:
            more = {**self.cluster.options, **given}
            mount_check = self.cluster.mount_check
            etc.write_storage(self.etc, kind, self.address, self.devices, self.cache, mount_check=mount_check, options=more)

    def start(self, *kinds):
        chosen = [self.servers[kind] for kind in kinds or self.servers]
        for server in chosen:
            if not server.is_alive:
                server.spawn()
        for server in chosen:
            server.wait_ready()

    def stop(self, *kinds):
        for kind in kinds or self.servers:
            self.servers[kind].stop()

    def kill(self, *kinds):
        for kind in kinds or self.servers:
            self.servers[kind].kill()

    def pause(self, *kinds):
        for kind in kinds or self.servers:
            self.servers[kind].pause()

    def resume(self, *kinds):
        for kind in kinds or self.servers:
            self.servers[kind].resume()

    def restart(self, *kinds):
        self.kill(*kinds)
        self.start(*kinds)

    def daemon(self, role, *arguments):
        """A daemon as a process that is not started yet."""
        return self.process(role, None, *arguments)

    def once(self, role, *arguments):
        """Runs one pass of a daemon; returns its exit code, negative when a signal ended it."""
        daemon = self.daemon(role, "--once", *arguments).spawn()
        try:
            return daemon.running.wait(timeout=DAEMON_SECONDS)
        except subprocess.TimeoutExpired:
            daemon.kill()
            raise AssertionError(f"{daemon.name} does not end: {daemon.tail()}") from None

    def relinker(self, step, *options):
        """The relinker as a process that is not started yet; `step` is `relink` or `cleanup`."""
        name = f"{self.name}-object-relinker"
        arguments = ["object-relinker", step, str(self.etc), *options]
        return Process(name, arguments, self.cluster.logs / f"{name}.log", self.cluster.faults.file(name))

    def command(self, role, *arguments):
        """A command of operators as a process that is not started yet; its faults are those of `role`."""
        name = f"{self.name}-{role}"
        return Process(name, arguments, self.cluster.logs / f"{name}.log", self.cluster.faults.file(name))

    def direct(self, kind):
        """A client that talks to a server of this node as other servers do."""
        return Direct((self.address, etc.KINDS[kind]), self.device)


class Proxy(Process):
    """A proxy server with a folder of configuration of its own."""

    def __init__(self, name, etc, log, faults, address):
        super().__init__(name, ["proxy-server", etc], log, faults, address)
        self.etc = etc


class Cluster:
    """`with Cluster() as cluster:` starts all processes and always ends them."""

    def __init__(
        self, folder=None, *, nodes=4, proxies=1, replicas=3, part_power=6, options=None, mount_check=False, apus=None, webhook=False
    ):
        self.is_temporary = folder is None
        self.folder = Path(folder or tempfile.mkdtemp(prefix="apus-bed-"))
        self.logs = self.folder / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.faults = Faults(self.folder / "faults")
        # Rings change rarely and tests do not wait for a daemon's own interval.
        self.options, self.mount_check = options or {}, mount_check
        self.network = Network()
        self.range = self.network.number
        # `apus`: more options of that section, with `{range}` for the number of the addresses.
        more = {name: str(value).format(range=self.range) for name, value in (apus or {}).items()}
        self.swift_conf = etc.SWIFT_CONF + "".join(f"{name} = {value}\n" for name, value in more.items())
        # Where a test receives events.
        self.webhook = (self.network.address(200), etc.WEBHOOK_PORT)
        if webhook:
            self.swift_conf += etc.notify_section(self.webhook)
        addresses = [self.network.address(number) for number in range(1, nodes + 1)]
        self.rings_folder = self.folder / "rings"
        self.rings_folder.mkdir(exist_ok=True)
        etc.make_rings(self.rings_folder, addresses, part_power=part_power, replicas=replicas)
        self.nodes = [Node(self, number, address) for number, address in enumerate(addresses, 1)]
        self.proxies = [self._proxy(number) for number in range(1, proxies + 1)]
        self.configure()
        self.share_rings()
        self._internal = None
        # What is to be undone when the processes are gone and before the folder is removed.
        self.endings = []

    def _proxy(self, number):
        name, address = f"proxy{number}", self.network.address(100 + number)
        folder = self.folder / name / "etc"
        folder.mkdir(parents=True)
        (folder / "swift.conf").write_text(self.swift_conf)
        etc.write_proxy(folder, address, self.options)
        return Proxy(name, folder, self.logs / f"{name}.log", self.faults.file(name), (address, etc.PROXY_PORT))

    def new_node(self):
        """A machine with disks and server configuration that is not a node yet: without `swift.conf` and rings."""
        number = max(node.number for node in self.nodes) + 1
        node = Node(self, number, self.network.address(number), is_new=True)
        node.configure()
        self.nodes.append(node)
        return node

    def configure(self, **options):
        for node in self.nodes:
            node.configure(**options)

    def share_rings(self, *, only=None):
        """Copies the rings to all nodes and proxies, or to some."""
        for holder in only or [*self.nodes, *self.proxies]:
            etc.share_rings(self.rings_folder, holder.etc)
        self.load_rings()

    def load_rings(self):
        """Reads the rings as they are in the builders' folder."""
        self.rings = {ring: swift_code.Ring(str(self.rings_folder), ring_name=ring) for ring in etc.RINGS}

    def take_up_rings(self, proxies=None):
        """Copies the rings to all nodes, and to all proxies or some of them, which use them when this returns."""
        proxies = self.proxies if proxies is None else proxies

        def loaded_count(proxy):
            return proxy.log.read_bytes().count(b"object.ring.gz")

        before = [(proxy, loaded_count(proxy)) for proxy in proxies if proxy.is_alive]
        self.share_rings(only=[*proxies, *self.nodes])

        def is_new():
            return all(loaded_count(proxy) > count for proxy, count in before)

        wait_until(is_new, "a proxy does not take up a ring", 20, 0.05)

    def change_part_power(self, step, proxies=None):
        """Runs a step of an increase (`prepare_increase`, …) on the objects' ring and waits until proxies use it."""
        for words in ([f"{step}_partition_power"], ["write_ring"]):
            rings.build(self.rings_folder, "object", *words)
        self.take_up_rings(proxies)

    @property
    def proxy(self):
        return self.proxies[0]

    @property
    def processes(self):
        return [*self.proxies, *(server for node in self.nodes for server in node.servers.values())]

    def start(self):
        """Starts all processes that are not running."""
        started = [process.spawn() for process in self.processes if not process.is_alive]
        for process in started:
            process.wait_ready()
        return self

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close(check=False)
            raise

    def __exit__(self, kind, *_):
        self.close(check=kind is None)

    def close(self, check=True):
        for process in self.processes:
            process.resume()
            process.kill()
        for ending in self.endings:
            ending()
        self.network.close()
        panics = [log.name for log in self.logs.iterdir() if b"panicked at" in log.read_bytes()]
        if self.is_temporary and check and not panics:
            shutil.rmtree(self.folder)
        elif self.is_temporary:
            # What failed can be looked at: logs, and the disks or their images.
            print(f"kept: {self.folder}")
        assert not (check and panics), f"a process panicked: {panics} in {self.logs}"

    def kill(self):
        for process in self.processes:
            process.kill()

    @contextmanager
    def without(self, kind, *nodes):
        """Kills the servers of a kind on some nodes for the time of the block."""
        for node in nodes:
            node.kill(kind)
        try:
            yield
        finally:
            for node in nodes:
                node.start(kind)

    def restart_proxies(self):
        """Restarts proxies, which then have no cached containers and failed nodes."""
        self._internal = None
        for proxy in self.proxies:
            proxy.kill()
            proxy.start()

    def once(self, *roles, nodes=None):
        """Runs one pass of each daemon on all nodes at once, daemon after daemon."""
        chosen = nodes or self.nodes
        for role in roles:
            with ThreadPoolExecutor(len(chosen)) as pool:
                codes = list(pool.map(lambda node: node.once(role), chosen))
            ended = dict(zip(chosen, codes, strict=True))
            bad = {node: code for node, code in ended.items() if code != 0}
            assert not bad, f"{role}: {bad}: {[node.daemon(role).tail(600) for node in bad]}"

    def placement(self, kind, *names, policy=0):
        """Placement of an account, a container or an object."""
        ring = self.rings[f"object-{policy}" if kind == "object" and policy else kind]
        partition, primaries = ring.get_nodes(*names)
        handoffs = ring.get_more_nodes(partition)
        by_address = {node.address: node for node in self.nodes}

        def of(devices):
            return [by_address[device["ip"]] for device in devices]

        return Placement(partition, of(primaries), of(handoffs))

    def swift(self, user="test:tester", key="testing", proxy=0):
        return Swift(self.proxies[proxy].address, user, key)

    def s3(self, access_key="test:tester", secret_key="testing", proxy=0):
        return S3(self.proxies[proxy].address, access_key, secret_key)

    def internal(self):
        """Swift's own proxy over our servers; see `swift_code.internal_client`."""
        if self._internal is None:
            self._internal = swift_code.internal_client(self.folder, self.proxies[0].etc)
        return self._internal
