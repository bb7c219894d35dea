"""Damaged object files: quarantined, never served as a whole (Swift's `test_object_failures`, without erasure coding)."""

import os
import time
from contextlib import suppress

import pytest
from swift.obj.diskfile import read_metadata, write_metadata

from apus_testing.waiting import wait_until


class Copy:
    """The copy of an object on its first primary."""

    def __init__(self, cluster, swift, container, body):
        self.names = [swift.account, container, f"object-{time.time_ns()}"]
        swift.put("/".join(self.names[1:]), body)
        self.placement = cluster.placement("object", *self.names)
        self.node = self.placement.primaries[0]
        # A PUT is acknowledged by a majority.
        self.file = wait_until(lambda: self.find(body), "the first primary has no data file")

    def find(self, body):
        files = self.node.disk.glob(f"objects/{self.placement.partition}/*/*/*.data")
        return next((file for file in files if file.read_bytes() == body), None)

    def request(self, method, headers=None):
        return self.node.direct("object").request(method, self.placement.partition, self.names, headers)

    def quarantined(self):
        return list(self.node.disk.glob(f"quarantined/objects/{self.file.parent.name}*"))

    def rewrite_metadata(self, **changes):
        # Ours stores a CRC of the body with the metadata; without it the ETag is checked.
        if "user.apus.crc64nvme" in os.listxattr(self.file):
            os.removexattr(self.file, "user.apus.crc64nvme")
        write_metadata(str(self.file), {**read_metadata(str(self.file)), **changes})


def test_a_body_that_is_not_what_its_etag_says_is_quarantined_by_the_read_that_finds_it(cluster, swift, container):
    copy = Copy(cluster, swift, container, b"VERIFY" * 7)
    copy.rewrite_metadata(ETag="badetag")
    try:
        # The first read gives the bytes; a client that reads to the end gets a broken response or a wrong ETag.
        first = copy.request("GET")
        assert first.status in (200, 404)
    except OSError:
        pass
    wait_until(lambda: copy.request("GET").status == 404, "it is still served")
    assert len(copy.quarantined()) == 1


@pytest.mark.parametrize("asked", ["bytes=0-2", "bytes=1-40", "bytes=0-40"])
def test_ranges_of_such_a_body_are_not_served_either(cluster, swift, container, asked):
    # Swift serves them: it checks whole bodies only, and its test says so.
    copy = Copy(cluster, swift, container, b"RANGE-OF-BYTES")
    copy.rewrite_metadata(ETag="badetag")
    with suppress(OSError):
        assert copy.request("GET", {"Range": asked}).status == 404
    wait_until(lambda: copy.request("GET").status == 404, "it is still served")
    assert len(copy.quarantined()) == 1
    assert swift.get("/".join(copy.names[1:]), {"Range": "bytes=0-2"}).body == b"RAN"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_an_emptied_file_is_quarantined_by_any_request(cluster, swift, container, method):
    copy = Copy(cluster, swift, container, b"DATA")
    metadata = read_metadata(str(copy.file))
    copy.file.unlink()
    with open(copy.file, "w") as emptied:
        write_metadata(emptied, metadata)
    try:
        assert copy.request(method, {"X-Object-Meta-1": "One"} if method == "POST" else None).status == 404
    except OSError:
        assert method == "GET"
    wait_until(copy.quarantined, "it is not quarantined")
    # The other copies serve.
    assert swift.get("/".join(copy.names[1:])).body == b"DATA"
