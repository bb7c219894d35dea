"""A workload in both dialects through two proxies, and what must be found afterwards through each."""

import hashlib
import json
import random
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from botocore.exceptions import ClientError

MIB = 1024 * 1024
SIZES = {"empty": 0, "small": 11, "100 KiB": 100 * 1024, "several MiB": 3 * MIB + 5}
LISTING_QUERIES = [
    "",
    "&limit=3",
    "&marker=100%20KiB",
    "&end_marker=p",
    "&prefix=dir/",
    "&delimiter=/",
    "&prefix=dir/&delimiter=/",
    "&path=dir",
    "&reverse=on",
    "&reverse=on&marker=p&end_marker=d&limit=4",
    "&marker=d&prefix=dir&limit=2",
]


@dataclass
class Expected:
    """One object as every reader must see it."""

    body: bytes
    content_type: str = "application/octet-stream"
    meta: dict = field(default_factory=dict)
    manifest: bool = False


def ok(answer, *codes):
    codes = codes or (200, 201, 202, 204)
    request = answer.request
    assert answer.status_code in codes, f"{request.method} {request.url}: {answer.status_code} {answer.text[:300]}"
    return answer


def put(proxy, name, expected, **headers):
    sent = {"Content-Type": expected.content_type, **headers}
    # Header values travel as UTF-8 bytes.
    sent.update({f"X-Object-Meta-{key}": value.encode() for key, value in expected.meta.items()})
    answer = ok(proxy.swift("PUT", name, data=expected.body, headers=sent), 201)
    assert answer.headers["Etag"].strip('"') == hashlib.md5(expected.body).hexdigest()


class Workload:
    """`first` and `second` are proxies over one cluster; `seed` makes the bodies.

    `exact`: replicas have the same times. Of an upload through S3 over servers of both kinds Swift's have the time of its
    beginning, ours that of its end, until replication has brought the newest everywhere.
    """

    def __init__(self, name, first, second, seed=1, exact=True):
        self.name, self.first, self.second, self.exact = name, first, second, exact
        self.random = random.Random(seed)
        self.objects = {}
        self.gone = set()

    def container(self, what):
        return f"{self.name}-{what}"

    def bytes(self, size):
        return self.random.randbytes(size)

    def run(self):
        self.swift_objects()
        self.changes_of_objects()
        self.large_objects()
        self.links()
        self.s3_objects()
        self.s3_multipart()
        self.metadata_of_containers()
        return self

    def swift_objects(self):
        container = self.container("plain")
        for who in (self.first, self.second):
            ok(who.swift("PUT", container), 201, 202)
        for number, (what, size) in enumerate(SIZES.items()):
            for who, proxy in [("first", self.first), ("second", self.second)]:
                for name in [f"{what} {who}", f"dir/{who}/{what}", f"ünï/{what}-{who}-✓"]:
                    expected = Expected(self.bytes(size), f"text/x-{number}", {"Colour": "grün", "Who": who})
                    put(proxy, f"{container}/{name}", expected)
                    self.objects[container, name] = expected

    def changes_of_objects(self):
        """Each proxy changes what the other has written."""
        container = self.container("changed")
        ok(self.first.swift("PUT", container), 201)
        for who, writer, changer in [("a", self.first, self.second), ("b", self.second, self.first)]:
            for what in ["posted", "typed", "overwritten", "copied", "put again", "deleted"]:
                put(writer, f"{container}/{who}/{what}", Expected(self.bytes(70_000), "a/b", {"Old": "1"}))
                self.objects[container, f"{who}/{what}"] = Expected(b"")

            def path(what):
                return f"{container}/{who}/{what}"

            def body(what):
                return ok(writer.swift("GET", path(what)), 200).content

            ok(changer.swift("POST", path("posted"), headers={"X-Object-Meta-New": "neu ü".encode()}), 202)
            self.objects[container, f"{who}/posted"] = Expected(body("posted"), "a/b", {"New": "neu ü"})
            headers = {"Content-Type": "c/d", "X-Object-Meta-New": "2"}
            ok(changer.swift("POST", path("typed"), headers=headers), 202)
            self.objects[container, f"{who}/typed"] = Expected(body("typed"), "c/d", {"New": "2"})
            new = Expected(self.bytes(100), "e/f", {"Newer": "3"})
            put(changer, path("overwritten"), new)
            self.objects[container, f"{who}/overwritten"] = new
            headers = {"Destination": path("copy"), "X-Object-Meta-Copy": "yes"}
            ok(changer.swift("COPY", path("copied"), headers=headers), 201)
            self.objects[container, f"{who}/copied"] = Expected(body("copied"), "a/b", {"Old": "1"})
            copy = Expected(body("copied"), "a/b", {"Old": "1", "Copy": "yes"})
            self.objects[container, f"{who}/copy"] = copy
            ok(changer.swift("DELETE", path("put again")), 204)
            new = Expected(b"again", "g/h")
            put(writer, path("put again"), new)
            self.objects[container, f"{who}/put again"] = new
            ok(changer.swift("DELETE", path("deleted")), 204)
            del self.objects[container, f"{who}/deleted"]
            self.gone.add((container, f"{who}/deleted"))
            # Conditions that do not hold.
            headers = {"If-None-Match": "*"}
            ok(changer.swift("PUT", path("typed"), data=b"x", headers=headers), 412)
            ok(changer.swift("PUT", path("typed"), data=b"x", headers={"Etag": "0" * 32}), 422)
            ok(changer.swift("DELETE", path("not there")), 404)
            ok(changer.swift("POST", path("not there")), 404)

    def large_objects(self):
        container = self.container("large")
        for who, writer, other in [("a", self.first, self.second), ("b", self.second, self.first)]:
            ok(writer.swift("PUT", container), 201, 202)
            parts = [self.bytes(size) for size in (MIB, MIB + 3, 77)]
            segments = []
            for number, part in enumerate(parts):
                name = f"{container}/{who}/segment/{number}"
                proxy = writer if number % 2 else other
                put(proxy, name, Expected(part))
                self.objects[container, f"{who}/segment/{number}"] = Expected(part)
                segments.append({"path": f"/{name}", "etag": hashlib.md5(part).hexdigest(), "size_bytes": len(part)})
            query = "?multipart-manifest=put"
            ok(writer.swift("PUT", f"{container}/{who}/slo", query, data=json.dumps(segments)), 201)
            self.objects[container, f"{who}/slo"] = Expected(b"".join(parts), manifest=True)
            ranged = [{"path": segments[0]["path"], "range": "5-104"}, {"data": "aW5saW5l"}, segments[2]]
            ok(other.swift("PUT", f"{container}/{who}/ranged slo", query, data=json.dumps(ranged)), 201)
            self.objects[container, f"{who}/ranged slo"] = Expected(parts[0][5:105] + b"inline" + parts[2], manifest=True)
            headers = {"X-Object-Manifest": f"{container}/{who}/segment/", "Content-Type": "d/lo"}
            ok(writer.swift("PUT", f"{container}/{who}/dlo", data=b"", headers=headers), 201)
            self.objects[container, f"{who}/dlo"] = Expected(b"".join(parts), "d/lo", manifest=True)
            # A manifest and its segments go in one request.
            put(other, f"{container}/{who}/doomed segment", Expected(b"doomed"))
            doomed = json.dumps([{"path": f"/{container}/{who}/doomed segment"}])
            ok(writer.swift("PUT", f"{container}/{who}/doomed", query, data=doomed), 201)
            query = "?multipart-manifest=delete"
            accept = {"Accept": "application/json"}
            answer = ok(other.swift("DELETE", f"{container}/{who}/doomed", query, headers=accept), 200)
            assert answer.json()["Number Deleted"] == 2, answer.text
            self.gone |= {(container, f"{who}/doomed"), (container, f"{who}/doomed segment")}

    def links(self):
        """Each proxy makes links to what the other has written, and posts to the other's."""
        container = self.container("links")
        ok(self.first.swift("PUT", container), 201)
        for who, writer, other in [("a", self.first, self.second), ("b", self.second, self.first)]:
            target = Expected(self.bytes(5000), "t/t", {"Colour": "grün"})
            put(writer, f"{container}/{who}/target ü", target)
            etag = hashlib.md5(target.body).hexdigest()
            leads = {"X-Symlink-Target": quote(f"{container}/{who}/target ü")}
            static = {**leads, "X-Symlink-Target-Etag": etag}
            named = {**static, "X-Symlink-Target-Account": "AUTH_test"}
            self.objects[container, f"{who}/target ü"] = target
            for name, headers in [("dynamic", leads), ("static", static), ("named", named)]:
                ok(other.swift("PUT", f"{container}/{who}/{name}", data=b"", headers=headers), 201)
                # Rows of links have the etag of nothing.
                self.objects[container, f"{who}/{name}"] = replace(target, manifest=True)
            posted = {"X-Object-Meta-On": "the link"}
            answer = writer.swift("POST", f"{container}/{who}/static", headers=posted, allow_redirects=False)
            assert ok(answer, 307).headers["Location"].endswith(f"/{leads['X-Symlink-Target']}"), answer.headers
            ok(writer.swift("COPY", f"{container}/{who}/static", "?symlink=get", headers={"Destination": f"{container}/{who}/copy"}), 201)
            self.objects[container, f"{who}/copy"] = replace(target, manifest=True)
            for proxy in (writer, other):
                kept = ok(proxy.swift("HEAD", f"{container}/{who}/copy", "?symlink=get"), 200).headers
                assert kept["X-Symlink-Target"] == leads["X-Symlink-Target"] and kept["X-Object-Meta-On"] == "the link"
                assert (kept["X-Symlink-Target-Etag"], kept["X-Symlink-Target-Bytes"]) == (etag, "5000")
            other.swift("PUT", f"{container}/{who}/wrong", data=b"", headers={**static, "X-Symlink-Target-Etag": "x"})
            self.gone.add((container, f"{who}/wrong"))

    def s3_objects(self):
        container = self.container("s3")
        self.first.s3().create_bucket(Bucket=container)
        # To S3 the latter two are not one.
        meta = {"colour": "green", "foo_bar": "under", "foo-bar": "dash"}
        for who, writer, other in [("a", self.first.s3(), self.second.s3()), ("b", self.second.s3(), self.first.s3())]:
            for what, size in SIZES.items():
                key = f"{who}/{what}/ü"
                expected = Expected(self.bytes(size), "s/3", meta)
                writer.put_object(Bucket=container, Key=key, Body=expected.body, ContentType="s/3", Metadata=meta)
                self.objects[container, key] = expected
            source = {"Bucket": container, "Key": f"{who}/small/ü"}
            other.copy_object(Bucket=container, Key=f"{who}/copy", CopySource=source)
            self.objects[container, f"{who}/copy"] = self.objects[container, f"{who}/small/ü"]
            for name in ["gone", "gone too"]:
                writer.put_object(Bucket=container, Key=f"{who}/{name}", Body=b"x")
                self.gone.add((container, f"{who}/{name}"))
            other.delete_object(Bucket=container, Key=f"{who}/gone")
            other.delete_objects(Bucket=container, Delete={"Objects": [{"Key": f"{who}/gone too"}]})

    def s3_multipart(self):
        """One proxy begins, both send parts, the other completes."""
        container = self.container("s3-multipart")
        self.first.s3().create_bucket(Bucket=container)
        for who, writer, other in [("a", self.first.s3(), self.second.s3()), ("b", self.second.s3(), self.first.s3())]:
            key = f"{who} multipart"
            names = {"Bucket": container, "Key": key}
            upload = writer.create_multipart_upload(**names, ContentType="m/p", Metadata={"colour": "red"})["UploadId"]
            parts = [self.bytes(size) for size in (5 * MIB, 5 * MIB + 1, 10)]
            sent = []
            for number, part in enumerate(parts, 1):
                client = writer if number % 2 else other
                etag = client.upload_part(**names, UploadId=upload, PartNumber=number, Body=part)["ETag"]
                sent.append({"PartNumber": number, "ETag": etag})
            listed = [
                [(part["PartNumber"], part["Size"]) for part in client.list_parts(**names, UploadId=upload)["Parts"]]
                for client in (writer, other)
            ]
            assert listed[0] == listed[1] == [(number, len(part)) for number, part in enumerate(parts, 1)]
            uploads = [
                [(one["Key"], one["UploadId"]) for one in client.list_multipart_uploads(Bucket=container)["Uploads"]]
                for client in (writer, other)
            ]
            assert uploads[0] == uploads[1] == [(key, upload)]
            other.complete_multipart_upload(**names, UploadId=upload, MultipartUpload={"Parts": sent})
            self.objects[container, key] = Expected(b"".join(parts), "m/p", {"Colour": "red"}, manifest=True)
            upload = writer.create_multipart_upload(Bucket=container, Key="aborted")["UploadId"]
            other.upload_part(Bucket=container, Key="aborted", UploadId=upload, PartNumber=1, Body=b"x")
            other.abort_multipart_upload(Bucket=container, Key="aborted", UploadId=upload)
            self.gone.add((container, "aborted"))

    def metadata_of_containers(self):
        container = self.container("meta ü")
        headers = {"X-Container-Meta-Colour": "blü".encode(), "X-Container-Meta-Old": "1", "X-Container-Read": ".r:*"}
        ok(self.first.swift("PUT", container, headers=headers), 201)
        ok(self.second.swift("POST", container, headers={"X-Container-Meta-New": "2", "X-Remove-Container-Meta-Old": "x"}))
        ok(self.second.swift("POST", headers={"X-Account-Meta-Mixed": "yes ü".encode()}), 204)
        empty = self.container("deleted")
        ok(self.first.swift("PUT", empty), 201)
        put(self.first, f"{empty}/o", Expected(b"x"))
        ok(self.second.swift("DELETE", empty), 409)
        ok(self.second.swift("DELETE", f"{empty}/o"), 204)
        ok(self.second.swift("DELETE", empty), 204)
        for proxy in (self.first, self.second):
            # Swift's proxy remembers containers for some seconds.
            ok(proxy.swift("HEAD", empty), 404)

    def containers(self):
        return sorted({container for container, _ in self.objects})

    def verify(self, *proxies, listings=True):
        """Checks that each proxy returns everything as it was written, in each dialect."""
        proxies = proxies or (self.first, self.second)
        for (container, name), expected in self.objects.items():
            answers = [self.verify_object(proxy, container, name, expected) for proxy in proxies]
            assert all(answer == answers[0] for answer in answers), (container, name, answers)
        for container, name in self.gone:
            for proxy in proxies:
                ok(proxy.swift("GET", f"{container}/{name}"), 404)
        if listings:
            self.verify_listings(proxies)
        self.verify_s3(proxies)
        for proxy in proxies:
            head = ok(proxy.swift("HEAD", self.container("meta ü")), 204).headers
            assert head["X-Container-Meta-Colour"].encode("latin-1").decode() == "blü"
            assert head["X-Container-Meta-New"] == "2" and "X-Container-Meta-Old" not in head
            assert head["X-Container-Read"] == ".r:*"
            head = ok(proxy.swift("HEAD"), 204).headers
            assert head["X-Account-Meta-Mixed"].encode("latin-1").decode() == "yes ü"

    def verify_object(self, proxy, container, name, expected):
        path = f"{container}/{name}"
        answer = ok(proxy.swift("GET", path), 200)
        assert answer.content == expected.body, (path, len(answer.content), len(expected.body))
        assert answer.headers["Content-Type"] == expected.content_type, path
        # Swift's proxy shows an underscore as its s3api spells it.
        shown = {key.lower().replace("=5f", "_"): value for key, value in answer.headers.items()}
        for key, value in expected.meta.items():
            assert shown[f"x-object-meta-{key.lower()}"].encode("latin-1").decode() == value, path
        etag = answer.headers["Etag"]
        if not expected.manifest:
            assert etag == hashlib.md5(expected.body).hexdigest(), path
        head = ok(proxy.swift("HEAD", path), 200)
        assert head.headers["Content-Length"] == str(len(expected.body)), path
        assert ok(proxy.swift("GET", path, headers={"If-None-Match": etag}), 304)
        ok(proxy.swift("GET", path, headers={"If-Match": "no"}), 412)
        if len(expected.body) > 10:
            middle = len(expected.body) // 2
            for text, wanted in [
                ("0-4", expected.body[:5]),
                ("-3", expected.body[-3:]),
                (f"{middle}-{middle + 999}", expected.body[middle : middle + 1000]),
            ]:
                ranged = ok(proxy.swift("GET", path, headers={"Range": f"bytes={text}"}), 206)
                assert ranged.content == wanted, (path, text)
            several = ok(proxy.swift("GET", path, headers={"Range": "bytes=0-1,4-6"}), 200, 206)
            if expected.content_type == "d/lo":
                assert several.status_code == 200 and several.content == expected.body, path
            else:
                assert several.headers["Content-Type"].startswith("multipart/byteranges"), path
                assert expected.body[4:7] in several.content, path
        ok(proxy.swift("GET", path, headers={"Range": "bytes=999999999-"}), 416)
        kept = ["Etag", "Content-Length", "X-Static-Large-Object", "X-Object-Manifest"]
        if self.exact:
            kept += ["Last-Modified", "X-Timestamp"]
        return {key: head.headers.get(key) for key in kept}

    def verify_listings(self, proxies):
        for container in self.containers():
            names = sorted((name for of, name in self.objects if of == container), key=lambda name: name.encode())
            for query in LISTING_QUERIES:
                pages = [ok(proxy.swift("GET", container, f"?format=json{query}"), 200).json() for proxy in proxies]
                for row in [row for page in pages for row in page if not self.exact]:
                    row.pop("last_modified", None)
                assert all(page == pages[0] for page in pages), (container, query, pages)
                if not query:
                    assert [row["name"] for row in pages[0]] == names, container
                    for row in pages[0]:
                        expected = self.objects[container, row["name"]]
                        if not expected.manifest:
                            assert row["hash"] == hashlib.md5(expected.body).hexdigest(), row
                            assert row["bytes"] == len(expected.body), row
            for form in ["plain", "xml"] if self.exact else ["plain"]:
                pages = [ok(proxy.swift("GET", container, f"?format={form}"), 200).content for proxy in proxies]
                assert all(page == pages[0] for page in pages), (container, form, pages)
            heads = [ok(proxy.swift("HEAD", container), 204).headers for proxy in proxies]
            for head in heads:
                assert int(head["X-Container-Object-Count"]) == len(names), (container, head)
            kept = ["X-Container-Bytes-Used", "X-Storage-Policy", "Last-Modified"]
            assert all(head[key] == heads[0][key] for head in heads for key in kept), heads

    def verify_s3(self, proxies):
        for container in [self.container("s3"), self.container("s3-multipart")]:
            found = []
            for proxy in proxies:
                client = proxy.s3()
                rows = client.list_objects_v2(Bucket=container)["Contents"]
                found.append([(row["Key"], row["Size"], row["ETag"], self.exact and row["LastModified"]) for row in rows])
                for row in rows:
                    expected = self.objects[container, row["Key"]]
                    answer = client.get_object(Bucket=container, Key=row["Key"])
                    assert answer["Body"].read() == expected.body, row
                    assert answer["ETag"] == row["ETag"], row
                    assert answer["ContentType"] == expected.content_type
                    assert answer["Metadata"] == {key.lower(): value for key, value in expected.meta.items()}
                try:
                    client.get_object(Bucket=container, Key="never was there")
                    raise AssertionError("found")
                except ClientError as error:
                    assert error.response["Error"]["Code"] == "NoSuchKey"
            assert all(rows == found[0] for rows in found), found
            names = sorted(name for of, name in self.objects if of == container)
            assert sorted(row[0] for row in found[0]) == names
