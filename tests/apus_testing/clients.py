"""Clients over kept connections, light enough for workloads: Swift, S3 (Signature Version 4), and server to server."""

import datetime
import hashlib
import hmac
import http.client
import pickle
import select
import threading
import time
import xml.etree.ElementTree
from urllib.parse import quote

from .answers import TIMEOUT_SECONDS, Answer


class Refused(Exception):
    """A response with a status that the caller did not expect."""

    def __init__(self, what, answer):
        super().__init__(f"{what}: {answer.status} {answer.body[:300]!r}")
        self.answer, self.status = answer, answer.status


def is_expected(status, expect):
    """`expect`: one status, several, or a class as 2."""
    wanted = expect if isinstance(expect, tuple | list | set) else (expect,)
    return any(status // 100 == one if one < 10 else status == one for one in wanted)


def has_input(sock):
    """Whether a socket can be read now; without a request in flight, its other end has closed it."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


class Connection:
    """One kept connection a thread; a request is never sent twice."""

    def __init__(self, address, timeout=TIMEOUT_SECONDS):
        self.address, self.timeout = address, timeout
        self.local = threading.local()

    def request(self, method, path, headers, body=None):
        """Raises OSError (or http.client's) when no whole answer came: the outcome is then unknown."""
        connection = getattr(self.local, "connection", None)
        if connection is not None and (connection.sock is None or has_input(connection.sock)):
            # The server closed it, or it was never used: nothing is lost by a new one.
            self.forget()
            connection = None
        if connection is None:
            connection = self.local.connection = http.client.HTTPConnection(self.address[0], self.address[1], timeout=self.timeout)
        try:
            connection.request(method, path, body=body, headers=headers, encode_chunked=body_is_chunked(body))
            response = connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.forget()
            raise error if isinstance(error, OSError) else OSError(f"{type(error).__name__}: {error}") from error
        if response.will_close:
            self.forget()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, data)

    def forget(self):
        if connection := getattr(self.local, "connection", None):
            connection.close()
        self.local.connection = None


def body_is_chunked(body):
    return body is not None and not isinstance(body, bytes | str)


class Swift:
    """Paths are below the account: `put("c/o", b"…")`. Unexpected answers are `Refused`."""

    def __init__(self, address, user, key, account=None):
        self.connection, self.user, self.key = Connection(address), user, key
        self.account = account or f"AUTH_{user.partition(':')[0]}"
        self.token = None

    def authenticate(self):
        headers = {"X-Auth-User": self.user, "X-Auth-Key": self.key}
        answer = self.connection.request("GET", "/auth/v1.0", headers)
        if answer.status != 200:
            raise Refused("auth", answer)
        self.token = answer.headers["x-auth-token"]

    def request(self, method, path="", body=None, headers=None, query="", expect=2):
        if self.token is None:
            self.authenticate()
        sent = {"X-Auth-Token": self.token, **(headers or {})}
        if method in ("PUT", "POST") and body is None:
            body = b""
        target = f"/v1/{self.account}" + (f"/{quote(path)}" if path else "") + (f"?{query}" if query else "")
        answer = self.connection.request(method, target, sent, body)
        if not is_expected(answer.status, expect):
            raise Refused(f"{method} {target}", answer)
        return answer

    def put(self, path, body=b"", headers=None, **options):
        return self.request("PUT", path, body, headers, **options)

    def post(self, path, headers=None, **options):
        return self.request("POST", path, b"", headers, **options)

    def get(self, path="", headers=None, **options):
        return self.request("GET", path, None, headers, **options)

    def head(self, path="", headers=None, **options):
        return self.request("HEAD", path, None, headers, **options)

    def delete(self, path, headers=None, **options):
        return self.request("DELETE", path, None, headers, **options)

    def listing(self, container="", **options):
        """All rows of an account or a container."""
        rows, marker = [], ""
        while True:
            page = self.get(container, query=f"format=json&limit=10000&marker={quote(marker, safe='')}", **options)
            page = page.json() if page.body else []
            rows += page
            if len(page) < 10000:
                return rows
            marker = page[-1].get("name") or page[-1]["subdir"]

    def names(self, container="", **options):
        return [row["name"] for row in self.listing(container, **options)]


NAMESPACE = {"s3": "http://s3.amazonaws.com/doc/2006-03-01/"}


class S3:
    """Signs with Signature Version 4, header form, path style."""

    def __init__(self, address, access_key, secret_key, region="us-east-1", timeout=TIMEOUT_SECONDS):
        self.connection, self.access_key, self.region = Connection(address, timeout), access_key, region
        self.secret_key, self.signing = secret_key, {}

    def _signing_key(self, date):
        if date not in self.signing:
            key = f"AWS4{self.secret_key}".encode()
            for part in (date, self.region, "s3", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self.signing = {date: key}
        return self.signing[date]

    def request(self, method, bucket, key="", body=b"", headers=None, query=None, expect=2):
        now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        path = f"/{bucket}" + (f"/{quote(key, safe='/-_.~')}" if key else "")
        pairs = sorted((quote(name, safe="-_.~"), quote(str(value), safe="-_.~")) for name, value in (query or {}).items())
        query_text = "&".join(f"{name}={value}" for name, value in pairs)
        host, port = self.connection.address
        digest = hashlib.sha256(body).hexdigest()
        sent = {"host": f"{host}:{port}", "x-amz-content-sha256": digest, "x-amz-date": now}
        sent.update({name.lower(): value for name, value in (headers or {}).items()})
        names = sorted(sent)
        canonical = "\n".join([method, path, query_text, *(f"{name}:{sent[name].strip()}" for name in names), "", ";".join(names), digest])
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashed}"
        signature = hmac.new(self._signing_key(now[:8]), text.encode(), "sha256").hexdigest()
        credential = f"Credential={self.access_key}/{scope}, SignedHeaders={';'.join(names)}"
        sent["authorization"] = f"AWS4-HMAC-SHA256 {credential}, Signature={signature}"
        target = path + (f"?{query_text}" if query_text else "")
        answer = self.connection.request(method, target, sent, body if method in ("PUT", "POST") else None)
        if not is_expected(answer.status, expect):
            raise Refused(f"{method} {target}", answer)
        return answer

    def put(self, bucket, key="", body=b"", headers=None, **options):
        return self.request("PUT", bucket, key, body, headers, **options)

    def get(self, bucket, key="", headers=None, **options):
        return self.request("GET", bucket, key, headers=headers, **options)

    def head(self, bucket, key="", **options):
        return self.request("HEAD", bucket, key, **options)

    def delete(self, bucket, key="", **options):
        return self.request("DELETE", bucket, key, **options)

    def listing(self, bucket, prefix="", page=1000):
        """Key → (size, etag), all pages."""
        found, token = {}, None
        while True:
            query = {"list-type": 2, "max-keys": page, "prefix": prefix}
            if token:
                query["continuation-token"] = token
            tree = xml.etree.ElementTree.fromstring(self.get(bucket, query=query).body)
            for row in tree.findall("s3:Contents", NAMESPACE):

                def text(name, row=row):
                    return row.findtext(f"s3:{name}", namespaces=NAMESPACE)

                found[text("Key")] = (int(text("Size")), text("ETag").strip('"'))
            token = tree.findtext("s3:NextContinuationToken", namespaces=NAMESPACE)
            if not token:
                return found


class Direct:
    """A storage server as other servers see it; a new connection each time, since servers come and go."""

    def __init__(self, address, device):
        self.address, self.device = address, device

    def request(self, method, partition, names, headers=None, body=None, query="", expect=None, policy=0):
        """Sends a request; with `expect=None` any response is returned."""
        sent = {"X-Timestamp": f"{time.time():016.5f}", "X-Backend-Storage-Policy-Index": str(policy), **(headers or {})}
        path = "/" + "/".join(quote(str(part), safe="/" if at == 4 else "") for at, part in enumerate([self.device, partition, *names]))
        connection = Connection(self.address, timeout=20)
        try:
            answer = connection.request(method, path + (f"?{query}" if query else ""), sent, body)
        finally:
            connection.forget()
        if expect is not None and not is_expected(answer.status, expect):
            raise Refused(f"{method} {path} at {self.address}", answer)
        return answer

    def rows(self, partition, *names):
        """The names in a listing."""
        answer = self.request("GET", partition, names, query="format=json", expect=2)
        return [row["name"] for row in answer.json()] if answer.body else []

    def suffix_hashes(self, partition, policy=0):
        """What replicators compare (`REPLICATE`): hash by suffix."""
        return pickle.loads(self.request("REPLICATE", partition, [], policy=policy, expect=2).body)
