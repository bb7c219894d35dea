"""A server that was just started refuses times that it may have promised to a conditional write. A write that only one
server accepted is still what every later read returns: it is written again at a later time.
"""

import itertools

import pytest

from apus_testing.steps import VERSIONING

NUMBERS = itertools.count()


class PromisedKey:
    """A bucket with an object whose servers have promised times of the next second, and forgot them but for one server."""

    def __init__(self, cluster, *, is_versioned, accepting):
        self.cluster, self.s3, self.name = cluster, cluster.s3(), f"promised-{next(NUMBERS)}"
        self.s3.put(self.name)
        self.s3.put(self.name, "key", b"first", {"If-None-Match": "*"})
        if is_versioned:
            self.s3.request("PUT", self.name, body=VERSIONING, query={"versioning": ""})
        primaries = cluster.placement("object", "AUTH_test", self.name, "key").primaries
        self.accepting = primaries[accepting]
        for node in primaries:
            if node is not self.accepting:
                node.kill("object")
        for node in primaries:
            node.start("object")

    def check(self, status, body, **options):
        """The same answer with all servers, and without the one that accepted the write at its first time."""
        for nodes in ((), (self.accepting,)):
            with self.cluster.without("object", *nodes):
                answer = self.s3.get(self.name, "key", expect=(200, 404), **options)
                assert (answer.status, answer.body if status == 200 else body) == (status, body), (nodes, answer)


@pytest.mark.parametrize("is_versioned", [True, False], ids=["versioned", "plain"])
@pytest.mark.parametrize("accepting", range(3))
def test_an_acknowledged_write_is_on_a_majority(cluster, is_versioned, accepting):
    key = PromisedKey(cluster, is_versioned=is_versioned, accepting=accepting)
    key.s3.put(key.name, "key", b"second")
    key.check(200, b"second")
    if is_versioned:
        key.check(200, b"first", query={"versionId": "null"})


@pytest.mark.parametrize("is_versioned", [True, False], ids=["versioned", "plain"])
@pytest.mark.parametrize("accepting", range(3))
def test_an_acknowledged_deletion_is_on_a_majority(cluster, is_versioned, accepting):
    key = PromisedKey(cluster, is_versioned=is_versioned, accepting=accepting)
    key.s3.delete(key.name, "key")
    key.check(404, b"")
    if is_versioned:
        key.check(200, b"first", query={"versionId": "null"})
