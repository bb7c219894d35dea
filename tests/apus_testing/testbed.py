"""A cluster of four storage nodes and two proxies on loopback, where each server is Apus's or Swift's."""

import getpass
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import boto3
import botocore.config
import requests

from . import etc
from .addresses import Network
from .etc import KINDS, PROXY_PORT
from .executables import APUS
from .memcached import Memcached
from .process import Process, is_listening, wait_until

NODES = (1, 2, 3, 4)
RSYNC_PORT = 8873
MEMCACHED_PORT = 11211
USERS = {
    "admin_admin": "admin .admin .reseller_admin",
    "test_tester": "testing .admin",
    "test_tester2": "testing2 .admin",
    "test2_tester2": "testing2 .admin",
    "test_tester3": "testing3",
    "test5_tester5": "testing5 service",
    "test_tester6": "testing6 .reseller_admin",
}
SWIFT_CONF = """
[swift-hash]
swift_hash_path_prefix = mixed
swift_hash_path_suffix = cluster
[storage-policy:0]
name = gold
default = yes
[storage-policy:1]
name = silver
"""
STORAGE = """
[DEFAULT]
bind_ip = {ip}
bind_port = {port}
swift_dir = {etc}
devices = {devices}
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
workers = 0
user = {user}
recon_cache_path = {recon}
log_level = INFO
bind_timeout = 5
conn_timeout = 2
node_timeout = 10
[pipeline:main]
pipeline = healthcheck recon {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:recon]
use = egg:swift#recon
recon_cache_path = {recon}
[{kind}-replicator]
rsync_module = rsync://{{replication_ip}}:{rsync_port}/{kind}
sync_method = ssync
rsync_compress = no
concurrency = 1
interval = 3600
handoffs_first = no
[{kind}-auditor]
interval = 3600
[{kind}-updater]
interval = 3600
[{kind}-reaper]
"""
PIPELINE = (
    "catch_errors gatekeeper healthcheck proxy-logging cache etag-quoter listing_formats bulk tempurl s3api tempauth staticweb copy"
    " container-quotas account-quotas slo dlo versioned_writes symlink proxy-logging proxy-server"
)
PROXY = """
[DEFAULT]
bind_ip = {ip}
bind_port = {port}
swift_dir = {etc}
workers = 0
log_level = INFO
[pipeline:main]
pipeline = {pipeline}
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
conn_timeout = 2
node_timeout = 20
[filter:tempauth]
use = egg:swift#tempauth
allow_sample_keys = true
{users}
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
sigv2 = true
[filter:cache]
use = egg:swift#memcache
memcache_servers = {memcached}
[filter:proxy-logging]
use = egg:swift#proxy_logging
[filter:etag-quoter]
use = egg:swift#etag_quoter
enable_by_default = false
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_versioned_writes = true
allow_object_versioning = true
[filter:container-quotas]
use = egg:swift#container_quotas
[filter:account-quotas]
use = egg:swift#account_quotas
"""
# As Swift's sample: nothing that would change what is stored.
RECONCILER = """
[DEFAULT]
swift_dir = {etc}
user = {user}
log_level = INFO
[container-reconciler]
concurrency = 4
[pipeline:main]
pipeline = catch_errors proxy-server
[app:proxy-server]
use = egg:swift#proxy
[filter:catch_errors]
use = egg:swift#catch_errors
"""
# Their names in the pipeline are those of their entry points.
FILTERS_WITHOUT_OPTIONS = [
    *["catch_errors", "gatekeeper", "healthcheck", "listing_formats", "bulk", "tempurl", "staticweb", "copy", "slo", "dlo", "symlink"],
]
for _name in FILTERS_WITHOUT_OPTIONS:
    PROXY += f"[filter:{_name}]\nuse = egg:swift#{_name}\n"
RSYNC = """
port = {port}
address = {ip}
use chroot = no
log file = {log}
pid file = {pid}
"""


class SwiftPrograms:
    """The process that forks Swift's programs (swift_programs.py)."""

    def __init__(self, etc):
        pipe = subprocess.PIPE
        command = [sys.executable, str(Path(__file__).with_name("swift_programs.py")), str(etc)]
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait()


class SwiftProgram:
    """One of Swift's servers, running."""

    def __init__(self, programs, program, conf, log):
        self.programs = programs
        self.pid = programs.ask(start=program, arguments=[conf, "-v"], log=log)["pid"]

    def stop(self, sig=signal.SIGTERM):
        return self.programs.ask(stop=self.pid, signal=int(sig))["code"]


class Access:
    """Access of clients to one proxy."""

    def __init__(self, ip):
        self.url = f"http://{ip}:{PROXY_PORT}"
        self.session = requests.Session()
        self.base = None

    def sign_in(self, user="test:tester", key="testing"):
        headers = {"X-Auth-User": user, "X-Auth-Key": key}
        answer = requests.get(f"{self.url}/auth/v1.0", headers=headers, timeout=30)
        assert answer.status_code in (200, 204), answer
        self.session.headers["X-Auth-Token"] = answer.headers["X-Auth-Token"]
        self.base = answer.headers["X-Storage-Url"]

    def swift(self, method, path="", query="", **options):
        """A request of Swift's dialect; `path` is not quoted yet."""
        if self.base is None:
            self.sign_in()
        quoted = quote(path)
        url = f"{self.base}/{quoted}" if path else self.base
        return self.session.request(method, url + query, timeout=60, **options)

    def s3(self, access_key="test:tester", secret_key="testing"):
        config = botocore.config.Config(retries={"max_attempts": 1}, connect_timeout=5, read_timeout=60, s3={"addressing_style": "path"})
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            region_name="us-east-1",
            config=config,
        )


class Testbed:
    """`makers` chooses the servers: a function of node and kind that returns "apus" or "swift"."""

    __test__ = False

    def __init__(self, folder, makers):
        self.folder, self.makers = Path(folder), makers
        self.etc, self.logs = self.folder / "etc", self.folder / "logs"
        self.running, self.rsyncds = {}, {}
        for path in [self.etc, self.logs]:
            path.mkdir(parents=True)
        self.network = Network()
        self.memcached = Memcached((self.ip("memcached"), MEMCACHED_PORT))
        self.proxies = {maker: Access(self.ip(maker)) for maker in ["apus", "swift"]}
        self.write_configuration()
        self.programs = SwiftPrograms(self.etc)

    def ip(self, who):
        last = {"apus": 100, "swift": 101, "memcached": 102}.get(who, who)
        return self.network.address(last)

    def node_folder(self, node):
        return self.folder / f"node{node}"

    def device(self, node):
        return self.node_folder(node) / "srv" / "sd1"

    def conf(self, node, kind):
        return self.node_folder(node) / f"{kind}-server.conf"

    def daemon_conf(self, node, daemon):
        """The file of its server, but for the reconciler, which in Swift has its own."""
        own = self.etc / f"{daemon}.conf"
        return own if own.exists() else self.conf(node, daemon.split("-")[0])

    def write_configuration(self):
        (self.etc / "swift.conf").write_text(SWIFT_CONF)
        (self.etc / "container-reconciler.conf").write_text(RECONCILER.format(etc=self.etc, user=getpass.getuser()))
        addresses = [self.ip(node) for node in NODES]
        etc.make_rings(self.etc, addresses, part_power=6, replicas=3, device="sd1")
        for kind, port in KINDS.items():
            for node in NODES:
                self.device(node).mkdir(parents=True, exist_ok=True)
                text = STORAGE.format(
                    ip=self.ip(node),
                    port=port,
                    kind=kind,
                    etc=self.etc,
                    devices=self.device(node).parent,
                    recon=self.node_folder(node) / "recon",
                    rsync_port=RSYNC_PORT,
                    user=getpass.getuser(),
                )
                (self.node_folder(node) / "recon").mkdir(exist_ok=True)
                self.conf(node, kind).write_text(text)
        users = "".join(f"{name} = {value}\n" for name, value in etc.user_options(USERS).items())
        for maker in self.proxies:
            text = PROXY.format(
                ip=self.ip(maker),
                port=PROXY_PORT,
                etc=self.etc,
                pipeline=PIPELINE,
                users=users,
                memcached=f"{self.ip('memcached')}:{MEMCACHED_PORT}",
            )
            (self.etc / f"{maker}-proxy-server.conf").write_text(text)

    def start(self):
        for node in NODES:
            for kind in KINDS:
                self.start_server(node, kind, wait=False)
        for maker in self.proxies:
            self.launch(("proxy", maker), maker, "proxy-server", self.etc / f"{maker}-proxy-server.conf")
        for node in NODES:
            for kind, port in KINDS.items():
                self.wait_for((node, kind), self.ip(node), port)
        for maker in self.proxies:
            self.wait_for(("proxy", maker), self.ip(maker), PROXY_PORT)
        return self

    def launch(self, key, maker, role, conf):
        log = self.logs / f"{key[0]}-{key[1]}-{maker}.log"
        if maker == "apus":
            self.running[key] = Process(role, [role, conf], log).spawn()
        else:
            self.running[key] = SwiftProgram(self.programs, f"swift-{role}", str(conf), str(log))

    def wait_for(self, key, ip, port):
        wait_until(lambda: is_listening((ip, port)), f"{key} does not listen, see {self.logs}", seconds=60)

    def start_server(self, node, kind, maker=None, wait=True):
        maker = maker or self.makers(node, kind)
        self.launch((node, kind), maker, f"{kind}-server", self.conf(node, kind))
        if wait:
            self.wait_for((node, kind), self.ip(node), KINDS[kind])

    def stop_server(self, node, kind, sig=signal.SIGTERM):
        return self.running.pop((node, kind)).stop(sig)

    def once(self, node, daemon, maker=None, *options):
        """One pass of a daemon on one node."""
        maker = maker or self.makers(node, daemon.split("-")[0])
        conf = str(self.daemon_conf(node, daemon))
        log = str(self.logs / f"{node}-{daemon}-{maker}.log")
        if maker == "apus":
            with open(log, "ab") as file:
                command = [APUS, daemon, conf, "--once", *options]
                code = subprocess.run(command, stdout=file, stderr=file, timeout=120).returncode
        else:
            arguments = [conf, "once", "-v", *options]
            code = self.programs.ask(run=f"swift-{daemon}", arguments=arguments, log=log)["code"]
        assert code == 0, f"{daemon} of node {node} ended with {code}, see {log}"
        return Path(log).read_text()

    def start_rsyncd(self, node):
        conf = self.node_folder(node) / "rsyncd.conf"
        text = RSYNC.format(
            port=RSYNC_PORT, ip=self.ip(node), log=self.logs / f"{node}-rsyncd.log", pid=self.node_folder(node) / "rsyncd.pid"
        )
        if os.getuid() == 0:
            text += "uid = root\ngid = root\n"
        for kind in KINDS:
            text += f"[{kind}]\npath = {self.device(node).parent}\nread only = false\nmax connections = 8\n"
            text += f"lock file = {self.node_folder(node)}/{kind}.lock\n"
        conf.write_text(text)
        command = ["rsync", "--daemon", "--no-detach", f"--config={conf}"]
        self.rsyncds[node] = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.wait_for((node, "rsyncd"), self.ip(node), RSYNC_PORT)

    def empty_device(self, node):
        """Replaces the device by an empty one."""
        shutil.rmtree(self.device(node))
        self.device(node).mkdir()

    def stop(self):
        codes = {key: program.stop() for key, program in self.running.items()}
        self.running.clear()
        for process in self.rsyncds.values():
            process.terminate()
            process.wait()
        self.programs.end()
        self.memcached.stop()
        self.network.close()
        return codes
