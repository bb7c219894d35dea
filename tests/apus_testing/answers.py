"""Responses as tests look at them, and single requests over a connection of their own."""

import http.client
import json
from typing import NamedTuple

TIMEOUT_SECONDS = 30


class Answer(NamedTuple):
    """Status, headers by names in lower case, and body."""

    status: int
    headers: dict
    body: bytes

    def json(self):
        return json.loads(self.body)

    def element(self, name):
        """The text of the first XML element of this name, as it is written."""
        start, end = f"<{name}>".encode(), f"</{name}>".encode()
        if start not in self.body:
            return None
        return self.body.split(start, 1)[1].split(end, 1)[0].decode()

    @property
    def code(self):
        """The code of an S3 error."""
        return self.element("Code")


def read_answer(response):
    """The answer in a response of `http.client`."""
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


def request(address, method, target, headers=None, body=None):
    """One request over a new connection."""
    connection = http.client.HTTPConnection(address[0], address[1], timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, target, body=body, headers=dict(headers or {}))
        return read_answer(connection.getresponse())
    finally:
        connection.close()
