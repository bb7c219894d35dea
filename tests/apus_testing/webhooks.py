"""A receiver of events over HTTP or HTTPS, as an operator would run it, with failures that a test chooses."""

import json
import socket
import ssl
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote_plus


class Receiver:
    """Collects the documents that are sent to it. `statuses` has the next responses, then it is always `status`."""

    def __init__(self, address=("127.0.0.1", 0), certificate=None):
        self.requests, self.status, self.statuses, self.location = [], 200, [], None
        self.lock, self.certificate, self.connections = threading.Lock(), certificate, []
        self.server = None
        self.address = address
        self.start()

    def start(self):
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                receiver.connections.append(self.connection)

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver.lock:
                    status = receiver.statuses.pop(0) if receiver.statuses else receiver.status
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    receiver.requests.append((status, self.path, headers, json.loads(body)))
                self.send_response(status)
                if receiver.location:
                    self.send_header("Location", receiver.location)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                """A client that disconnects is no failure of the test."""

        self.server = Server(self.address, Handler)
        self.address = self.server.server_address[:2]
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        """Closes all sockets; what was received stays."""
        self.server.shutdown()
        self.server.server_close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.connections.clear()

    @property
    def port(self):
        return self.address[1]

    def clear(self):
        with self.lock:
            self.requests.clear()

    def documents(self):
        """The confirmed documents."""
        with self.lock:
            return [document for status, _, _, document in self.requests if status < 300]

    def tests(self):
        return [document for document in self.documents() if document.get("Event") == "s3:TestEvent"]

    def events(self, bucket):
        """The confirmed events of a bucket: their records, each once, by the first delivery."""
        seen, found = set(), []
        for document in self.documents():
            for record in document.get("Records", []):
                name = json.dumps([record["eventName"], record["s3"]], sort_keys=True)
                if record["s3"]["bucket"]["name"] == bucket and name not in seen:
                    seen.add(name)
                    found.append(record)
        return found

    def names(self, bucket):
        """Name of the event and key of each."""
        return [(record["eventName"], key_of(record)) for record in self.events(bucket)]


def key_of(record):
    return unquote_plus(record["s3"]["object"]["key"])
