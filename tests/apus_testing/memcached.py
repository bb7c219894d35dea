"""A small memcached with what Swift's tempauth and proxy use, so that the tests need no other server."""

import socketserver
import threading
import time


class Handler(socketserver.StreamRequestHandler):
    server: "Memcached"

    def handle(self):
        for line in self.rfile:
            command, *words = line.decode().split()
            quiet = words[-1:] == ["noreply"]
            with self.server.lock:
                answer = self.answer(command, words)
            if not quiet:
                self.wfile.write(answer)

    def answer(self, command, words):
        items, now = self.server.items, time.time()
        if command in ("set", "add"):
            key, flags, lifetime, length = words[:4]
            value = self.rfile.read(int(length) + 2)[:-2]
            if command == "add" and self.find(key, now):
                return b"NOT_STORED\r\n"
            # Beyond thirty days the number is a date.
            until = int(lifetime) if int(lifetime) > 30 * 86400 else now + int(lifetime)
            items[key] = (flags, value, until if int(lifetime) else float("inf"))
            return b"STORED\r\n"
        if command == "get":
            out = b""
            for key in words:
                if found := self.find(key, now):
                    out += f"VALUE {key} {found[0]} {len(found[1])}\r\n".encode() + found[1] + b"\r\n"
            return out + b"END\r\n"
        if command == "delete":
            return b"DELETED\r\n" if items.pop(words[0], None) else b"NOT_FOUND\r\n"
        if command in ("incr", "decr"):
            found = self.find(words[0], now)
            if not found:
                return b"NOT_FOUND\r\n"
            delta = int(words[1]) if command == "incr" else -int(words[1])
            value = str(max(int(found[1]) + delta, 0)).encode()
            items[words[0]] = (found[0], value, found[2])
            return value + b"\r\n"
        return b"ERROR\r\n"

    def find(self, key, now):
        found = self.server.items.get(key)
        return found if found and found[2] > now else None


class Memcached(socketserver.ThreadingTCPServer):
    """Serves in threads of this process as soon as it is constructed."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address):
        super().__init__(address, Handler)
        self.items, self.lock = {}, threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self):
        self.shutdown()
        self.server_close()
