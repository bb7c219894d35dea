"""CORS in Swift's dialect: preflights and headers of responses, by the metadata of a container."""

import time

import pytest
import requests

PAGE = "https://page.example"
META = "X-Container-Meta-Access-Control-"
PREFLIGHT = {"Origin": PAGE, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "X-Auth-Token, X-A"}


@pytest.fixture
def container(swift):
    """A URL of a container that allows the page, and the token of its owner."""
    name = f"c-{time.time_ns()}"
    swift.put_container(name, {f"{META}Allow-Origin": f"http://b {PAGE}", f"{META}Max-Age": "60", f"{META}Expose-Headers": "X-Own"})
    swift.put_object(name, "o", b"data", headers={"X-Object-Meta-Colour": "red"})
    return f"{swift.url}/{name}", swift.token


def header(reply, name):
    return reply.headers.get(f"Access-Control-{name}")


def test_a_preflight_is_allowed_without_a_token(container):
    url, _ = container
    for target in (url, f"{url}/o", f"{url}/new"):
        reply = requests.options(target, headers=PREFLIGHT, timeout=10)
        assert (reply.status_code, header(reply, "Allow-Origin"), header(reply, "Max-Age")) == (200, PAGE, "60")
        assert "PUT" in header(reply, "Allow-Methods") and header(reply, "Allow-Headers") == "X-Auth-Token, X-A"
        assert "Origin" in reply.headers["Vary"]
    for changed in ({"Origin": "http://other"}, {"Access-Control-Request-Method": "PATCH"}):
        reply = requests.options(url, headers={**PREFLIGHT, **changed}, timeout=10)
        assert (reply.status_code, header(reply, "Allow-Origin")) == (401, None)
    assert requests.options(url + "-missing", headers=PREFLIGHT, timeout=10).status_code == 401
    reply = requests.options(url, timeout=10)
    assert reply.status_code == 200 and "PUT" in reply.headers["Allow"]


def test_responses_and_errors_have_the_headers(container):
    url, token = container
    for target, given, status in ((f"{url}/o", token, 200), (f"{url}/missing", token, 404), (url, token, 200), (f"{url}/o", None, 401)):
        reply = requests.get(target, headers={"X-Auth-Token": given, "Origin": PAGE}, timeout=10)
        assert (reply.status_code, header(reply, "Allow-Origin")) == (status, PAGE)
        exposed = header(reply, "Expose-Headers").split(", ")
        assert {"etag", "x-trans-id", "x-own"} <= set(exposed)
    reply = requests.get(f"{url}/o", headers={"X-Auth-Token": token, "Origin": PAGE}, timeout=10)
    assert "x-object-meta-colour" in header(reply, "Expose-Headers")
    for headers in ({"Origin": "http://other"}, {}):
        reply = requests.get(f"{url}/o", headers={"X-Auth-Token": token, **headers}, timeout=10)
        assert (reply.status_code, header(reply, "Allow-Origin")) == (200, None)


def test_a_container_may_allow_all_origins(container, swift):
    url, token = container
    swift.post_container(url.rsplit("/", 1)[1], {f"{META}Allow-Origin": "*"})
    reply = requests.get(f"{url}/o", headers={"X-Auth-Token": token, "Origin": "http://any"}, timeout=10)
    assert (header(reply, "Allow-Origin"), reply.headers.get("Vary")) == ("*", None)
