"""Policies of buckets: their document, and what they allow and deny in both dialects."""

import json

import pytest
from botocore.exceptions import ClientError

from apus_testing.swift_http import SwiftHttp


@pytest.fixture(scope="module")
def user(cluster):
    """A user of the bucket's account without rights of its own."""
    return cluster.s3("test:tester3", "testing3")


@pytest.fixture(scope="module")
def stranger(cluster):
    """An administrator of another account, with requests of Swift's dialect to the first."""
    owner, stranger = SwiftHttp(cluster), SwiftHttp(cluster, "test2:tester2", "testing2")
    stranger.root = owner.root
    return stranger


def statement(bucket, action, effect="Allow", principal="*", key="*", **more):
    resource = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/{key}"]
    return {"Effect": effect, "Principal": principal, "Action": action, "Resource": resource, **more}


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def put(s3, bucket, *statements, **more):
    s3.put_bucket_policy(Bucket=bucket, Policy=document(*statements), **more)


def code(call, **named):
    with pytest.raises(ClientError) as error:
        call(**named)
    return error.value.response["Error"]["Code"]


def test_a_document_is_returned_as_it_was_put(s3, bucket):
    assert code(s3.get_bucket_policy, Bucket=bucket) == "NoSuchBucketPolicy"
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is False
    inner = json.dumps(statement(bucket, "s3:GetObject"))
    policy = f'{{ "Statement" : {inner},\n "Id":"ü ☃" }}'
    assert s3.put_bucket_policy(Bucket=bucket, Policy=policy)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert s3.get_bucket_policy(Bucket=bucket)["Policy"] == policy
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is True
    put(s3, bucket, *(statement(bucket, "s3:GetObject", Sid=f"s{n}", key=f"{n}/*") for n in range(100)))
    assert len(json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]) == 100
    s3.delete_bucket_policy(Bucket=bucket)
    s3.delete_bucket_policy(Bucket=bucket)
    assert code(s3.get_bucket_policy, Bucket=bucket) == "NoSuchBucketPolicy"


@pytest.mark.parametrize(
    "change, element",
    [
        ({"Effect": "Permit"}, "Statement[0].Effect"),
        ({"Action": "s3:Fly"}, "Statement[0].Action"),
        ({"Resource": "arn:aws:s3:::another/*"}, "Statement[0].Resource"),
        ({"Principal": {"AWS": "someone:else"}}, "Statement[0].Principal.AWS"),
        ({"Condition": {"StringIs": {"s3:prefix": "a"}}}, "Statement[0].Condition.StringIs"),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "1.2.3"}}}, "Statement[0].Condition.IpAddress.aws:SourceIp"),
        ({"Condition": {"Bool": {"s3:nothing": "true"}}}, "Statement[0].Condition.Bool.s3:nothing"),
    ],
)
def test_a_document_that_cannot_be_evaluated_is_refused(s3, bucket, change, element):
    with pytest.raises(ClientError) as error:
        put(s3, bucket, {**statement(bucket, "s3:GetObject"), **change})
    assert error.value.response["Error"]["Code"] == "MalformedPolicy"
    assert element in error.value.response["Error"]["Message"]
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    for text in ("x", "{}", document(statement(bucket, "s3:GetObject")) + " " * 20480):
        assert code(s3.put_bucket_policy, Bucket=bucket, Policy=text) == "MalformedPolicy"
    assert code(s3.get_bucket_policy, Bucket=bucket) == "NoSuchBucketPolicy"


def test_an_allow_gives_exactly_what_it_names(s3, bucket, user):
    s3.put_object(Bucket=bucket, Key="open/a", Body=b"a")
    s3.put_object(Bucket=bucket, Key="closed/a", Body=b"a")
    principal = {"AWS": "arn:aws:iam::test:user/tester3"}
    put(s3, bucket, statement(bucket, ["s3:GetObject", "s3:DeleteObject"], principal=principal, key="open/*"))
    assert user.get_object(Bucket=bucket, Key="open/a")["Body"].read() == b"a"
    assert code(user.get_object, Bucket=bucket, Key="closed/a") == "AccessDenied"
    assert code(user.put_object, Bucket=bucket, Key="open/a", Body=b"") == "AccessDenied"
    assert code(user.list_objects_v2, Bucket=bucket) == "AccessDenied"
    assert code(user.get_object_tagging, Bucket=bucket, Key="open/a") == "AccessDenied"
    assert code(user.get_bucket_policy, Bucket=bucket) == "AccessDenied"
    keys = {"Objects": [{"Key": "open/a"}, {"Key": "closed/a"}]}
    deleted = user.delete_objects(Bucket=bucket, Delete=keys)
    assert [each["Key"] for each in deleted["Deleted"]] == ["open/a"]
    assert [(each["Key"], each["Code"]) for each in deleted["Errors"]] == [("closed/a", "AccessDenied")]


def test_a_deny_binds_the_owner_except_of_the_policy_itself(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"a")
    put(s3, bucket, statement(bucket, "s3:*", "Deny"))
    assert code(s3.get_object, Bucket=bucket, Key="k") == "AccessDenied"
    assert code(s3.list_objects_v2, Bucket=bucket) == "AccessDenied"
    assert code(s3.get_bucket_versioning, Bucket=bucket) == "AccessDenied"
    assert s3.get_bucket_policy(Bucket=bucket)["Policy"]
    put(s3, bucket, statement(bucket, "s3:GetBucketPolicy", "Deny"), ConfirmRemoveSelfBucketAccess=True)
    assert code(s3.get_bucket_policy, Bucket=bucket) == "AccessDenied"
    s3.delete_bucket_policy(Bucket=bucket)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"a"


def test_conditions_see_the_request(s3, bucket, cluster):
    user = cluster.s3("test:tester3", "testing3")
    s3.put_object(Bucket=bucket, Key="a/1", Body=b"a")
    for condition, allowed in [
        ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, True),
        ({"NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, False),
        ({"Bool": {"aws:SecureTransport": "true"}}, False),
        ({"StringLike": {"aws:UserAgent": "*Boto3*"}}, True),
        ({"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, False),
        ({"StringEquals": {"aws:username": "tester3"}}, True),
        ({"StringEquals": {"s3:signatureversion": "AWS4-HMAC-SHA256", "s3:authType": "REST-HEADER"}}, True),
        ({"NumericLessThan": {"s3:signatureAge": "600000"}}, True),
        ({"StringLike": {"s3:prefix": "a/*"}}, True),
        ({"StringLike": {"s3:prefix": "b/*"}}, False),
        ({"NumericLessThanEquals": {"s3:max-keys": "10"}}, True),
        ({"StringEquals": {"s3:delimiter": "/"}}, False),
    ]:
        put(s3, bucket, statement(bucket, "s3:ListBucket", Condition=condition))
        try:
            user.list_objects_v2(Bucket=bucket, Prefix="a/1", MaxKeys=10)
            assert allowed, condition
        except ClientError as error:
            assert not allowed and error.response["Error"]["Code"] == "AccessDenied", condition


def test_a_missing_object_is_shown_to_those_who_may_list_it(s3, bucket, user):
    condition = {"StringLike": {"s3:prefix": "open/*"}}
    put(s3, bucket, statement(bucket, "s3:ListBucket", Condition=condition))
    for call in (user.head_object, user.get_object):
        for key, expected in (("open/none", {"404", "NoSuchKey"}), ("closed/none", {"403", "AccessDenied"})):
            assert code(call, Bucket=bucket, Key=key) in expected


def test_tags_of_the_object_and_of_the_request_decide(s3, bucket, user):
    for key, team in (("ours", "x"), ("theirs", "y")):
        s3.put_object(Bucket=bucket, Key=key, Body=b"a", Tagging=f"team={team}")
    existing = {"StringEquals": {"s3:ExistingObjectTag/team": "x"}}
    requested = {
        "StringEquals": {"s3:RequestObjectTag/stage": "test"},
        "ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["stage", "team"]},
    }
    put(
        s3,
        bucket,
        statement(bucket, "s3:GetObject", Condition=existing),
        statement(bucket, ["s3:PutObjectTagging", "s3:PutObject"], Condition=requested),
    )
    assert user.get_object(Bucket=bucket, Key="ours")["Body"].read() == b"a"
    assert code(user.get_object, Bucket=bucket, Key="theirs") == "AccessDenied"
    assert code(user.get_object, Bucket=bucket, Key="none") == "AccessDenied"

    def tag(key, **tags):
        tagging = {"TagSet": [{"Key": name, "Value": value} for name, value in tags.items()]}
        return {"Bucket": bucket, "Key": key, "Tagging": tagging}

    user.put_object_tagging(**tag("theirs", stage="test", team="x"))
    assert code(user.put_object_tagging, **tag("theirs", stage="live")) == "AccessDenied"
    assert code(user.put_object_tagging, **tag("theirs", stage="test", more="x")) == "AccessDenied"
    assert user.get_object(Bucket=bucket, Key="theirs")["Body"].read() == b"a"
    user.put_object(Bucket=bucket, Key="new", Body=b"", Tagging="stage=test")
    assert code(user.put_object, Bucket=bucket, Key="new", Body=b"", Tagging="stage=x") == "AccessDenied"
    assert code(user.put_object, Bucket=bucket, Key="new", Body=b"") == "AccessDenied"


def test_an_upload_with_tags_needs_the_right_to_tag(s3, bucket, user):
    put(s3, bucket, statement(bucket, "s3:PutObject"))
    user.put_object(Bucket=bucket, Key="k", Body=b"")
    assert code(user.put_object, Bucket=bucket, Key="k", Body=b"", Tagging="a=b") == "AccessDenied"
    assert code(user.create_multipart_upload, Bucket=bucket, Key="k", Tagging="a=b") == "AccessDenied"


def test_a_copy_needs_both_rights(s3, bucket, user):
    s3.put_object(Bucket=bucket, Key="open/a", Body=b"a")
    s3.put_object(Bucket=bucket, Key="open/b", Body=b"a")
    s3.put_object(Bucket=bucket, Key="closed/a", Body=b"a")
    source = {"StringLike": {"s3:x-amz-copy-source": f"{bucket}/*/a"}}
    put(
        s3,
        bucket,
        statement(bucket, "s3:GetObject", key="open/*"),
        statement(bucket, "s3:PutObject", key="in/*", Condition=source),
    )
    user.copy_object(Bucket=bucket, Key="in/1", CopySource=f"{bucket}/open/a")
    for key, path in (("in/1", "closed/a"), ("out/1", "open/a"), ("in/1", "open/b")):
        assert code(user.copy_object, Bucket=bucket, Key=key, CopySource=f"{bucket}/{path}") == "AccessDenied"
    assert code(user.put_object, Bucket=bucket, Key="in/2", Body=b"") == "AccessDenied"


def test_uploads_of_parts_need_the_right_to_write(s3, bucket, user):
    put(s3, bucket, statement(bucket, "s3:PutObject", key="up/*"))
    upload = user.create_multipart_upload(Bucket=bucket, Key="up/k")["UploadId"]
    names = {"Bucket": bucket, "Key": "up/k", "UploadId": upload}
    part = user.upload_part(PartNumber=1, Body=b"part", **names)
    assert code(user.list_parts, **names) == "AccessDenied"
    assert code(user.list_multipart_uploads, Bucket=bucket) == "AccessDenied"
    user.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}, **names)
    assert code(user.get_object, Bucket=bucket, Key="up/k") == "AccessDenied"
    assert code(user.create_multipart_upload, Bucket=bucket, Key="k") == "AccessDenied"


def test_versions_have_permissions_of_their_own(s3, bucket, user):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["VersionId"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"2")
    put(s3, bucket, statement(bucket, "s3:GetObject"))
    assert user.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"
    assert code(user.get_object, Bucket=bucket, Key="k", VersionId=version) == "AccessDenied"
    named = {"StringEquals": {"s3:VersionId": version}}
    put(s3, bucket, statement(bucket, ["s3:GetObjectVersion", "s3:DeleteObject"], Condition=named))
    assert user.get_object(Bucket=bucket, Key="k", VersionId=version)["Body"].read() == b"1"
    assert code(user.get_object, Bucket=bucket, Key="k") == "AccessDenied"
    assert code(user.delete_object, Bucket=bucket, Key="k", VersionId=version) == "AccessDenied"


def test_requests_of_swift_are_judged_as_well(s3, bucket, stranger, cluster):
    owner = SwiftHttp(cluster)
    assert owner("PUT", f"/{bucket}/k", body=b"data")[0] == 201
    assert stranger("GET", f"/{bucket}/k")[0] == 403
    put(s3, bucket, statement(bucket, ["s3:GetObject", "s3:ListBucket"], principal={"AWS": "test2"}))
    assert stranger("GET", f"/{bucket}/k")[2] == b"data"
    assert stranger("GET", f"/{bucket}")[0] == 200
    assert stranger("PUT", f"/{bucket}/k", body=b"")[0] == 403
    assert stranger("POST", f"/{bucket}", {"X-Container-Meta-A": "b"})[0] == 403
    assert stranger.raw("GET", f"{stranger.root}/{bucket}/k")[0] == 401
    assert owner("POST", f"/{bucket}", {"X-Container-Read": "test2"})[0] == 204
    put(s3, bucket, statement(bucket, "s3:GetObject", "Deny"))
    assert stranger("GET", f"/{bucket}/k")[0] == 403
    assert owner("GET", f"/{bucket}/k")[0] == 403
    assert owner("HEAD", f"/{bucket}")[0] == 204
    referrer = {"StringLike": {"aws:Referer": "http://page.example/*"}}
    put(s3, bucket, statement(bucket, "s3:GetObject", Condition=referrer))
    page = {"Referer": "http://page.example/x"}
    assert stranger.raw("GET", f"{stranger.root}/{bucket}/k", page)[0] == 200
    assert stranger.raw("GET", f"{stranger.root}/{bucket}/k", {"Referer": "http://page.example.org/"})[0] == 401


def test_a_deny_of_unencrypted_requests_is_valid_for_all(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"a")
    put(s3, bucket, statement(bucket, "s3:*", "Deny", Condition={"Bool": {"aws:SecureTransport": "false"}}))
    assert code(s3.get_object, Bucket=bucket, Key="k") == "AccessDenied"
    s3.delete_bucket_policy(Bucket=bucket)


def test_policies_are_gone_with_their_bucket_and_do_not_show_in_swift(s3, bucket, swift):
    put(s3, bucket, statement(bucket, "s3:GetObject"))
    headers = swift.head_container(bucket)
    assert not [name for name in headers if "sysmeta" in name.lower() or "apus" in name.lower()]
    s3.delete_bucket(Bucket=bucket)
    s3.create_bucket(Bucket=bucket)
    assert code(s3.get_bucket_policy, Bucket=bucket) == "NoSuchBucketPolicy"
