"""A write that failed may have been stored by one server of three. Reads then return what was there before, or the failed
write, but never the one and later the other.
"""

import itertools

import pytest

from apus_testing.clients import Refused
from apus_testing.waiting import wait_until

NUMBERS = itertools.count()
READS = 12
WRITES = {
    "put": lambda s3, bucket: s3.put(bucket, "key", b"second"),
    "deletion": lambda s3, bucket: s3.delete(bucket, "key"),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("stored_by", range(3))
def test_a_failed_write_that_was_read_once_is_not_taken_back(cluster, write, stored_by):
    s3, bucket = cluster.s3(), f"failed-{next(NUMBERS)}"
    s3.put(bucket)
    s3.put(bucket, "key", b"first")
    primaries = cluster.placement("object", "AUTH_test", bucket, "key").primaries
    others = [node for index, node in enumerate(primaries) if index != stored_by]
    for node in others:
        cluster.faults.arm(f"{node.name}-object-server", "object.write.prepared kill")
    with pytest.raises(Refused):
        WRITES[write](s3, bucket)
    cluster.faults.disarm()
    for node in others:
        wait_until(lambda node=node: node.servers["object"].was_killed, f"{node} did not die")
        node.start("object")
    answers = [s3.get(bucket, "key", expect=(200, 404)) for _ in range(READS)]
    seen = [answer.body if answer.status == 200 else None for answer in answers]
    # The first reads may return the object before the write.
    new = b"second" if write == "put" else None
    from_then = seen[seen.index(new) :] if new in seen else []
    assert set(from_then) <= {new}, seen
    assert set(seen) <= {b"first", new}, seen
