"""What the reliability tests share: clusters of real processes, a client with an account of its own for each test."""

import itertools
import os
import time

import pytest

from apus_testing.cluster import Cluster

ACCOUNTS = itertools.count()


@pytest.fixture(scope="module")
def bed():
    """Four nodes and a proxy, started once a module."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(bed):
    """The module's cluster with every process there and nothing remembered by the proxy."""
    bed.faults.disarm()
    bed.start()
    bed.restart_proxies()
    return bed


@pytest.fixture
def swift(cluster):
    """A client with an account of its own."""
    return cluster.swift(f"own{next(ACCOUNTS) % 100}:tester")


@pytest.fixture
def container(swift):
    """The name of a container that was just made."""
    name = f"container-{time.time_ns()}"
    swift.put(name)
    return name


def pytest_terminal_summary(terminalreporter):
    skipped = len(terminalreporter.stats.get("skipped", []))
    if skipped and os.environ.get("CI"):
        terminalreporter.write_line(f"reliability: {skipped} skipped in CI", red=True)


def pytest_sessionfinish(session, exitstatus):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = 1
