"""Clusters whose servers are partly Apus's and partly Swift's."""

import pytest

from apus_testing.testbed import Testbed


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Starts clusters; a test passes the function of node and kind that chooses the servers."""
    running = []

    def start(makers):
        testbed = Testbed(tmp_path_factory.mktemp("mixed") / "cluster", makers)
        running.append(testbed)
        return testbed.start()

    yield start
    for testbed in running:
        testbed.stop()
