"""S3 requests that are signed by botocore and sent as they are, for what no SDK sends."""

import hashlib
import hmac
import http.client
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .answers import TIMEOUT_SECONDS, read_answer

HEADER, PRESIGNED, UNSIGNED = "header", "presigned", "unsigned"
REGION = "us-east-1"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"


class Signer(S3SigV4Auth):
    """Signs with a given `x-amz-content-sha256`, or with that of the body."""

    def __init__(self, credentials, region, content_sha256=None):
        super().__init__(credentials, "s3", region)
        self.content_sha256 = content_sha256

    def payload(self, request):
        return self.content_sha256 or super().payload(request)


class S3Requests:
    """Requests of one user; `payload` is what is signed as the hash of bodies, unless it is that of the body itself."""

    def __init__(self, endpoint, access_key="test:tester", secret_key="testing", payload=None):
        parts = urlsplit(endpoint)
        self.endpoint, self.host, self.port, self.payload = endpoint, parts.netloc, parts.port, payload
        self.credentials = Credentials(access_key, secret_key)

    def signed(self, method, target, headers=None, body=b"", how=HEADER, region=REGION, payload=None):
        """The target and headers of a signed request. Headers of a presigned one stay headers."""
        url, data = f"{self.endpoint}{target}", None if how == PRESIGNED else body
        request = AWSRequest(method, url, headers=dict(headers or {}), data=data)
        if how == PRESIGNED:
            S3SigV4QueryAuth(self.credentials, "s3", region, expires=300).add_auth(request)
        elif how == HEADER:
            Signer(self.credentials, region, payload or self.payload).add_auth(request)
        return request.url.removeprefix(self.endpoint), dict(request.headers)

    def chunk_chain(self, headers):
        """The chain of signatures that the chunks of a signed request continue."""
        signature = headers["Authorization"].rsplit("Signature=", 1)[1]
        return ChunkChain(self.credentials.secret_key, headers["X-Amz-Date"], signature)

    def send(self, method, target, headers=None, body=b"", framed=False):
        """Sends headers as they are, values of bytes untouched; `framed` sends the body in one chunk of HTTP, without
        its length."""
        headers = headers or {}
        connection = http.client.HTTPConnection(self.host, timeout=TIMEOUT_SECONDS)
        try:
            self.put_head(connection, method, target, headers)
            if framed:
                connection.putheader("Transfer-Encoding", "chunked")
                body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            elif (body or method in ("PUT", "POST")) and "content-length" not in {name.lower() for name in headers}:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            return read_answer(connection.getresponse())
        finally:
            connection.close()

    def send_head(self, method, target, headers):
        """Sends the headers of a request without the body that they promise."""
        connection = http.client.HTTPConnection(self.host, timeout=TIMEOUT_SECONDS)
        try:
            self.put_head(connection, method, target, headers)
            connection.endheaders()
            return read_answer(connection.getresponse())
        finally:
            connection.close()

    @staticmethod
    def put_head(connection, method, target, headers):
        has_host = "host" in {name.lower() for name in headers}
        connection.putrequest(method, target, skip_host=has_host, skip_accept_encoding=True)
        for name, value in headers.items():
            for line in value if isinstance(value, list) else [value]:
                connection.putheader(name, line)

    def __call__(self, method, target, headers=None, body=b"", how=HEADER, region=REGION, payload=None):
        target, headers = self.signed(method, target, headers, body, how, region, payload)
        return self.send(method, target, headers, body)


class ChunkChain:
    """Signatures of the chunks and the trailer of one body."""

    def __init__(self, secret, stamp, signature):
        key = ("AWS4" + secret).encode()
        for word in (stamp[:8], REGION, "s3", "aws4_request"):
            key = hmac.digest(key, word.encode(), "sha256")
        self.key, self.stamp, self.signature = key, stamp, signature
        self.scope = f"{stamp[:8]}/{REGION}/s3/aws4_request"

    def _next(self, kind, *hashes):
        lines = [f"AWS4-HMAC-SHA256-{kind}", self.stamp, self.scope, self.signature, *hashes]
        self.signature = hmac.digest(self.key, "\n".join(lines).encode(), "sha256").hex()
        return self.signature

    def chunk(self, data):
        empty, digest = hashlib.sha256(b"").hexdigest(), hashlib.sha256(data).hexdigest()
        signature = self._next("PAYLOAD", empty, digest)
        end = b"\r\n" if data else b""
        return b"%x;chunk-signature=%s\r\n" % (len(data), signature.encode()) + data + end

    def trailer(self, name, value):
        line = f"{name}:{value}\n"
        signature = self._next("TRAILER", hashlib.sha256(line.encode()).hexdigest())
        return f"{name}:{value}\r\nx-amz-trailer-signature:{signature}\r\n".encode()
