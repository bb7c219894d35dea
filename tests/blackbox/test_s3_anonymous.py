"""Requests without a signature, where an account is open to them: reads by access lists, preflights, web sites."""

import json
import re

import pytest
import requests
from botocore.exceptions import ClientError

from apus_testing.s3_requests import UNSIGNED, S3Requests
from apus_testing.saio import Saio

OPTIONS = "anonymous_account = AUTH_test\nwebsite_domain = site.example\n"
PAGE = "https://page.example"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Saio(tmp_path_factory.mktemp("anonymous"), "--dev-users").start()
    cluster.stop()
    path = cluster.data / "etc" / "proxy-server.conf"
    text, count = re.subn(r"(\[filter:s3api\]\n)", rf"\1{OPTIONS}", path.read_text())
    assert count == 1
    path.write_text(text)
    yield cluster.start()
    assert cluster.stop() == 0


@pytest.fixture
def request_s3(cluster):
    return S3Requests(cluster.access["endpoint"])


@pytest.fixture
def public(s3, swift, bucket):
    """A bucket that anonymous callers may read."""
    swift.post_container(bucket, {"X-Container-Read": ".r:*"})
    return bucket


def put(s3, bucket, **objects):
    for key, body in objects.items():
        s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="text/html")


def code(call, **arguments):
    with pytest.raises(ClientError) as failed:
        call(**arguments)
    return failed.value.response["Error"]["Code"]


def test_access_lists_decide_on_anonymous_requests(request_s3, s3, swift, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")

    def anonymous(method, target, body=b""):
        reply = request_s3(method, target, body=body, how=UNSIGNED)
        return reply.status, reply.code if reply.status >= 300 else reply.body

    denied = (403, "AccessDenied")
    assert anonymous("GET", f"/{bucket}/k") == denied
    swift.post_container(bucket, {"X-Container-Read": ".r:*"})
    assert anonymous("GET", f"/{bucket}/k") == (200, b"data")
    assert anonymous("GET", f"/{bucket}") == denied
    assert anonymous("PUT", f"/{bucket}/k", b"x") == denied
    assert anonymous("DELETE", f"/{bucket}/k") == denied
    assert anonymous("PUT", f"/{bucket}-new") == denied
    assert anonymous("GET", "/b-that-is-not-there/k")[0] in (403, 404)
    assert anonymous("GET", f"/{bucket}/k?response-content-type=a") == (400, "InvalidRequest")
    for name in ("tagging", "cors", "website", "versioning"):
        assert anonymous("GET", f"/{bucket}?{name}") == denied, name
    swift.post_container(bucket, {"X-Container-Read": ".r:*,.rlistings"})
    assert anonymous("GET", f"/{bucket}")[0] == 200
    reply = requests.post(f"{request_s3.endpoint}/{bucket}", data={"key": "k"}, files={"file": ("a", b"x")}, timeout=30)
    assert (reply.status_code, "AccessDenied" in reply.text) == (403, True)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"data"


def test_preflights_find_the_bucket_of_the_account(request_s3, s3, bucket):
    rules = [{"AllowedOrigins": [PAGE], "AllowedMethods": ["PUT"], "AllowedHeaders": ["*"]}]
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization"}
    reply = request_s3("OPTIONS", f"/{bucket}/k", asked, how=UNSIGNED)
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, PAGE)
    asked["Origin"] = "http://other"
    assert request_s3("OPTIONS", f"/{bucket}/k", asked, how=UNSIGNED).code == "AccessForbidden"


def site(cluster, bucket, path="/", method="GET", **headers):
    url = f"{cluster.access['endpoint']}{path}"
    headers = {"Host": f"{bucket}.site.example", **headers}
    return requests.request(method, url, headers=headers, timeout=30, allow_redirects=False)


def configure(s3, bucket, **configuration):
    s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration=configuration)


def test_configurations_are_kept_as_they_were_set(s3, bucket):
    assert code(s3.get_bucket_website, Bucket=bucket) == "NoSuchWebsiteConfiguration"
    for configuration in (
        {"IndexDocument": {"Suffix": "index.html"}, "ErrorDocument": {"Key": "e/404.html"}},
        {"RedirectAllRequestsTo": {"HostName": "other.example", "Protocol": "https"}},
        {
            "IndexDocument": {"Suffix": "i"},
            "RoutingRules": [
                {
                    "Condition": {"KeyPrefixEquals": "a/", "HttpErrorCodeReturnedEquals": "404"},
                    "Redirect": {"HostName": "h", "HttpRedirectCode": "302", "ReplaceKeyPrefixWith": "b/"},
                },
                {"Redirect": {"ReplaceKeyWith": "k"}},
            ],
        },
    ):
        configure(s3, bucket, **configuration)
        found = s3.get_bucket_website(Bucket=bucket)
        assert {name: value for name, value in found.items() if name != "ResponseMetadata"} == configuration
    for bad, expected in (
        ({"IndexDocument": {"Suffix": "a/b"}}, "InvalidArgument"),
        ({"ErrorDocument": {"Key": "e"}}, "InvalidArgument"),
        ({"IndexDocument": {"Suffix": "i"}, "RedirectAllRequestsTo": {"HostName": "h"}}, "InvalidRequest"),
        ({"RedirectAllRequestsTo": {"HostName": "h\r\nX: y"}}, "InvalidRequest"),
        (
            {"IndexDocument": {"Suffix": "i"}, "RoutingRules": [{"Redirect": {"HttpRedirectCode": "200"}}]},
            "InvalidRequest",
        ),
    ):
        assert code(s3.put_bucket_website, Bucket=bucket, WebsiteConfiguration=bad) == expected, bad
    s3.delete_bucket_website(Bucket=bucket)
    assert code(s3.get_bucket_website, Bucket=bucket) == "NoSuchWebsiteConfiguration"


def test_folders_have_an_index_and_errors_a_document(cluster, s3, public):
    put(s3, public, **{"index.html": b"home", "docs/index.html": b"docs", "a ü.html": b"page", "e.html": b"sorry"})
    configure(s3, public, IndexDocument={"Suffix": "index.html"}, ErrorDocument={"Key": "e.html"})
    for path, status, body in [
        ("/", 200, b"home"),
        ("/docs/", 200, b"docs"),
        ("/a%20%C3%BC.html?a=1", 200, b"page"),
        ("/missing", 404, b"sorry"),
        ("/missing/", 404, b"sorry"),
    ]:
        reply = site(cluster, public, path)
        assert (reply.status_code, reply.content) == (status, body), path
        assert reply.headers["Content-Type"] == "text/html"
    reply = site(cluster, public, "/docs")
    assert (reply.status_code, reply.headers["Location"]) == (302, "/docs/")
    reply = site(cluster, public, "/", "HEAD")
    assert (reply.status_code, reply.headers["Content-Length"]) == (200, "4")
    assert site(cluster, public, "/", Range="bytes=0-1").content == b"ho"
    etag = site(cluster, public).headers["ETag"]
    assert site(cluster, public, "/", **{"If-None-Match": etag}).status_code == 304
    assert site(cluster, public, "/", "PUT").status_code == 405


def test_rules_redirect_before_and_after_a_read(cluster, s3, public):
    put(s3, public, **{"i": b"home", "docs/a": b"x"})
    rules = [
        {"Condition": {"KeyPrefixEquals": "docs/"}, "Redirect": {"ReplaceKeyPrefixWith": "doc ü/"}},
        {
            "Condition": {"HttpErrorCodeReturnedEquals": "404"},
            "Redirect": {"HostName": "old.example", "Protocol": "https", "HttpRedirectCode": "307"},
        },
    ]
    configure(s3, public, IndexDocument={"Suffix": "i"}, RoutingRules=rules)
    for path, status, location in [
        ("/docs/a", 301, "/doc%20%C3%BC/a"),
        ("/gone/b", 307, "https://old.example/gone/b"),
        ("/%0d%0aX:%20y", 307, "https://old.example/%0D%0AX%3A%20y"),
        ("//evil.example", 307, "https://old.example//evil.example"),
    ]:
        reply = site(cluster, public, path)
        assert (reply.status_code, reply.headers["Location"]) == (status, location)
    assert site(cluster, public).content == b"home"
    configure(s3, public, RedirectAllRequestsTo={"HostName": "other.example", "Protocol": "https"})
    reply = site(cluster, public, "/a/b%20c")
    assert (reply.status_code, reply.headers["Location"]) == (301, "https://other.example/a/b%20c")


def test_a_site_shows_what_anonymous_callers_may_read(cluster, s3, bucket):
    put(s3, bucket, **{"index.html": b"home"})
    reply = site(cluster, bucket)
    assert (reply.status_code, reply.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "NoSuchWebsiteConfiguration" in reply.text
    configure(s3, bucket, IndexDocument={"Suffix": "index.html"})
    reply = site(cluster, bucket)
    assert reply.status_code == 403 and "AccessDenied" in reply.text and "home" not in reply.text
    assert site(cluster, "b-that-is-not-there").status_code == 404


def test_pages_of_other_origins_may_read_a_site(cluster, s3, public):
    put(s3, public, i=b"home")
    configure(s3, public, IndexDocument={"Suffix": "i"})
    rules = [{"AllowedOrigins": [PAGE], "AllowedMethods": ["GET"]}]
    s3.put_bucket_cors(Bucket=public, CORSConfiguration={"CORSRules": rules})
    assert site(cluster, public, Origin=PAGE).headers["Access-Control-Allow-Origin"] == PAGE
    reply = site(cluster, public, "/i", "OPTIONS", Origin=PAGE, **{"Access-Control-Request-Method": "GET"})
    assert (reply.status_code, reply.headers["Access-Control-Allow-Origin"]) == (200, PAGE)


def test_policies_open_and_close_a_bucket(request_s3, s3, swift, bucket):
    put(s3, bucket, **{"k": b"data", "index.html": b"page"})

    def policy(effect, condition):
        resource = f"arn:aws:s3:::{bucket}/*"
        given = {"Effect": effect, "Principal": "*", "Action": "s3:GetObject", "Resource": resource, "Condition": condition}
        s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Statement": given}))

    def read(key="k", **headers):
        return request_s3("GET", f"/{bucket}/{key}", headers=headers, how=UNSIGNED).status

    assert read() == 403
    policy("Allow", {})
    assert read() == 200
    assert request_s3("PUT", f"/{bucket}/k", body=b"", how=UNSIGNED).status == 403
    policy("Allow", {"StringLike": {"aws:Referer": "http://good.example/*"}})
    assert read() == 403
    assert read(Referer="http://good.example/a") == 200
    policy("Allow", {"Null": {"s3:authType": "false"}})
    assert read() == 403
    swift.post_container(bucket, {"X-Container-Read": ".r:*"})
    assert read() == 200
    policy("Deny", {"StringNotEquals": {"aws:userid": "test:tester"}})
    assert read() == 403
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"data"
