"""HTTP by hand: exact bytes out, one response at a time back. For what real clients never send."""

import os
import socket
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from .waiting import wait_until

# How long a condition may take to come true; nothing waits that long when all is well.
PATIENCE = 30


class Closed(Exception):
    """The server closed the connection where a response was expected."""


class Response:
    """Status, headers (names in lower case; repeated ones as a list in `all`) and body."""

    def __init__(self, version, status, reason, headers, body):
        self.version, self.status, self.reason = version, status, reason
        self.all = headers
        self.headers = dict(headers)
        self.body = body

    def closes(self):
        return "close" in self.headers.get("connection", "").lower()

    def __repr__(self):
        return f"<{self.status} {self.reason} {self.headers} {self.body[:200]!r}>"


class Connection:
    """One TCP connection to an address or to an endpoint such as `http://127.0.0.1:8080`.

    `source` is a local address to come from, `receive_buffer` bytes of the socket's buffer, small
    for clients that do not read.
    """

    def __init__(self, address, source=None, receive_buffer=None, timeout=PATIENCE):
        if isinstance(address, str):
            parts = urlsplit(address)
            address = (parts.hostname, parts.port)
        self.host = f"{address[0]}:{address[1]}"
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source is not None:
            self.socket.bind((source, 0))
        self.socket.settimeout(timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect(address)
        self.buffer = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        """Sends bytes; text is encoded as Latin-1."""
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)
        return self

    def send_head(self, method, target, headers=(), version="HTTP/1.1", host=True):
        """Sends a request's head. `headers` are a dict or pairs."""
        pairs = list(headers.items() if isinstance(headers, dict) else headers)
        if host:
            pairs.insert(0, ("Host", self.host))
        lines = [f"{method} {target} {version}", *(f"{name}: {value}" for name, value in pairs)]
        return self.send("\r\n".join(lines) + "\r\n\r\n")

    def request(self, method, target, headers=(), body=None, **options):
        """Sends a whole request and reads its response."""
        pairs = list(headers.items() if isinstance(headers, dict) else headers)
        if body is not None:
            pairs.append(("Content-Length", len(body)))
        self.send_head(method, target, pairs, **options)
        if body:
            self.send(body)
        return self.response(method)

    def send_slowly(self, data, pieces, ready):
        """Sends `data` in `pieces`, waiting for `ready()` before each."""
        size = -(-len(data) // pieces)
        for at in range(0, len(data), size):
            wait_until(ready, "the next piece may be sent")
            self.send(data[at : at + size])

    def _fill(self):
        try:
            more = self.socket.recv(65536)
        except ConnectionResetError as error:
            raise Closed(f"reset after {bytes(self.buffer[-200:])!r}") from error
        if not more:
            raise Closed(f"end after {bytes(self.buffer[-200:])!r}")
        self.buffer += more

    def _until(self, end):
        while end not in self.buffer:
            self._fill()
        return self._take(self.buffer.index(end), len(end))

    def _exactly(self, size):
        while len(self.buffer) < size:
            self._fill()
        return self._take(size)

    def _take(self, size, dropped=0):
        found = bytes(self.buffer[:size])
        del self.buffer[: size + dropped]
        return found

    def head(self):
        """Reads the head of a response, an interim one too."""
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, reason = (lines[0] + "  ").split(" ", 2)
        pairs = [line.split(":", 1) for line in lines[1:]]
        headers = [(name.lower(), value.strip()) for name, value in pairs]
        return Response(version, int(status), reason.strip(), headers, b"")

    def response(self, method="GET"):
        """Reads one final response with its body; interim ones before it are skipped."""
        found = self.head()
        while 100 <= found.status < 200:
            found = self.head()
        if method == "HEAD" or found.status in (204, 304):
            return found
        if "chunked" in found.headers.get("transfer-encoding", "").lower():
            size = -1
            while size != 0:
                size = int(self._until(b"\r\n").split(b";")[0], 16)
                found.body += self._exactly(size)
                self._until(b"\r\n")
        elif "content-length" in found.headers:
            found.body = self._exactly(int(found.headers["content-length"]))
        else:
            found.body = self.rest()
        return found

    def rest(self):
        """Everything up to the end of the connection, a reset included."""
        try:
            while True:
                self._fill()
        except Closed:
            return self._take(len(self.buffer))

    def is_closed(self):
        """Whether the server has closed or reset it; reads nothing that is a response."""
        try:
            return self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def finish_sending(self):
        """Ends this side; the server still may answer."""
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def close(self):
        self.socket.close()

    def reset(self):
        """Leaves with a reset instead of an orderly end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()


def chunked(*pieces):
    """Pieces in HTTP's chunked coding."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def open_sockets(pid):
    """The number of sockets that a process has open."""
    found = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found += os.readlink(entry).startswith("socket:")
    return found
