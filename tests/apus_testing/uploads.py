"""Uploads that stay in flight until a test finishes them."""

import http.client
import time

from . import etc


class Upload:
    """A PUT whose body is sent by `finish`."""

    def __init__(self, address, path, headers, body=b"body" * 10):
        self.body = body
        self.connection = http.client.HTTPConnection(*address, timeout=20)
        self.connection.putrequest("PUT", path)
        for name, value in {**headers, "Content-Length": len(body)}.items():
            self.connection.putheader(name, value)
        self.connection.endheaders()
        # Some of it, so that the server is at it.
        self.connection.send(body[:4])

    def finish(self):
        self.connection.send(self.body[4:])
        answer = self.connection.getresponse()
        answer.read()
        self.connection.close()
        return answer.status


def object_upload(cluster, name):
    node = cluster.nodes[0]
    headers = {"X-Timestamp": f"{time.time():016.5f}", "Content-Type": "a/b", "X-Backend-Storage-Policy-Index": "0"}
    return node.servers["object"], Upload((node.address, etc.KINDS["object"]), f"/{node.device}/1/AUTH_t/c/{name}", headers)


def proxy_upload(cluster, swift, container, name):
    headers = {"X-Auth-Token": swift.token}
    return cluster.proxy, Upload(cluster.proxy.address, f"/v1/{swift.account}/{container}/{name}", headers)
