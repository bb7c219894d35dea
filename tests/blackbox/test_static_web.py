"""Static web sites of Swift's dialect: index and error pages, listings, redirects, and who sees them."""

import pytest

from apus_testing.swift_http import SwiftHttp

READ = {"X-Container-Read": ".r:*,.rlistings"}


@pytest.fixture(scope="module")
def swift(cluster):
    swift = SwiftHttp(cluster)
    site = {"X-Container-Meta-Web-Index": "index.html", "X-Container-Meta-Web-Error": "error.html", **READ}
    assert swift("PUT", "/site", site)[0] == 201
    assert swift("PUT", "/files", {"X-Container-Meta-Web-Listings": "true", **READ})[0] == 201
    assert swift("PUT", "/plain", READ)[0] == 201
    assert swift("PUT", "/private", {"X-Container-Meta-Web-Index": "index.html"})[0] == 201
    for name in ["site/index.html", "site/d/index.html", "site/404error.html", "plain/o", "private/index.html"]:
        assert swift("PUT", f"/{name}", body=name.encode())[0] == 201
    for name in ["a%20%3Cb%3E.txt", "d/e/f", "d/%C3%BC"]:
        assert swift("PUT", f"/files/{name}", {"Content-Type": "text/plain"}, b"x" * 2000)[0] == 201
    assert swift("PUT", "/files/marker", {"Content-Type": "application/directory"})[0] == 201
    return swift


@pytest.fixture
def get(swift):
    """The response to a browser: without a token."""
    return lambda path, method="GET", headers=(): swift.raw(method, swift.root + path, headers)


def test_an_index_is_served_for_its_directory(swift, get):
    assert get("/site/")[2] == b"site/index.html"
    assert get("/site/d/")[2] == b"site/d/index.html"
    assert get("/site/", "HEAD")[0] == 200
    for path in ["/site", "/site/d"]:
        status, headers, _ = get(path)
        assert (status, headers["location"]) == (301, f"http://127.0.0.1:{swift.port}{swift.root}{path}/")


def test_an_error_has_the_page_of_the_site(get):
    status, headers, body = get("/site/missing")
    assert (status, body) == (404, b"site/404error.html")
    assert headers["content-type"].startswith("text/html")
    assert get("/private/")[0] == 401
    assert get("/private/index.html")[0] == 401


def test_directories_are_listed(get):
    status, headers, body = get("/files/")
    text = body.decode()
    assert (status, headers["content-type"]) == (200, "text/html; charset=UTF-8")
    assert '<a href="./a%20%3Cb%3E%2Etxt">a &lt;b&gt;.txt</a>' in text
    assert '<td class="colsize">2Ki</td>' in text and 'class="item type-text type-plain"' in text
    assert '<a href="./d/">d/</a>' in text and "../" not in text
    text = get("/files/d/")[2].decode()
    assert '<a href="../">../</a>' in text and '<a href="./e/">e/</a>' in text and ">ü</a>" in text
    assert get("/files/d")[0] == 301
    assert get("/files/none")[0] == 404 and get("/files/none/")[0] == 404
    # An empty object of the type of directories is one.
    assert get("/files/marker")[0] == 404


def test_a_site_without_listings_says_so(get):
    status, _, body = get("/site/d/none/")
    assert status == 404 and body == b"site/404error.html"


def test_listings_have_the_owners_style_and_label(swift, get):
    style = {"X-Container-Meta-Web-Listings-CSS": "s.css", "X-Container-Meta-Web-Listings-Label": "Files"}
    assert swift("POST", "/files", {**style, **READ})[0] == 204
    text = get("/files/d/")[2].decode()
    assert 'href="../s.css"' in text and "<title>Listing of Files/d/</title>" in text
    removed = {"X-Remove-Container-Meta-Web-Listings-CSS": "x", "X-Remove-Container-Meta-Web-Listings-Label": "x"}
    assert swift("POST", "/files", removed)[0] == 204
    assert "<style" in get("/files/")[2].decode()


def test_users_see_containers_unless_they_ask_for_the_site(swift):
    assert swift("GET", "/site")[2].decode().splitlines() == ["404error.html", "d/index.html", "index.html"]
    assert swift("GET", "/site/", {"X-Web-Mode": "true"})[2] == b"site/index.html"
    assert swift("GET", "/plain/", {"X-Web-Mode": "true"})[0] == 404
    assert swift("GET", "/files/d", {"X-Web-Mode": "true"})[0] == 301


def test_other_containers_are_read_as_without_sites(get):
    assert get("/plain")[2] == b"o\n"
    assert get("/plain/o")[2] == b"plain/o"
    assert get("/plain/missing")[0] == 404
