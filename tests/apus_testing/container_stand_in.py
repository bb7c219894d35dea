"""Stands in for all container servers: `python container_stand_in.py PORT FOLDER`.

`plan.json` in the folder says what is answered: `locations` sends rows for a container on to another, `refused` are
devices that take nothing. Each request becomes a line of `asked`. A process of its own, since Swift's code in the
tests changes how threads wait.
"""

import http.server
import json
import sys
from pathlib import Path
from urllib.parse import quote, unquote

FOLDER = Path(sys.argv[2])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        plan = json.loads((FOLDER / "plan.json").read_text())
        _, device, _, account, container, name = self.path.split("/", 5)
        path, status, headers = unquote(f"{account}/{container}"), 201, {"Content-Length": "0"}
        if device in plan["refused"]:
            status = 503
        elif path in plan["locations"]:
            location, time = plan["locations"][path]
            status = 301
            headers["Location"] = quote(f"/{location}/{unquote(name)}")
            headers["X-Backend-Location-Is-Quoted"] = "true"
            headers["X-Backend-Redirect-Timestamp"] = time
        with open(FOLDER / "asked", "a") as asked:
            line = {"path": path, "name": unquote(name), "device": device, "status": status, "headers": dict(self.headers)}
            asked.write(json.dumps(line) + "\n")
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
