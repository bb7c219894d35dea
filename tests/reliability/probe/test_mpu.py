"""Multipart uploads whose segments are in another policy (Swift's `test_mpu`)."""

import hashlib
import xml.etree.ElementTree

from apus_testing.clients import NAMESPACE


def test_a_manifest_goes_to_its_buckets_policy_though_the_segments_are_in_another(cluster):
    swift, s3 = cluster.swift(), cluster.s3()
    bucket, key = "mixed-policies", "mpu"
    s3.put(bucket)
    assert swift.head(bucket).headers["x-storage-policy"] == "gold"
    swift.put(f"{bucket}+segments", b"", {"X-Storage-Policy": "silver"})
    began = xml.etree.ElementTree.fromstring(s3.request("POST", bucket, key, query={"uploads": ""}).body)
    upload = began.findtext("s3:UploadId", namespaces=NAMESPACE)
    parts = [letter * (5 << 20) for letter in (b"a", b"b", b"c")]
    etags = []
    for number, part in enumerate(parts, 1):
        answer = s3.put(bucket, key, part, query={"partNumber": number, "uploadId": upload})
        etags.append(answer.headers["etag"].strip('"'))
    listed = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in enumerate(etags, 1))
    body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
    s3.request("POST", bucket, key, body, query={"uploadId": upload})

    whole = b"".join(parts)
    head = s3.head(bucket, key)
    assert int(head.headers["content-length"]) == len(whole) and head.headers["etag"].strip('"').endswith("-3")
    got = swift.get(f"{bucket}/{key}")
    assert got.body == whole
    slo_etag = hashlib.md5("".join(etags).encode()).hexdigest()
    assert got.headers["etag"].strip('"') == slo_etag
    assert s3.listing(bucket) == {key: (len(whole), head.headers["etag"].strip('"'))}
    (row,) = swift.listing(bucket)
    assert (row["name"], row["bytes"]) == (key, len(whole))
    assert row["s3_etag"] == head.headers["etag"] and row["slo_etag"].strip('"') == slo_etag
    assert [row["name"].split("/")[0] for row in swift.listing(f"{bucket}+segments")] == [key] * 3
    assert swift.head(f"{bucket}+segments").headers["x-storage-policy"] == "silver"
    # The manifest itself lies in the bucket's policy.
    for policy, files in [(0, 1), (1, 0)]:
        names = (swift.account, bucket, key)
        placement = cluster.placement("object", *names, policy=policy)
        statuses = {node.direct("object").request("HEAD", placement.partition, names, policy=policy).status for node in placement.primaries}
        assert statuses == ({200} if files else {404}), policy
