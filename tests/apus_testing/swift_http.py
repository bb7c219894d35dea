"""Requests to Swift's dialect as they are written here: nothing is quoted, joined or retried."""

import http.client


class SwiftHttp:
    """One user's requests. `path` begins below the user's account."""

    def __init__(self, cluster, user="test:tester", key="testing"):
        self.port = cluster.port
        status, headers, _ = self.raw("GET", "/auth/v1.0", {"X-Auth-User": user, "X-Auth-Key": key})
        assert status == 200, status
        self.token = headers["x-auth-token"]
        self.root = "/v1/" + headers["x-storage-url"].rsplit("/", 1)[1]

    @classmethod
    def with_object(cls, cluster):
        """With a container `c` and an object `o` of four bytes in it."""
        swift = cls(cluster)
        assert swift("PUT", "/c")[0] == 201
        assert swift("PUT", "/c/o", body=b"data")[0] == 201
        return swift

    def raw(self, method, target, headers=(), body=b""):
        """Status, headers by lower-case name, and body. `headers` are a dict or pairs."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        pairs = list(headers.items() if isinstance(headers, dict) else headers)
        names = {name.lower() for name, _ in pairs}
        connection.putrequest(method, target, skip_host="host" in names, skip_accept_encoding=True)
        for name, value in pairs:
            connection.putheader(name, value)
        if "content-length" not in names and "transfer-encoding" not in names:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content

    def __call__(self, method, path="", headers=(), body=b""):
        pairs = list(headers.items() if isinstance(headers, dict) else headers)
        return self.raw(method, self.root + path, [("X-Auth-Token", self.token), *pairs], body)

    def names(self, container):
        """What a plain listing of a container has."""
        return self("GET", f"/{container}")[2].decode().splitlines()
