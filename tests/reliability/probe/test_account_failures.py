"""Account servers that are down while containers change (Swift's `test_account_failures`)."""


def totals(headers):
    names = ("x-account-container-count", "x-account-object-count", "x-account-bytes-used")
    return tuple(int(headers[name]) for name in names)


def rows(answer):
    return {row["name"]: (row["count"], row["bytes"]) for row in answer.json()}


def test_counts_are_stale_while_account_servers_are_away_and_exact_after_updater_and_replicator(cluster, swift):
    swift.put("one")
    swift.put("other")
    assert totals(swift.head().headers) == (2, 0, 0)
    swift.put("other/object1", b"1234")
    cluster.once("container-updater", "account-replicator")
    listed = swift.get(query="format=json")
    assert totals(listed.headers) == (2, 1, 4) and rows(listed) == {"one": (0, 0), "other": (1, 4)}

    placement = cluster.placement("account", swift.account)
    away = placement.primaries[0]
    with cluster.without("account", away, *placement.handoffs):
        swift.delete("one")
        swift.put("other/object2", b"12345")
        cluster.once("container-updater")
        listed = swift.get(query="format=json")
        assert totals(listed.headers) == (1, 2, 9) and rows(listed) == {"other": (2, 9)}

    def direct():
        return away.direct("account").request("GET", placement.partition, [swift.account], query="format=json", expect=2)

    assert totals(direct().headers) == (2, 1, 4) and rows(direct()) == {"one": (0, 0), "other": (1, 4)}
    cluster.once("account-replicator", "container-updater", "account-replicator")
    assert totals(direct().headers) == (1, 2, 9) and rows(direct()) == {"other": (2, 9)}
