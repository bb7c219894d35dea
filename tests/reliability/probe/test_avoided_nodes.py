"""A proxy still asks nodes that it avoids after errors when it cannot do without them, so that a node that is back serves
the next request. Each test makes the proxy avoid them first, and does not wait.
"""

import itertools

import pytest

from apus_testing import devices

# As many errors as make a proxy avoid a node (lib/wire/src/error_limit.rs), and some more.
ERRORS = 12
LONG = b"0123456789" * 30_000
NUMBERS = itertools.count()


class Bucket:
    """A bucket with an object, `key`, and nodes that are made to be avoided."""

    def __init__(self, cluster):
        self.cluster, self.s3, self.name = cluster, cluster.s3(), f"avoided-{next(NUMBERS)}"
        self.s3.put(self.name)
        self.s3.put(self.name, "key", b"first")

    def placement(self, kind):
        names = {"account": [], "container": [self.name], "object": [self.name, "key"]}
        return self.cluster.placement(kind, "AUTH_test", *names[kind])

    def avoid(self, kind, *, killed=False):
        """Two of three primaries fail until they are avoided, and are back."""
        two = self.placement(kind).primaries[1:]

        def refused():
            return self.s3.get(self.name, "key" if kind == "object" else "", expect=503)

        if killed:
            with self.cluster.without(kind, *two):
                for _ in range(ERRORS):
                    refused()
        else:
            # One 507 is enough.
            with devices.gone(*two):
                refused()


@pytest.fixture
def bucket(cluster):
    return Bucket(cluster)


OBJECTS = {
    "read": lambda s3, name: s3.get(name, "key"),
    "head": lambda s3, name: s3.head(name, "key"),
    "write": lambda s3, name: s3.put(name, "key", b"second"),
    "long write": lambda s3, name: s3.put(name, "key", LONG),
    "conditional write": lambda s3, name: s3.put(name, "key", b"second", {"If-Match": s3.head(name, "key").headers["etag"]}),
    "deletion": lambda s3, name: s3.delete(name, "key"),
}


@pytest.mark.parametrize("operation", OBJECTS)
def test_object_servers_that_are_back_serve_the_next_request(bucket, operation):
    bucket.avoid("object")
    OBJECTS[operation](bucket.s3, bucket.name)


def test_processes_that_were_killed_and_are_back_serve_the_next_request(bucket):
    bucket.avoid("object", killed=True)
    assert bucket.s3.get(bucket.name, "key").body == b"first"


def test_a_conditional_write_takes_the_name_on_primaries_that_are_back(bucket):
    bucket.avoid("object", killed=True)
    bucket.s3.put(bucket.name, "key", b"second", {"If-None-Match": "*"}, expect=412)


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("operation", ["listing", "head", "write and listing"])
def test_container_servers_that_are_back_serve_the_next_request(bucket, operation, killed):
    bucket.avoid("container", killed=killed)
    if operation == "listing":
        assert set(bucket.s3.listing(bucket.name)) == {"key"}
    elif operation == "head":
        bucket.s3.head(bucket.name)
    else:
        bucket.s3.put(bucket.name, "another", b"")
        assert set(bucket.s3.listing(bucket.name)) == {"another", "key"}


def test_a_bucket_is_deleted_by_servers_that_are_back(bucket):
    bucket.s3.delete(bucket.name, "key")
    bucket.avoid("container")
    bucket.s3.delete(bucket.name)


@pytest.mark.parametrize("path", ["", "{name}", "{name}/key"])
def test_swifts_dialect_asks_them_when_no_other_node_knows(bucket, cluster, path):
    swift = cluster.swift()
    swift.authenticate()
    path = path.format(name=bucket.name)
    with devices.gone(*cluster.nodes):
        swift.head(path, expect=503)
    swift.head(path)
