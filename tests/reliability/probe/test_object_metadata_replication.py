"""PUT, POST and DELETE on different halves in every order: the newest of each part wins everywhere
(Swift's `test_object_metadata_replication`).

The halves are two primaries, and the third with the handoff. System metadata is set through Swift's own proxy as a
library, as Swift's test does it.
"""

from contextlib import contextmanager
from io import BytesIO

import pytest

from apus_testing import checkers, quiesce

NAME = "object"


class Case:
    def __init__(self, cluster, swift, container):
        self.cluster, self.swift, self.container = cluster, swift, container
        self.objects = cluster.placement("object", swift.account, container, NAME)
        self.containers = cluster.placement("container", swift.account, container)
        self.internal = cluster.internal()

    @contextmanager
    def on(self, half):
        """Only this half is there: `primary` or `handoff`."""
        away = "handoff_half" if half == "primary" else "primary_half"
        objects, containers = getattr(self.objects, away), getattr(self.containers, away)
        with self.cluster.without("object", *objects), self.cluster.without("container", *containers):
            yield

    def put(self, headers=None, body=b"stuff"):
        self.internal.upload_object(BytesIO(body), self.swift.account, self.container, NAME, headers or {})

    def post(self, headers):
        self.internal.set_object_metadata(self.swift.account, self.container, NAME, headers)

    def delete(self):
        self.internal.delete_object(self.swift.account, self.container, NAME)

    def head(self, statuses=(2,)):
        return self.internal.get_object_metadata(self.swift.account, self.container, NAME, acceptable_statuses=statuses)

    def expect(self, present, absent=()):
        metadata = self.head()
        assert {name: metadata.get(name) for name in present} == present
        assert not [name for name in absent if name in metadata]

    def settle(self):
        quiesce.to_final_state(self.cluster)

    def check_consistent(self, **row):
        """Files, rows and hashes of all replicas are the same, and the listing is the object's."""
        findings = checkers.Findings()
        metadata = checkers.check_object(self.cluster, findings, self.swift.account, self.container, NAME)
        checkers.check_suffix_hashes(self.cluster, findings, self.swift.account, self.container, NAME)
        rows = checkers.container_rows(self.cluster, self.swift.account, self.container)
        if len({info["hash"] for _, info, _ in rows}) != 1:
            findings.say(f"databases differ: {rows}")
        findings.check()
        if metadata is None:
            assert self.swift.names(self.container) == []
            return
        head = self.swift.head(f"{self.container}/{NAME}").headers
        (listed,) = self.swift.listing(self.container)
        assert listed["bytes"] == int(head["content-length"]) and listed["hash"] == head["etag"].strip('"')
        assert listed["content_type"] == head["content-type"]
        for key, value in row.items():
            assert listed[key] == value


@pytest.fixture
def case(cluster, swift, container):
    return Case(cluster, swift, container)


def test_a_deletion_is_replicated_and_a_later_object_too(case):
    case.put()
    with case.on("handoff"):
        case.put()
    with case.on("primary"):
        case.delete()
    case.settle()
    with case.on("handoff"):
        case.head((4,))
    with case.on("primary"):
        case.head((4,))
        case.put()
    case.settle()
    for half in ("handoff", "primary"):
        with case.on(half):
            case.head()


def test_newer_data_is_replicated_below_a_later_post(case):
    case.put({"Content-Type": "foo"}, b"older")
    with case.on("handoff"):
        case.put({"Content-Type": "bar"}, b"newer")
        etag = case.head()["etag"]
    case.post({"x-object-meta-bar": "meta-bar"})
    case.settle()
    with case.on("primary"):
        case.expect({"etag": etag, "content-type": "bar", "x-object-meta-bar": "meta-bar"})
    case.check_consistent()


def test_system_metadata_of_a_later_put_wins(case):
    with case.on("handoff"):
        case.put({"x-object-sysmeta-foo": "older"})
        case.expect({"x-object-sysmeta-foo": "older"})
    expected = {"x-object-sysmeta-foo": "newer", "x-object-meta-bar": "meta-bar"}
    with case.on("primary"):
        case.put({"x-object-sysmeta-foo": "newer"})
        case.post({"x-object-meta-bar": "meta-bar"})
        case.expect(expected)
    case.settle()
    for half in ("handoff", "primary"):
        with case.on(half):
            case.expect(expected)
    case.check_consistent()


def test_system_metadata_of_a_put_stays_below_a_later_post(case):
    posted = {"x-object-meta-bar": "meta-bar", "x-object-transient-sysmeta-bar": "transient"}
    case.put()
    with case.on("handoff"):
        case.put({"x-object-sysmeta-foo": "sysmeta-foo"})
    with case.on("primary"):
        case.post(posted)
        case.expect(posted, absent=["x-object-sysmeta-foo"])
    case.settle()
    for half in ("handoff", "primary"):
        with case.on(half):
            case.expect({"x-object-sysmeta-foo": "sysmeta-foo", **posted})
    case.check_consistent()


def test_a_post_before_a_put_is_gone(case):
    posted = {"x-object-meta-bar": "meta-bar", "x-object-transient-sysmeta-bar": "transient"}
    case.put()
    with case.on("primary"):
        case.post(posted)
        case.expect(posted)
    with case.on("handoff"):
        case.put({"x-object-sysmeta-foo": "sysmeta-foo"})
    case.settle()
    for half in ("handoff", "primary"):
        with case.on(half):
            case.expect({"x-object-sysmeta-foo": "sysmeta-foo"}, absent=posted)
    case.check_consistent()


def test_a_posted_content_type_wins_over_incomplete_puts_before_it(case):
    with case.on("primary"):
        case.put({"Content-Type": "foo"})
    with case.on("handoff"):
        case.put({"Content-Type": "bar"})
    with case.on("primary"):
        case.post({"Content-Type": "baz"})
    case.settle()
    case.check_consistent(content_type="baz")


def test_a_put_content_type_stays_below_a_later_post_without_one(case):
    with case.on("primary"):
        case.put({"Content-Type": "foo"})
    with case.on("handoff"):
        case.put({"Content-Type": "bar"})
    with case.on("primary"):
        case.post({"X-Object-Meta-Color": "Blue"})
    case.settle()
    case.expect({"x-object-meta-color": "Blue"})
    case.check_consistent(content_type="bar")


def test_a_posted_content_type_stays_below_a_later_post_without_one(case):
    with case.on("primary"):
        case.put({"Content-Type": "foo", "X-Object-Sysmeta-Test": "older"})
    with case.on("handoff"):
        case.put({"Content-Type": "bar", "X-Object-Sysmeta-Test": "newer"})
    with case.on("primary"):
        case.post({"Content-Type": "bif"})
    with case.on("handoff"):
        case.post({"Content-Type": "baz", "X-Object-Meta-Color": "Red"})
    case.post({"X-Object-Meta-Color": "Blue", "X-Object-Sysmeta-Test": "ignored"})
    case.settle()
    case.expect({"x-object-meta-color": "Blue", "x-object-sysmeta-test": "newer"})
    case.check_consistent(content_type="baz")


def test_a_put_content_type_stays_below_several_later_posts_without_one(case):
    case.put({"Content-Type": "foo", "X-Object-Sysmeta-Test": "older"})
    with case.on("handoff"):
        case.put({"Content-Type": "bar", "X-Object-Sysmeta-Test": "newer"})
    with case.on("primary"):
        case.post({"X-Object-Meta-Color": "Red", "X-Object-Sysmeta-Test": "ignored"})
    with case.on("handoff"):
        case.post({"X-Object-Meta-Color": "Blue"})
    case.settle()
    case.expect({"x-object-meta-color": "Blue", "x-object-sysmeta-test": "newer"})
    case.check_consistent(content_type="bar")


def test_posted_metadata_stays_over_an_earlier_put_but_its_older_content_type_does_not(case):
    oldest = {"Content-Type": "oldest", "X-Object-Sysmeta-Test": "oldest", "X-Object-Meta-Test": "oldest"}
    with case.on("handoff"):
        case.put(oldest)
    with case.on("primary"):
        case.put(oldest)
    with case.on("handoff"):
        case.post({"Content-Type": "newer", "X-Object-Meta-Test": "newer"})
    with case.on("primary"):
        case.put({"Content-Type": "newest", "X-Object-Sysmeta-Test": "newest", "X-Object-Meta-Test": "newer"})
    with case.on("handoff"):
        case.post({"X-Object-Meta-Test": "newest"})
        case.expect({"x-object-meta-test": "newest", "content-type": "newer"})
    case.settle()
    case.expect({"x-object-meta-test": "newest", "x-object-sysmeta-test": "newest", "content-type": "newest"})
    case.check_consistent(content_type="newest")


def test_an_older_deletion_wins_over_a_later_post(case):
    oldest = {"Content-Type": "oldest", "X-Object-Sysmeta-Test": "oldest", "X-Object-Meta-Test": "oldest"}
    with case.on("handoff"):
        case.put(oldest)
    with case.on("primary"):
        case.put(oldest)
        case.delete()
    with case.on("handoff"):
        case.post({"Content-Type": "newest", "X-Object-Sysmeta-Test": "ignored", "X-Object-Meta-Test": "newest"})
        case.expect({"x-object-sysmeta-test": "oldest", "x-object-meta-test": "newest", "content-type": "newest"})
    case.settle()
    case.head((4,))
    case.check_consistent()
