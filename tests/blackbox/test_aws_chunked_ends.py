"""How strictly the end of an `aws-chunked` body is read, and its framing before that."""

import base64
import itertools
import zlib

import pytest

from apus_testing.s3_requests import UNSIGNED_PAYLOAD, S3Requests

UNSIGNED = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
CRC = base64.b64encode(zlib.crc32(b"hello").to_bytes(4, "big")).decode()
TRAILER = f"x-amz-checksum-crc32:{CRC}\r\n".encode()
NUMBERS = itertools.count()


class FramedPut:
    """Sends framed bodies; returns status and code, and checks that nothing is stored when refused."""

    def __init__(self, client, bucket):
        self.client, self.bucket = client, bucket
        self.answer = None

    def __call__(self, body, trailer="x-amz-checksum-crc32", length=5, payload=UNSIGNED, framed=False):
        headers = {"content-encoding": "aws-chunked"}
        if length is not None:
            headers["x-amz-decoded-content-length"] = str(length)
        if trailer is not None:
            headers["x-amz-trailer"] = trailer
        target = f"/{self.bucket}/{next(NUMBERS)}"
        target, headers = self.client.signed("PUT", target, headers, payload=payload)
        chain = self.client.chunk_chain(headers)
        answer = self.client.send("PUT", target, headers, body(chain) if callable(body) else body, framed)
        read = self.client("GET", target)
        if answer.status == 200:
            assert (read.status, read.body) == (200, b"hello")
        else:
            assert read.status == 404
        self.answer = answer
        return answer.status, answer.element("Code")


@pytest.fixture
def put(cluster, bucket):
    return FramedPut(S3Requests(cluster.access["endpoint"], payload=UNSIGNED_PAYLOAD), bucket)


GOOD = b"5\r\nhello\r\n0\r\n" + TRAILER + b"\r\n"


def test_good_bodies_are_taken(put):
    assert put(GOOD) == (200, None)
    assert put(GOOD, framed=True) == (200, None)
    assert put(b"05\r\nhello\r\n0\r\n\r\n", trailer=None) == (200, None)
    assert put(b"2\r\nhe\r\n3\r\nllo\r\n0\r\n" + TRAILER + b"\r\n") == (200, None)


@pytest.mark.parametrize("more", [b"x", b"\r\n", b"0\r\n\r\n", GOOD, None])
def test_no_byte_may_follow_the_end(put, more):
    more = b"x" * 1_000_000 if more is None else more
    for framed in (False, True):
        assert put(GOOD + more, framed=framed) == (400, "IncompleteBody")
    assert put(b"5\r\nhello\r\n0\r\n\r\n" + more, trailer=None) == (400, "IncompleteBody")


@pytest.mark.parametrize("size", [b"+5", b"-5", b" 5", b"5 ", b"0x5", b"", b"f" * 17, b"5g"])
def test_a_size_is_hexadecimal_digits_and_nothing_else(put, size):
    assert put(size + b"\r\nhello\r\n0\r\n\r\n", trailer=None) == (400, "IncompleteBody")
    assert "Content-Length" not in put.answer.element("Message")


@pytest.mark.parametrize(
    "trailers,announced",
    [
        (TRAILER, None),
        (TRAILER + TRAILER, "x-amz-checksum-crc32"),
        (b"", "x-amz-checksum-crc32"),
        (b"x-amz-checksum-sha1:AAAA\r\n", "x-amz-checksum-crc32"),
        (TRAILER + b"x-other:1\r\n", "x-amz-checksum-crc32"),
        (b"no colon\r\n", "x-amz-checksum-crc32"),
    ],
)
def test_the_trailer_is_the_announced_one_and_comes_once(put, trailers, announced):
    body = b"5\r\nhello\r\n0\r\n" + trailers + b"\r\n"
    assert put(body, trailer=announced) == (400, "MalformedTrailerError")


def test_a_trailer_with_another_checksum_is_refused(put):
    other = TRAILER.replace(CRC.encode(), b"AAAAAA==")
    assert put(b"5\r\nhello\r\n0\r\n" + other + b"\r\n") == (400, "BadDigest")


def test_lengths_must_be_what_was_promised(put):
    assert put(GOOD, length=4) == (400, "IncompleteBody")
    assert put(GOOD, length=6) == (400, "IncompleteBody")
    for end in (1, 5, 10, 14, 30, len(GOOD) - 1):
        assert put(GOOD[:end]) == (400, "IncompleteBody")
    assert put(GOOD, length=None) == (411, "MissingContentLength")
    assert "x-amz-decoded-content-length" in put.answer.element("Message")


def test_signed_bodies_end_as_strictly(put):
    def good(chain):
        return chain.chunk(b"hello") + chain.chunk(b"") + b"\r\n"

    def with_trailer(chain):
        name, value = TRAILER.decode().strip().split(":")
        return chain.chunk(b"hello") + chain.chunk(b"") + chain.trailer(name, value)

    assert put(good, trailer=None, payload=SIGNED) == (200, None)

    def after(chain):
        return good(chain) + b"x"

    assert put(after, trailer=None, payload=SIGNED) == (400, "IncompleteBody")
    signed = f"{SIGNED}-TRAILER"
    for end in (b"", b"\r\n"):
        assert put(lambda chain: with_trailer(chain) + end, payload=signed) == (200, None)
    for more in (b"x", b"\r\n\r\n", b"\r\nx"):
        assert put(lambda chain: with_trailer(chain) + more, payload=signed) == (400, "IncompleteBody")

    def forged(chain):
        return with_trailer(chain)[:-4] + b"00\r\n"

    assert put(forged, payload=signed) == (403, "SignatureDoesNotMatch")
