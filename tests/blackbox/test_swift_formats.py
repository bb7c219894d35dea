"""Swift's formats on disk: Swift's disks served by Apus, and Apus's disks read by Swift's own code."""

import hashlib
import os
import subprocess
import sys
from urllib.parse import quote

import pytest
import requests

from apus_testing import swift_disk
from apus_testing.executables import APUS
from apus_testing.saio import Saio

PROXY = """
[DEFAULT]
bind_ip = {ip}
bind_port = {port}
[app:proxy-server]
use = egg:swift#proxy
[filter:tempauth]
token_key = 0123456789abcdef0123456789abcdef
user_test_tester = testing .admin
"""
STORAGE = """
[DEFAULT]
devices = {devices}
mount_check = false
bind_ip = {ip}
bind_port = {port}
fallocate_reserve = 0
"""


class Drive:
    """Requests to one account."""

    def __init__(self, url, token):
        self.url, self.headers = url, {"X-Auth-Token": token}

    def get(self, path):
        return requests.get(self.url + path, headers=self.headers, timeout=20)


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    """Our servers on the disks that Swift wrote, with Swift's rings and swift.conf."""
    folder = tmp_path_factory.mktemp("drive")
    swift_disk.unpack(folder)
    etc = folder / "etc"
    (etc / "proxy-server.conf").write_text(PROXY.format(ip=swift_disk.IP, port=swift_disk.PORTS["proxy"]))
    for kind in ("object", "container", "account"):
        text = STORAGE.format(ip=swift_disk.IP, port=swift_disk.PORTS[kind], devices=folder / "srv")
        (etc / f"{kind}-server.conf").write_text(text)
    process = subprocess.Popen([APUS, "all", str(etc)], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "ready" in line:
            break
    else:
        pytest.fail(f"ended with {process.wait()}")
    url = f"http://{swift_disk.IP}:{swift_disk.PORTS['proxy']}"
    answer = requests.get(f"{url}/auth/v1.0", headers={"X-Auth-User": "test:tester", "X-Auth-Key": "testing"}, timeout=10)
    yield Drive(answer.headers["X-Storage-Url"], answer.headers["X-Auth-Token"])
    process.terminate()
    assert process.wait(timeout=30) == 0


@pytest.fixture(scope="module")
def expected():
    return swift_disk.expected()


def test_every_container_listing_of_swifts_drive_is_the_same(drive, expected):
    compared = 0
    for name, container in expected["containers"].items():
        answer = drive.get(f"/{quote(name)}?format=json")
        assert answer.status_code == 200, name
        fields = ["name", "bytes", "hash", "content_type", "last_modified", "slo_etag", "s3_etag"]

        def rows(listing):
            return [{field: row.get(field) for field in fields} for row in listing]

        assert rows(answer.json()) == rows(container["listing"]), name
        for header in ["X-Container-Object-Count", "X-Container-Bytes-Used", "X-Storage-Policy"]:
            if (name, header) == ("versioned", "X-Container-Bytes-Used"):
                continue  # counts the hidden versions as well once versioning is served
            assert answer.headers[header] == container["headers"][header], (name, header)
        compared += len(container["listing"])
    assert compared > 50


def test_the_account_of_swifts_drive_is_the_same(drive, expected):
    answer = drive.get("?format=json")
    names = [row["name"] for row in expected["account"]["listing"]]
    # Swift hides the container that holds old versions, whose name is reserved.
    assert [row["name"] for row in answer.json() if not row["name"].startswith("\0")] == names
    assert answer.headers["X-Account-Meta-Color"] == "blue"


def test_every_replicated_object_of_swifts_drive_has_the_same_bytes_and_headers(drive, expected):
    compared = 0
    for name, wanted in expected["objects"].items():
        answer = drive.get(f"/{quote(name)}")
        if name.startswith("ec/"):
            assert answer.status_code == 503, name
            continue
        assert answer.status_code == 200, name
        assert hashlib.sha256(answer.content).hexdigest() == wanted["sha256"], name
        for header, value in wanted["headers"].items():
            if header == "X-Object-Version-Id":
                continue
            found = answer.headers.get(header, "").encode("latin-1").decode()
            assert found == value, (name, header)
        compared += 1
    assert compared > 50


# Reads objects and databases of a cluster with Swift's own code; the argument is its folder.
READ_BY_SWIFT = """
import sys
from pathlib import Path
root = Path(sys.argv[1])
import swift.common.utils as utils
utils.SWIFT_CONF_FILE = str(root / 'etc/swift.conf')
utils.HASH_PATH_PREFIX = utils.HASH_PATH_SUFFIX = b''
import configparser
conf = configparser.ConfigParser(); conf.read(root / 'etc/swift.conf')
utils.HASH_PATH_PREFIX = conf['swift-hash']['swift_hash_path_prefix'].encode()
utils.HASH_PATH_SUFFIX = conf['swift-hash']['swift_hash_path_suffix'].encode()
import swift.common.storage_policy as sp
sp._POLICIES = sp.StoragePolicyCollection([sp.StoragePolicy(0, 'gold', True)])
from swift.common.ring import Ring
from swift.obj import diskfile
from swift.container.backend import ContainerBroker
from swift.account.backend import AccountBroker
import logging
logger = logging.getLogger(); logger.set_statsd_prefix = lambda *a: None

def hashed(*names):
    return utils.hash_path(*names)

ring = Ring(str(root / 'etc'), ring_name='object')
conf = dict(devices=str(root / 'devices'), mount_check='false')
manager = diskfile.DiskFileManager(conf, logger)
checked = 0
for name in ['o ü', 'posted']:
    part, nodes = ring.get_nodes('AUTH_test', 'c', name)
    for node in nodes:
        df = manager.get_diskfile(node['device'], part, 'AUTH_test', 'c', name, policy=sp.POLICIES[0])
        with df.open():
            metadata = df.get_metadata()
            assert metadata['name'] == '/AUTH_test/c/' + name, metadata
            data = b''.join(df.reader())
        if name == 'posted':
            assert metadata['X-Object-Meta-New'] == '2' and 'X-Object-Meta-Old' not in metadata
            assert metadata['Content-Type'] == 'a/b'
        else:
            # Swift hands header values out as WSGI strings.
            assert metadata['X-Object-Meta-Color'].encode('latin-1').decode() == 'rot ü'
            assert (metadata['X-Object-Meta-Foo=5Fbar'], metadata['X-Object-Meta-Foo-Bar']) == ('under', 'dash')
            assert len(data) == 200000
        checked += 1
part, nodes = ring.get_nodes('AUTH_test', 'c', 'gone')
for node in nodes:
    df = manager.get_diskfile(node['device'], part, 'AUTH_test', 'c', 'gone', policy=sp.POLICIES[0])
    try:
        df.open()
    except diskfile.DiskFileDeleted:
        checked += 1
part, nodes = Ring(str(root / 'etc'), ring_name='container').get_nodes('AUTH_test', 'c')
for node in nodes:
    key = hashed('AUTH_test', 'c')
    db = root / 'devices' / node['device'] / 'containers' / str(part) / key[-3:] / key / (key + '.db')
    broker = ContainerBroker(str(db), account='AUTH_test', container='c')
    rows = broker.list_objects_iter(100, '', '', '', '')
    assert [row[0] for row in rows] == ['o ü', 'posted'], rows
    info = broker.get_info()
    assert info['object_count'] == 2 and info['bytes_used'] == 200001, info
    assert broker.metadata['X-Container-Meta-A'][0] == 'bücher ☃', broker.metadata
    # The rolling hash is that of the rows, so Swift's replicator agrees with ours.
    from swift.common.db import chexor
    rolling = '0' * 32
    for item in broker.get_items_since(-1, 100):
        rolling = chexor(rolling, item['name'], item['created_at'])
    assert rolling == info['hash'], (rolling, info['hash'])
    checked += 1
part, nodes = Ring(str(root / 'etc'), ring_name='account').get_nodes('AUTH_test')
for node in nodes:
    key = hashed('AUTH_test')
    db = root / 'devices' / node['device'] / 'accounts' / str(part) / key[-3:] / key / (key + '.db')
    broker = AccountBroker(str(db), account='AUTH_test')
    rows = list(broker.list_containers_iter(100, '', '', '', ''))
    assert [row[0] for row in rows] == ['c'] and rows[0][1] == 2, rows
    checked += 1
print('checked', checked)
"""


def test_swifts_own_code_reads_what_our_servers_wrote(tmp_path):
    cluster = Saio(tmp_path / "data", "--dev-users").start()
    swift = cluster.swift()
    swift.put_container("c", headers={"X-Container-Meta-A": "bücher ☃"})
    body = os.urandom(200_000)
    swift.put_object("c", "o ü", body, content_type="x/y", headers={"X-Object-Meta-Color": "rot ü"})
    # As its s3api spells names with an underscore.
    swift.post_object("c", "o ü", {"X-Object-Meta-Color": "rot ü", "X-Object-Meta-Foo_Bar": "under", "X-Object-Meta-Foo-Bar": "dash"})
    shown = swift.head_object("c", "o ü")
    assert (shown["x-object-meta-foo_bar"], shown["x-object-meta-foo-bar"]) == ("under", "dash")
    swift.put_object("c", "gone", b"x")
    swift.delete_object("c", "gone")
    swift.put_object("c", "posted", b"1", headers={"X-Object-Meta-Old": "1"})
    swift.post_object("c", "posted", {"X-Object-Meta-New": "2", "Content-Type": "a/b"})
    # Account rows of changed containers are sent on the way out.
    assert cluster.stop() == 0
    done = subprocess.run([sys.executable, "-c", READ_BY_SWIFT, str(tmp_path / "data")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["checked", "15"]
