"""CORS: the document of rules, preflights, and the headers of responses to pages of other origins."""

import pytest
import requests
from botocore.exceptions import ClientError

from apus_testing.s3_requests import PRESIGNED, UNSIGNED, S3Requests

PAGE = "https://page.example"
RULES = [
    {"AllowedOrigins": [PAGE], "AllowedMethods": ["PUT", "GET"], "AllowedHeaders": ["x-amz-*"], "MaxAgeSeconds": 5},
    {"AllowedOrigins": ["*"], "AllowedMethods": ["GET"], "ExposeHeaders": ["ETag", "x-amz-meta-a"]},
]


@pytest.fixture
def request_s3(cluster):
    return S3Requests(cluster.access["endpoint"])


@pytest.fixture
def shared(s3, bucket):
    """A bucket with rules and an object."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": RULES})
    return bucket


def code(call, **arguments):
    with pytest.raises(ClientError) as failed:
        call(**arguments)
    return failed.value.response["Error"]["Code"]


def test_rules_are_kept_as_they_were_set(s3, bucket):
    assert code(s3.get_bucket_cors, Bucket=bucket) == "NoSuchCORSConfiguration"
    many = [{"ID": f"r{n}", "AllowedOrigins": [f"http://{n}"], "AllowedMethods": ["GET"]} for n in range(100)]
    for rules in (RULES, many):
        s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})
        assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == rules
    too_many = {"CORSRules": [*many, many[0]]}
    assert code(s3.put_bucket_cors, Bucket=bucket, CORSConfiguration=too_many) == "MalformedXML"
    s3.delete_bucket_cors(Bucket=bucket)
    assert code(s3.get_bucket_cors, Bucket=bucket) == "NoSuchCORSConfiguration"
    s3.delete_bucket_cors(Bucket=bucket)


@pytest.mark.parametrize(
    "change",
    [
        {"AllowedMethods": ["PATCH"]},
        {"AllowedOrigins": ["*.*"]},
        {"AllowedHeaders": ["*a*"]},
        {"ExposeHeaders": ["*"]},
        {"ExposeHeaders": ["a\nb"]},
        {"ExposeHeaders": ["a\rb"]},
    ],
)
def test_rules_that_are_not_valid_are_refused(s3, bucket, change):
    rule = {"AllowedOrigins": ["*"], "AllowedMethods": ["GET"], **change}
    assert code(s3.put_bucket_cors, Bucket=bucket, CORSConfiguration={"CORSRules": [rule]}) == "InvalidRequest"
    assert code(s3.get_bucket_cors, Bucket=bucket) == "NoSuchCORSConfiguration"


def preflight(request_s3, bucket, origin=PAGE, method="PUT", headers=None, key="/k"):
    """A browser repeats the URL, whose query names the key that signed it."""
    target, _ = request_s3.signed(method, f"/{bucket}{key}", how=PRESIGNED)
    asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return request_s3.send("OPTIONS", target, {name: value for name, value in asked.items() if value})


def test_a_preflight_is_allowed_by_the_first_rule_that_matches(request_s3, shared):
    reply = preflight(request_s3, shared, headers="X-Amz-Date, x-amz-meta-a")
    assert (reply.status, reply.body) == (200, b"")
    found = {name: value for name, value in reply.headers.items() if name.lower().startswith("access-control")}
    assert {name.lower(): value for name, value in found.items()} == {
        "access-control-allow-origin": PAGE,
        "access-control-allow-methods": "PUT, GET",
        "access-control-allow-headers": "x-amz-date, x-amz-meta-a",
        "access-control-allow-credentials": "true",
        "access-control-max-age": "5",
    }
    assert reply.headers["vary"] == "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"
    reply = preflight(request_s3, shared, "http://other", "GET")
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, "*")
    assert "access-control-allow-credentials" not in reply.headers
    assert preflight(request_s3, shared, key="").status == 200


def test_other_preflights_are_refused_with_a_reason(request_s3, s3, shared):
    for origin, method, headers in [
        ("http://other", "PUT", None),
        (PAGE, "DELETE", None),
        (PAGE, "PUT", "x-amz-date, other"),
        ("http://other", "GET", "x-amz-date"),
    ]:
        reply = preflight(request_s3, shared, origin, method, headers)
        assert (reply.status, reply.code) == (403, "AccessForbidden")
        assert reply.element("Method") == method and reply.element("ResourceType") == "OBJECT"
        assert "not allowed" in reply.element("Message")
        assert "access-control-allow-origin" not in reply.headers
    for asked in ({}, {"Origin": PAGE}, {"Origin": PAGE, "Access-Control-Request-Method": "PATCH"}):
        target, _ = request_s3.signed("GET", f"/{shared}/k", how=PRESIGNED)
        reply = request_s3.send("OPTIONS", target, asked)
        assert (reply.status, reply.code) == (400, "BadRequest")
    s3.delete_bucket_cors(Bucket=shared)
    reply = preflight(request_s3, shared)
    assert (reply.status, reply.code) == (403, "AccessForbidden")
    assert "not enabled" in reply.element("Message")
    assert preflight(request_s3, "b-that-is-not-there").code == "NoSuchBucket"


def test_responses_and_errors_have_the_headers(request_s3, shared):
    for target, status in ((f"/{shared}/k", 200), (f"/{shared}/missing", 404), (f"/{shared}", 200)):
        reply = request_s3("GET", target, {"Origin": "http://other"})
        assert (reply.status, reply.headers["access-control-allow-origin"]) == (status, "*")
        assert reply.headers["access-control-expose-headers"] == "ETag, x-amz-meta-a"
        assert "Origin" in reply.headers["vary"]
    reply = request_s3("PUT", f"/{shared}/new", {"Origin": PAGE}, b"x")
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, PAGE)
    wrong = S3Requests(request_s3.endpoint, secret_key="wrong")
    reply = wrong("GET", f"/{shared}/k", {"Origin": PAGE})
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (403, PAGE)
    reply = request_s3("PUT", f"/{shared}/new", {"Origin": "http://other"}, b"x")
    assert reply.status == 200 and "access-control-allow-origin" not in reply.headers
    assert "Origin" in reply.headers["vary"], "a cache must not mix the two"
    reply = request_s3("GET", f"/{shared}/k")
    assert "access-control-allow-origin" not in reply.headers and "vary" not in reply.headers


def test_a_form_gets_the_headers_of_its_bucket(s3, shared):
    s3.put_bucket_cors(Bucket=shared, CORSConfiguration={"CORSRules": [{"AllowedOrigins": [PAGE], "AllowedMethods": ["POST"]}]})
    form = s3.generate_presigned_post(shared, "k2")
    for origin, expected in ((PAGE, PAGE), ("http://other", None)):
        files = {"file": ("a", b"data")}
        reply = requests.post(form["url"], data=form["fields"], files=files, headers={"Origin": origin}, timeout=30)
        assert (reply.status_code, reply.headers.get("Access-Control-Allow-Origin")) == (204, expected)


def test_rules_are_gone_with_their_bucket(request_s3, s3, bucket):
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [{"AllowedOrigins": ["*"], "AllowedMethods": ["DELETE"]}]})
    reply = request_s3("DELETE", f"/{bucket}", {"Origin": PAGE})
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (204, "*")
    s3.create_bucket(Bucket=bucket)
    assert code(s3.get_bucket_cors, Bucket=bucket) == "NoSuchCORSConfiguration"


def test_a_preflight_finds_the_bucket_by_its_name(request_s3, shared):
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "PUT"}
    reply = request_s3("OPTIONS", f"/{shared}/k", asked, how=UNSIGNED)
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, PAGE)
    reply = request_s3("OPTIONS", "/b-that-is-not-there/k", asked, how=UNSIGNED)
    assert (reply.status, reply.code) == (404, "NoSuchBucket")
