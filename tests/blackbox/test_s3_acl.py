"""ACLs, ownership controls and public access block: two accounts and anonymous callers in one bucket."""

import time

import pytest
from botocore.exceptions import ClientError

from apus_testing.s3_requests import UNSIGNED, S3Requests
from apus_testing.saio import Saio

OWNER, OTHER = "test:tester", "test2:tester2"
ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Saio(tmp_path_factory.mktemp("acl") / "data", "--dev-users").start()
    cluster.set_option("proxy", "filter:s3api", "anonymous_account", "AUTH_test")
    yield cluster
    assert cluster.stop() == 0


@pytest.fixture
def acl_bucket(s3):
    """A bucket in which ACLs have an effect."""
    name = f"acl-{time.time_ns()}"
    s3.create_bucket(Bucket=name, ObjectOwnership="ObjectWriter")
    return name


@pytest.fixture
def anonymous(cluster):
    request = S3Requests(cluster.access["endpoint"])
    return lambda method, target, body=b"", headers=None: request(method, target, headers, body, UNSIGNED)


def code(call, **arguments):
    with pytest.raises(ClientError) as failed:
        call(**arguments)
    return failed.value.response["Error"]["Code"]


def grants(response):
    """Grantee and permission of each grant."""
    return [(one["Grantee"].get("ID", one["Grantee"].get("URI")), one["Permission"]) for one in response["Grants"]]


def test_acls_have_no_effect_by_default(s3, bucket):
    assert grants(s3.get_bucket_acl(Bucket=bucket)) == [(OWNER, "FULL_CONTROL")]
    assert code(s3.put_bucket_acl, Bucket=bucket, ACL="public-read") == "AccessControlListNotSupported"
    assert code(s3.put_object, Bucket=bucket, Key="k", ACL="public-read") == "AccessControlListNotSupported"
    for acl in ("private", "bucket-owner-full-control"):
        s3.put_object(Bucket=bucket, Key="k", ACL=acl)
    # What changes nothing is accepted.
    s3.put_object_acl(Bucket=bucket, Key="k", ACL="private")
    assert code(s3.put_object_acl, Bucket=bucket, Key="k", ACL="public-read") == "AccessControlListNotSupported"
    assert grants(s3.get_object_acl(Bucket=bucket, Key="k")) == [(OWNER, "FULL_CONTROL")]
    name = f"{bucket}-public"
    assert code(s3.create_bucket, Bucket=name, ACL="public-read") == "InvalidBucketAclWithObjectOwnership"


def test_an_acl_of_an_object_opens_it_alone(s3, acl_bucket, anonymous):
    s3.put_object(Bucket=acl_bucket, Key="open", Body=b"open", ACL="public-read")
    s3.put_object(Bucket=acl_bucket, Key="closed", Body=b"closed")
    assert anonymous("GET", f"/{acl_bucket}/open").body == b"open"
    for target in ("closed", "absent", "?list-type=2"):
        assert anonymous("GET", f"/{acl_bucket}/{target}").status == 403, target
    assert anonymous("PUT", f"/{acl_bucket}/open", b"x").status == 403
    s3.put_object_acl(Bucket=acl_bucket, Key="open", ACL="private")
    assert anonymous("GET", f"/{acl_bucket}/open").status == 403
    assert s3.get_object(Bucket=acl_bucket, Key="open")["Body"].read() == b"open"


def test_a_public_bucket_is_listed_and_reports_what_does_not_exist(s3, acl_bucket, anonymous):
    assert not s3.get_bucket_policy_status(Bucket=acl_bucket)["PolicyStatus"]["IsPublic"]
    s3.put_bucket_acl(Bucket=acl_bucket, ACL="public-read")
    assert s3.get_bucket_policy_status(Bucket=acl_bucket)["PolicyStatus"]["IsPublic"]
    s3.put_object(Bucket=acl_bucket, Key="k", Body=b"x")
    assert b"<Key>k</Key>" in anonymous("GET", f"/{acl_bucket}?list-type=2").body
    assert anonymous("GET", f"/{acl_bucket}/absent").status == 404
    for method, target in (("GET", "k"), ("PUT", "k"), ("GET", "?acl"), ("PUT", "?acl"), ("GET", "?cors")):
        assert anonymous(method, f"/{acl_bucket}/{target}").status == 403, target
    s3.put_bucket_acl(Bucket=acl_bucket, ACL="public-read-write")
    assert anonymous("PUT", f"/{acl_bucket}/new", b"new").status == 200
    assert grants(s3.get_object_acl(Bucket=acl_bucket, Key="new")) == [(OWNER, "FULL_CONTROL")]


def test_grants_by_headers_and_documents(s3, acl_bucket):
    s3.put_object(Bucket=acl_bucket, Key="k", Body=b"x", GrantRead=f'id="{OTHER}", uri="{ALL_USERS}"')
    expected = [(ALL_USERS, "READ"), (OTHER, "READ")]
    assert grants(s3.get_object_acl(Bucket=acl_bucket, Key="k")) == expected
    policy = s3.get_object_acl(Bucket=acl_bucket, Key="k")
    policy = {"Owner": policy["Owner"], "Grants": policy["Grants"][1:]}
    s3.put_object_acl(Bucket=acl_bucket, Key="k", AccessControlPolicy=policy)
    assert grants(s3.get_object_acl(Bucket=acl_bucket, Key="k")) == expected[1:]
    policy["Owner"] = {"ID": OTHER}
    assert code(s3.put_object_acl, Bucket=acl_bucket, Key="k", AccessControlPolicy=policy) == "AccessDenied"
    for grantee, expected_code in (
        ("id=unknown", "InvalidArgument"),
        ("uri=http://example.com", "InvalidArgument"),
        ("emailAddress=a@example.com", "UnresolvableGrantByEmailAddress"),
    ):
        assert code(s3.put_object_acl, Bucket=acl_bucket, Key="k", GrantRead=grantee) == expected_code
    assert code(s3.put_object_acl, Bucket=acl_bucket, Key="k") == "MissingSecurityHeader"
    assert code(s3.put_object_acl, Bucket=acl_bucket, Key="k", ACL="public-ready") == "InvalidArgument"


def test_an_acl_keeps_data_metadata_and_tags_and_a_new_object_has_none(s3, swift, acl_bucket):
    s3.put_object(Bucket=acl_bucket, Key="k", Body=b"x", Metadata={"a": "1"}, Tagging="t=1", ContentType="a/b")
    before = s3.head_object(Bucket=acl_bucket, Key="k")
    s3.put_object_acl(Bucket=acl_bucket, Key="k", ACL="public-read")
    after = s3.head_object(Bucket=acl_bucket, Key="k")
    assert (after["ETag"], after["Metadata"], after["ContentType"]) == (before["ETag"], {"a": "1"}, "a/b")
    assert s3.get_object_tagging(Bucket=acl_bucket, Key="k")["TagSet"] == [{"Key": "t", "Value": "1"}]
    swift.post_object(acl_bucket, "k", {"X-Object-Meta-B": "2"})
    assert (ALL_USERS, "READ") in grants(s3.get_object_acl(Bucket=acl_bucket, Key="k"))
    s3.copy_object(Bucket=acl_bucket, Key="copy", CopySource=f"{acl_bucket}/k")
    s3.put_object(Bucket=acl_bucket, Key="k", Body=b"y")
    for key in ("copy", "k"):
        assert grants(s3.get_object_acl(Bucket=acl_bucket, Key=key)) == [(OWNER, "FULL_CONTROL")]


def test_versions_have_acls_of_their_own(s3, acl_bucket, anonymous):
    s3.put_bucket_versioning(Bucket=acl_bucket, VersioningConfiguration={"Status": "Enabled"})
    old = s3.put_object(Bucket=acl_bucket, Key="k", Body=b"old")["VersionId"]
    s3.put_object(Bucket=acl_bucket, Key="k", Body=b"new")
    s3.put_object_acl(Bucket=acl_bucket, Key="k", VersionId=old, ACL="public-read")
    assert grants(s3.get_object_acl(Bucket=acl_bucket, Key="k")) == [(OWNER, "FULL_CONTROL")]
    assert (ALL_USERS, "READ") in grants(s3.get_object_acl(Bucket=acl_bucket, Key="k", VersionId=old))
    assert anonymous("GET", f"/{acl_bucket}/k?versionId={old}").body == b"old"
    assert anonymous("GET", f"/{acl_bucket}/k").status == 403


def test_an_upload_has_the_acl_with_which_it_was_begun(s3, acl_bucket, anonymous):
    upload = s3.create_multipart_upload(Bucket=acl_bucket, Key="k", ACL="public-read")["UploadId"]
    part = s3.upload_part(Bucket=acl_bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"part")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(Bucket=acl_bucket, Key="k", UploadId=upload, MultipartUpload=parts)
    assert anonymous("GET", f"/{acl_bucket}/k").body == b"part"


def test_ownership_controls_need_a_private_bucket(s3, acl_bucket):
    rules = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    s3.put_bucket_acl(Bucket=acl_bucket, ACL="public-read")
    call = {"Bucket": acl_bucket, "OwnershipControls": rules}
    assert code(s3.put_bucket_ownership_controls, **call) == "InvalidBucketAclWithObjectOwnership"
    s3.put_bucket_acl(Bucket=acl_bucket, ACL="private")
    s3.put_bucket_ownership_controls(**call)
    assert s3.get_bucket_ownership_controls(Bucket=acl_bucket)["OwnershipControls"] == rules
    s3.delete_bucket_ownership_controls(Bucket=acl_bucket)
    assert code(s3.get_bucket_ownership_controls, Bucket=acl_bucket) == "OwnershipControlsNotFoundError"


def test_a_public_access_block_refuses_and_ignores_public_acls(s3, acl_bucket, anonymous):
    s3.put_object(Bucket=acl_bucket, Key="k", Body=b"x", ACL="public-read")
    block = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": False, "RestrictPublicBuckets": False}
    s3.put_public_access_block(Bucket=acl_bucket, PublicAccessBlockConfiguration=block)
    assert s3.get_public_access_block(Bucket=acl_bucket)["PublicAccessBlockConfiguration"] == block
    for acl in ("public-read", "public-read-write", "authenticated-read"):
        assert code(s3.put_bucket_acl, Bucket=acl_bucket, ACL=acl) == "AccessDenied"
        assert code(s3.put_object, Bucket=acl_bucket, Key="new", ACL=acl) == "AccessDenied"
        assert code(s3.put_object_acl, Bucket=acl_bucket, Key="k", ACL=acl) == "AccessDenied"
    assert anonymous("GET", f"/{acl_bucket}/k").status == 403
    s3.delete_public_access_block(Bucket=acl_bucket)
    assert code(s3.get_public_access_block, Bucket=acl_bucket) == "NoSuchPublicAccessBlockConfiguration"
    assert anonymous("GET", f"/{acl_bucket}/k").status == 200
