"""Everything that one proxy writes the other reads, over servers of either kind."""

import pytest

from apus_testing.workload import Workload

SERVERS = {
    "swift": lambda node, kind: "swift",
    "apus": lambda node, kind: "apus",
    "half": lambda node, kind: "swift" if node <= 2 else "apus",
}


@pytest.mark.parametrize("servers", SERVERS)
def test_both_proxies_see_the_same_over(mixed, servers):
    testbed = mixed(SERVERS[servers])
    apus, swift = testbed.proxies["apus"], testbed.proxies["swift"]
    for name, first, second in [("one", apus, swift), ("two", swift, apus)]:
        Workload(name, first, second, exact=servers != "half").run().verify()
