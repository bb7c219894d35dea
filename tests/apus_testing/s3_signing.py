"""S3 requests that are signed by botocore and sent as they are, for what no SDK sends."""

import hashlib
import hmac
import http.client
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

REGION = "us-east-1"


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    def element(self, name):
        """The text of the first element of this name in the body, as it is written."""
        start, end = f"<{name}>".encode(), f"</{name}>".encode()
        if start not in self.body:
            return None
        return self.body.split(start, 1)[1].split(end, 1)[0].decode()


class SignedClient:
    def __init__(self, endpoint, access_key="test:tester", secret_key="testing"):
        self.host = urlsplit(endpoint).netloc
        self.credentials = Credentials(access_key, secret_key)

    def signed(self, method, target, headers=(), payload="UNSIGNED-PAYLOAD"):
        """The signed headers of a request, and the secret chain that its chunks continue."""

        class Auth(S3SigV4Auth):
            def payload(self, request):
                return payload

        request = AWSRequest(method, f"http://{self.host}{target}", headers=dict(headers))
        Auth(self.credentials, "s3", REGION).add_auth(request)
        signature = request.headers["Authorization"].rsplit("Signature=", 1)[1]
        stamp = request.headers["X-Amz-Date"]
        return dict(request.headers), ChunkChain(self.credentials.secret_key, stamp, signature)

    def send(self, method, target, headers, body=b"", framed=False):
        """Sends headers as they are, values of bytes untouched; `framed` sends the body in one
        chunk of HTTP, without its length."""
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in headers.items():
                for line in value if isinstance(value, list) else [value]:
                    connection.putheader(name, line)
            if framed:
                connection.putheader("Transfer-Encoding", "chunked")
                body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            elif body or method in ("PUT", "POST"):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def head_only(self, method, target, headers):
        """Sends the headers of a request, and none of the body that they promise."""
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def __call__(self, method, target, headers=(), body=b"", payload="UNSIGNED-PAYLOAD"):
        headers, _ = self.signed(method, target, headers, payload)
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
