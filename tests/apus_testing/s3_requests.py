"""Requests to S3 as they are on the wire, signed by botocore's signers."""

import http.client
import re

import botocore.auth
import botocore.awsrequest
import botocore.credentials

HEADER, PRESIGNED, UNSIGNED = "header", "presigned", "unsigned"


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    def text(self, element):
        """The text of an element of the document."""
        found = re.search(rf"<{element}>(.*?)</{element}>".encode(), self.body, re.DOTALL)
        return found and found[1].decode()

    @property
    def code(self):
        return self.text("Code")


class Requests:
    """Requests of one user to one server."""

    def __init__(self, port, access_key="test:tester", secret_key="testing"):
        self.port = port
        self.credentials = botocore.credentials.Credentials(access_key, secret_key)

    def signed(self, method, target, headers=None, body=b"", how=HEADER, region="us-east-1"):
        """The target and headers of a signed request. Headers of a presigned one stay headers."""
        url = f"http://127.0.0.1:{self.port}{target}"
        presigned = how == PRESIGNED
        request = botocore.awsrequest.AWSRequest(
            method, url, headers=dict(headers or {}), data=None if presigned else body
        )
        if presigned:
            signer = botocore.auth.S3SigV4QueryAuth(self.credentials, "s3", region, expires=300)
        else:
            signer = botocore.auth.S3SigV4Auth(self.credentials, "s3", region)
        if how != UNSIGNED:
            signer.add_auth(request)
        return request.url.split(f":{self.port}", 1)[1], dict(request.headers)

    def send(self, method, target, headers=None, body=b""):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, target, body, headers or {})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def __call__(self, method, target, headers=None, body=b"", how=HEADER, region="us-east-1"):
        target, headers = self.signed(method, target, headers, body, how, region)
        return self.send(method, target, headers, body)
