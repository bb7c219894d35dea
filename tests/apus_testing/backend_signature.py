"""The signature of backend requests, written a second time from its description (lib/wire/src/signed)."""

import hashlib
import hmac
import os
import socket
import struct
import time

NOT_SIGNED = {"connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
LAST = 1 << 31


def mac(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


class SignedRequest:
    """A signed request to `address`; change its fields to send something else than what was signed."""

    def __init__(self, key, method, path, address, headers=None, body=None, date=None, guard=None):
        key = bytes.fromhex(key)
        self.method, self.path, self.body = method, path, body
        self.headers = {"Host": f"{address[0]}:{address[1]}", **(headers or {})}
        guard = guard or ("none" if body is None else "frames")
        key_id = mac(key, b"apus v1 key id")[:4].hex()
        date = int((time.time() if date is None else date) * 1000)
        claim = f"v1 key={key_id} date={date} nonce={os.urandom(16).hex()} body={guard}"
        lines = [f"{name.lower()}:{value}" for name, value in self.headers.items() if name.lower() not in NOT_SIGNED]
        covered = "\n".join(["apus v1", method, path, *sorted(lines, key=lambda line: line.split(":")[0]), "", claim])
        signature = mac(mac(key, b"apus v1 backend requests"), covered.encode())
        self.headers["X-Apus-Signature"] = f"{claim} mac={signature.hex()}"
        self.body_key = mac(mac(key, b"apus v1 backend bodies"), signature)
        self.number = 0
        # The body as it goes out, in pieces; None for none.
        self.sent = None
        if body is not None:
            self.sent = [self.frame(body, last=True)] if guard == "frames" else [body]

    def frame(self, payload, last=False):
        length = struct.pack(">I", len(payload) | (LAST if last else 0))
        checked = mac(self.body_key, struct.pack(">Q", self.number), length, payload)
        self.number += 1
        return length + checked + payload

    def head(self):
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        chunked = "" if self.sent is None else "Transfer-Encoding: chunked\r\n"
        return f"{self.method} {self.path} HTTP/1.1\r\n{lines}{chunked}\r\n".encode()

    def bytes(self):
        chunks = b"".join(chunk(piece) for piece in self.sent or [])
        return self.head() + chunks + (b"" if self.sent is None else b"0\r\n\r\n")

    def send(self, address):
        """The status and the body of the answer; (0, b"") when the connection broke."""
        return exchange(address, self.bytes(), self.method)


def chunk(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def exchange(address, data, method="GET"):
    with socket.create_connection(address, timeout=10) as connection:
        try:
            connection.sendall(data)
            return read_answer(connection, method)
        except (ConnectionError, EOFError):
            return 0, b""


def read_answer(connection, method="GET"):
    import http.client

    answer = http.client.HTTPResponse(connection, method=method)
    try:
        answer.begin()
        return answer.status, answer.read()
    except (http.client.HTTPException, ConnectionError) as error:
        raise EOFError from error
