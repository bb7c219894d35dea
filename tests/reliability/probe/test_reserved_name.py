"""Names that begin with NUL belong to the cluster itself (Swift's `test_reserved_name`)."""

from io import BytesIO


def test_clients_cannot_reach_reserved_names_and_daemons_can(cluster, swift):
    internal = cluster.internal()
    swift.put("container")
    internal.create_container(swift.account, "\0container")
    assert [row["name"] for row in internal.iter_containers(swift.account)] == ["\0container", "container"]
    assert swift.names() == ["container"], "reserved names are not listed"
    for method in ("HEAD", "GET", "PUT", "POST", "DELETE"):
        swift.request(method, "\0container", expect=412)
    internal.upload_object(BytesIO(b"data"), swift.account, "\0container", "\0obj")
    assert internal.get_object_metadata(swift.account, "\0container", "\0obj")["content-length"] == "4"
    _, _, body = internal.get_object(swift.account, "\0container", "\0obj")
    assert b"".join(body) == b"data"
    assert [row["name"] for row in internal.iter_objects(swift.account, "\0container")] == ["\0obj"]
    for method in ("HEAD", "GET", "PUT", "POST", "DELETE"):
        swift.request(method, "\0container/\0obj", expect=412)
    for container, name in [("\0container", "obj"), ("container", "\0obj")]:
        internal.upload_object(BytesIO(b"data"), swift.account, container, name, acceptable_statuses=(400,))
    internal.delete_object(swift.account, "\0container", "\0obj")
    internal.delete_container(swift.account, "\0container")


def test_a_symlink_leads_no_client_to_a_reserved_name(cluster, swift):
    internal = cluster.internal()
    swift.put("links")
    internal.create_container(swift.account, "\0target")
    internal.upload_object(BytesIO(b"target object"), swift.account, "\0target", "\0obj")
    etag = internal.get_object_metadata(swift.account, "\0target", "\0obj")["etag"]
    link = {"X-Symlink-Target": "%00target/%00obj", "Content-Type": "application/symlink"}
    swift.put("links/dynamic", b"", link, expect=412)
    internal.upload_object(BytesIO(b""), swift.account, "links", "planted", headers={"X-Object-Sysmeta-Symlink-Target": "%00target/%00obj"})
    swift.get("links/planted", expect=412)
    swift.put("links/static", b"", {**link, "X-Symlink-Target-Etag": etag}, expect=412)
    internal.upload_object(
        BytesIO(b""),
        swift.account,
        "links",
        "swifts",
        headers={"X-Object-Sysmeta-Symlink-Target": "%00target/%00obj", "X-Object-Sysmeta-Allow-Reserved-Names": "true"},
    )
    assert swift.get("links/swifts").body == b"target object"
