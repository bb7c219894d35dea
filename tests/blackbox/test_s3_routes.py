"""Routing of S3 requests to operations, refusals, and responses about missing configuration."""

from collections.abc import Callable

import pytest
from botocore.exceptions import ClientError

from apus_testing.s3_requests import PRESIGNED, UNSIGNED, S3Requests

MISSING = {
    "get_bucket_policy": "NoSuchBucketPolicy",
    "get_bucket_cors": "NoSuchCORSConfiguration",
    "get_bucket_lifecycle_configuration": "NoSuchLifecycleConfiguration",
    "get_bucket_encryption": "ServerSideEncryptionConfigurationNotFoundError",
    "get_bucket_tagging": "NoSuchTagSet",
    "get_public_access_block": "NoSuchPublicAccessBlockConfiguration",
    "get_bucket_ownership_controls": "OwnershipControlsNotFoundError",
    "get_object_lock_configuration": "ObjectLockConfigurationNotFoundError",
    "get_bucket_replication": "ReplicationConfigurationNotFoundError",
    "get_bucket_website": "NoSuchWebsiteConfiguration",
}
EMPTY = {
    "get_bucket_policy_status": {"PolicyStatus": {"IsPublic": False}},
    "get_bucket_logging": {},
    "get_bucket_notification_configuration": {},
    "get_bucket_request_payment": {"Payer": "BucketOwner"},
    "get_bucket_accelerate_configuration": {},
    "get_bucket_versioning": {},
    "list_bucket_analytics_configurations": {"IsTruncated": False},
    "list_bucket_metrics_configurations": {"IsTruncated": False},
    "list_bucket_inventory_configurations": {"IsTruncated": False},
    "list_bucket_intelligent_tiering_configurations": {"IsTruncated": False},
}
DELETES = [
    "delete_bucket_policy",
    "delete_bucket_cors",
    "delete_bucket_lifecycle",
    "delete_bucket_encryption",
    "delete_bucket_tagging",
    "delete_public_access_block",
    "delete_bucket_ownership_controls",
    "delete_bucket_replication",
    "delete_bucket_website",
]


@pytest.fixture
def request_s3(cluster):
    return S3Requests(cluster.access["endpoint"])


def answer(call, **arguments):
    reply = call(**arguments)
    assert reply.pop("ResponseMetadata")["HTTPStatusCode"] in (200, 204)
    return reply


def refused(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"]


def test_what_was_never_set_is_missing_or_empty_as_on_aws(s3, bucket):
    for name, code in MISSING.items():
        assert refused(getattr(s3, name), Bucket=bucket) == code, name
    for name, expected in EMPTY.items():
        assert answer(getattr(s3, name), Bucket=bucket) == expected, name
    assert refused(s3.get_bucket_metrics_configuration, Bucket=bucket, Id="x") == "NoSuchConfiguration"
    for name in DELETES:
        assert answer(getattr(s3, name), Bucket=bucket) == {}, name
    s3.head_bucket(Bucket=bucket)


def test_what_was_never_set_on_an_object_is_empty_and_only_of_an_object_that_is_there(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert answer(s3.get_object_tagging, Bucket=bucket, Key="k") == {"TagSet": []}
    assert answer(s3.delete_object_tagging, Bucket=bucket, Key="k") == {}
    for call in (s3.get_object_retention, s3.get_object_legal_hold):
        assert refused(call, Bucket=bucket, Key="k") == "InvalidRequest"
    for call in (s3.get_object_tagging, s3.delete_object_tagging):
        assert refused(call, Bucket=bucket, Key="missing") == "NoSuchKey"
    assert refused(s3.get_object_tagging, Bucket=bucket, Key="k", VersionId="x") == "InvalidArgument"
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_missing_configuration_is_reported_to_those_who_may_read_the_bucket(cluster, s3, bucket):
    missing, stranger = "b-that-is-not-there", cluster.s3("test:tester3", "testing3")
    for name in [*MISSING, *EMPTY, *DELETES]:
        assert refused(getattr(s3, name), Bucket=missing) == "NoSuchBucket", name
        assert refused(getattr(stranger, name), Bucket=bucket) == "AccessDenied", name
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert refused(stranger.get_object_tagging, Bucket=bucket, Key="k") == "AccessDenied"


def test_a_sub_resource_never_falls_through_to_what_destroys(request_s3, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"kept")
    for method in ("PUT", "DELETE", "POST"):
        for sub in ("uploads", "attributes", "acl", "torrent", "versions", "location", "policy", "list-type=2"):
            if (method, sub) == ("POST", "uploads"):
                continue
            reply = request_s3(method, f"/{bucket}/k?{sub}")
            assert reply.status in (400, 405, 501), (method, sub, reply.status)
            assert reply.code, (method, sub)
    for target in ("?versionId=null", "?partNumber=1"):
        assert request_s3("PUT", f"/{bucket}/k{target}", body=b"x").status == 400
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"kept"
    s3.delete_object(Bucket=bucket, Key="k")
    for query in ("uploadId=x", "uploadId=", "partNumber=1", "versionId=null", "versions", "location", "acl", "delete"):
        for target in (f"/{bucket}?{query}", f"/{bucket}/?{query}"):
            assert request_s3("DELETE", target).status in (400, 405), target
            assert request_s3("PUT", target).status in (400, 405, 501), target
    s3.head_bucket(Bucket=bucket)


def test_a_path_with_an_empty_first_segment_is_refused_for_every_method(request_s3):
    for target in ("//", "//demo", "//demo/a"):
        for method in ("GET", "PUT", "DELETE", "POST"):
            reply = request_s3(method, target)
            assert (reply.status, reply.code) == (400, "InvalidBucketName"), (method, target)
        assert request_s3("HEAD", target).status == 400
    assert b"ListAllMyBucketsResult" in request_s3("GET", "/").body


def test_only_containers_that_may_be_buckets_are_listed(s3, swift, bucket):
    for name in ("c", "with space", "grün", "a+segments"):
        swift.put_container(name)
    names = [found["Name"] for found in s3.list_buckets()["Buckets"]]
    assert bucket in names
    assert not {"c", "with space", "grün", "a+segments"} & set(names)
    for name in names:
        s3.head_bucket(Bucket=name)


def test_a_bucket_in_the_host_name_is_found_whatever_the_case(request_s3, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    for domain in ("localhost", "LOCALHOST", "LocalHost"):
        host = f"{bucket}.{domain}:{request_s3.port}"
        assert request_s3("GET", "/k", {"Host": host}).body == b"x"


def test_the_location_of_an_upload_is_in_the_style_of_the_request(request_s3, s3, bucket):
    for host, prefix, base in [
        (f"127.0.0.1:{request_s3.port}", f"/{bucket}", f"http://127.0.0.1:{request_s3.port}/{bucket}/"),
        (f"{bucket}.localhost", "", f"http://{bucket}.localhost/"),
    ]:
        upload = s3.create_multipart_upload(Bucket=bucket, Key="dir/k")["UploadId"]
        etag = s3.upload_part(Bucket=bucket, Key="dir/k", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
        part = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
        body = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()
        reply = request_s3("POST", f"{prefix}/dir/k?uploadId={upload}", {"Host": host}, body)
        assert reply.element("Location") == base + "dir/k"


def test_headers_that_say_no_are_no_reason_to_refuse(s3, bucket):
    off = bucket + "-off"
    s3.create_bucket(Bucket=off, ObjectLockEnabledForBucket=False, ObjectOwnership="BucketOwnerEnforced")
    s3.put_object(
        Bucket=off,
        Key="k",
        Body=b"x",
        BucketKeyEnabled=False,
        ObjectLockLegalHoldStatus="OFF",
        RequestPayer="requester",
        Tagging="",
        ACL="bucket-owner-full-control",
    )
    for change in [
        {"ServerSideEncryption": "aws:kms:dsse"},
        {"ACL": "aws-exec-read"},
        {"WebsiteRedirectLocation": "/x"},
    ]:
        assert refused(s3.put_object, Bucket=off, Key="new", Body=b"x", **change) == "NotImplemented"
    s3.delete_object(Bucket=off, Key="k", BypassGovernanceRetention=False)
    s3.delete_bucket(Bucket=off)


def test_the_expected_owner_is_the_one_that_listings_show(s3, bucket):
    owner = s3.list_buckets()["Owner"]["ID"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ExpectedBucketOwner=owner)
    wrong = {"Bucket": bucket, "ExpectedBucketOwner": "another"}
    calls: list[tuple[Callable, dict]] = [
        (s3.get_object, {"Key": "k"}),
        (s3.head_object, {"Key": "k"}),
        (s3.put_object, {"Key": "k", "Body": b"y"}),
        (s3.delete_object, {"Key": "k"}),
        (s3.list_objects_v2, {}),
        (s3.get_bucket_acl, {}),
        (s3.get_bucket_policy, {}),
        (s3.delete_bucket_policy, {}),
        (s3.create_multipart_upload, {"Key": "k"}),
        (s3.delete_objects, {"Delete": {"Objects": [{"Key": "k"}]}}),
        (s3.delete_bucket, {}),
    ]
    for call, more in calls:
        assert refused(call, **wrong, **more) in ("AccessDenied", "403")
    source = {"Bucket": bucket, "Key": "copy", "CopySource": f"{bucket}/k"}
    assert refused(s3.copy_object, **source, ExpectedSourceBucketOwner="another") == "AccessDenied"
    s3.copy_object(**source, ExpectedSourceBucketOwner=owner, ExpectedBucketOwner=owner)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_browsers_and_clients_of_other_services_learn_why_they_are_refused(request_s3, bucket):
    preflight = {"Origin": "http://page", "Access-Control-Request-Method": "PUT"}
    for target in (f"/{bucket}", f"/{bucket}/k"):
        reply = request_s3("OPTIONS", target, preflight, how=UNSIGNED)
        assert (reply.status, reply.code) == (403, "AccessForbidden")
        assert "CORS is not enabled" in reply.element("Message")
    assert request_s3("OPTIONS", f"/{bucket}", how=UNSIGNED).code == "BadRequest"
    reply = request_s3("GET", f"/{bucket}/k", how=UNSIGNED)
    assert (reply.status, reply.code) == (403, "AccessDenied")
    assert "not signed" in reply.element("Message")
    reply = request_s3("POST", "/v3/auth/tokens", {"Content-Type": "application/json"}, b"{}", how=UNSIGNED)
    assert (reply.status, reply.headers["content-type"]) == (404, "application/json")
    assert b"Keystone" in reply.body


def test_a_region_that_is_not_ours_is_named_with_ours(request_s3, bucket):
    for region in ("eu-west-1", "x", "US-EAST-1"):
        reply = request_s3("GET", f"/{bucket}", region=region)
        assert (reply.status, reply.code) == (400, "AuthorizationHeaderMalformed"), region
        assert reply.element("Region") == "us-east-1" and f"'{region}'" in reply.element("Message")
        reply = request_s3("GET", f"/{bucket}", how=PRESIGNED, region=region)
        assert (reply.status, reply.code) == (400, "AuthorizationQueryParametersError"), region
        assert reply.element("Region") == "us-east-1"
    for how in ("header", PRESIGNED):
        assert request_s3("GET", f"/{bucket}", how=how).status == 200


def test_a_scope_of_another_date_is_refused(request_s3, bucket):
    target, headers = request_s3.signed("GET", f"/{bucket}")
    date = headers["X-Amz-Date"][:8]
    for wrong in (date[:4], date[:1], date + "T", "19700101"):
        changed = dict(headers, Authorization=headers["Authorization"].replace(f"/{date}/", f"/{wrong}/"))
        assert request_s3.send("GET", target, changed).code == "AuthorizationHeaderMalformed", wrong


def test_a_client_whose_clock_is_off_gets_the_time_of_the_server(request_s3, bucket):
    _, headers = request_s3.signed("GET", f"/{bucket}")
    old = dict(headers)
    old["X-Amz-Date"] = "20200101T000000Z"
    reply = request_s3.send("GET", f"/{bucket}", old)
    assert (reply.status, reply.code) == (403, "RequestTimeTooSkewed")
    assert reply.element("RequestTime") == "20200101T000000Z"
    assert reply.element("ServerTime").endswith("Z") and reply.element("ServerTime") > "2026"
    assert reply.element("MaxAllowedSkewMilliseconds") == "900000"


def test_bad_names_of_buckets_are_answered_with_what_a_name_may_be(request_s3):
    reply = request_s3("PUT", "/Bad_Name")
    assert (reply.status, reply.code) == (400, "InvalidBucketName")
    assert "3 to 63" in reply.element("Message")
    reply = request_s3("GET", "/ab")
    assert (reply.status, reply.code) == (400, "InvalidBucketName")
    assert "3 to 255" in reply.element("Message")


def test_documents_end_where_s3_ends_them(request_s3, s3, bucket):
    keys = "".join(f"<Object><Key>k{number}</Key></Object>" for number in range(1001))
    many = f"<Delete>{keys}</Delete>".encode()
    elements = b"<Delete>" + b"<a/>" * 900_000 + b"</Delete>"
    for body in (many, elements, b"<Other><Object><Key>k</Key></Object></Other>"):
        reply = request_s3("POST", f"/{bucket}?delete", body=body)
        assert (reply.status, reply.code) == (400, "MalformedXML")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    parts = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>x</ETag></Part>" for n in range(1, 10_002))
    body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    reply = request_s3("POST", f"/{bucket}/k?uploadId={upload}", body=body)
    assert (reply.status, reply.code) == (400, "MalformedXML")


def test_rights_come_before_the_document_of_a_new_bucket(cluster):
    stranger = S3Requests(cluster.access["endpoint"], "test:tester3", "testing3")
    assert stranger("PUT", "/b-of-a-stranger", body=b"<no document").code == "AccessDenied"
    owner = S3Requests(cluster.access["endpoint"])
    assert owner("PUT", "/b-of-its-owner", body=b"<no document").code == "MalformedXML"
