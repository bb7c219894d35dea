"""Users, groups and access keys of the cluster: commands, sign-in in both dialects, and what a crash leaves."""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request

import boto3
import botocore.config
import pytest
import swiftclient
from botocore.exceptions import ClientError

from apus_testing import faults
from apus_testing.executables import APUS
from apus_testing.servers_with_daemons import ServersWithDaemons
from apus_testing.waiting import wait_past, wait_until

# A change must be effective in this time: proxies keep what they read for three seconds.
EFFECTIVE_SECONDS = 5
# Longer than proxies keep that a key is unknown.
UNKNOWN_SECONDS = 1.5


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with ServersWithDaemons(tmp_path_factory.mktemp("users")) as nodes:
        yield nodes


@pytest.fixture
def name():
    return f"u{time.time_ns()}"


def run(nodes, *words, environment=None):
    command = [APUS, *words, "--json", "--swiftdir", str(nodes.etc)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **(environment or {})})


def apus(nodes, *words):
    """A command that succeeds; returns the JSON that it printed."""
    done = run(nodes, *words)
    assert done.returncode == 0, (words, done.stderr)
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    return printed[0] if len(printed) == 1 else printed


def refusal(nodes, *words):
    done = run(nodes, *words)
    assert done.returncode == 2 and not done.stdout, (words, done)
    return done.stderr


def s3(nodes, key, secret=None):
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{nodes.ports['proxy']}",
        aws_access_key_id=key["access_key"],
        aws_secret_access_key=secret or key["secret_key"],
        region_name="us-east-1",
        config=botocore.config.Config(retries={"max_attempts": 1}),
    )


def code_of(call, *arguments, **named):
    """The code of a refusal; nothing if the call succeeds."""
    try:
        call(*arguments, **named)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


def sign_in(nodes, user, key):
    url = f"http://127.0.0.1:{nodes.ports['proxy']}/auth/v1.0"
    return swiftclient.client.get_auth_1_0(url, user, key)


def becomes(expected, call, *arguments):
    wait_until(lambda: code_of(call, *arguments) == expected, f"the code is not {expected}", EFFECTIVE_SECONDS)


def admin(nodes, name):
    """A new administrator of the account, and a key."""
    apus(nodes, "user", "create", f"test:{name}", "--admin")
    return apus(nodes, "key", "create", "--user", f"test:{name}")


def test_a_new_user_signs_in_at_once_in_both_dialects(nodes, name):
    key = admin(nodes, name)
    assert len(key["access_key"]) == 20 and key["access_key"].startswith("AK") and key["access_key"].isalnum()
    assert len(key["secret_key"]) == 40 and key["secret_key"].isalnum()
    client = s3(nodes, key)
    client.create_bucket(Bucket=name)
    client.put_object(Bucket=name, Key="k", Body=b"body")
    assert nodes.s3().get_object(Bucket=name, Key="k")["Body"].read() == b"body", "it is the account of other users as well"
    url, token = sign_in(nodes, f"test:{name}", key["secret_key"])
    assert url.endswith("/v1/AUTH_test")
    assert swiftclient.client.get_object(url, token, name, "k")[1] == b"body"
    assert swiftclient.client.get_account(url, token)[0]["x-account-container-count"]


def test_a_wrong_secret_and_unknown_keys_are_refused(nodes, name):
    key = admin(nodes, name)
    assert code_of(s3(nodes, key, "x" * 40).list_buckets) == "SignatureDoesNotMatch"
    for unknown in ("AK" + "A" * 18, "no:user", name):
        assert code_of(s3(nodes, {"access_key": unknown}, "x").list_buckets) == "InvalidAccessKeyId"
    for user, secret in [(f"test:{name}", "x" * 40), (f"test:{name}x", key["secret_key"]), (f"test2:{name}", key["secret_key"])]:
        with pytest.raises(swiftclient.ClientException, match="401"):
            sign_in(nodes, user, secret)
    assert code_of(s3(nodes, key).list_buckets) is None


def test_disabling_and_deleting_is_effective_within_seconds_and_enabling_as_well(nodes, name):
    key = admin(nodes, name)
    client = s3(nodes, key)
    url, token = sign_in(nodes, f"test:{name}", key["secret_key"])
    client.list_buckets()
    for command, undo in [
        (("user", "disable", f"test:{name}"), ("user", "enable", f"test:{name}")),
        (("key", "disable", key["access_key"]), ("key", "enable", key["access_key"])),
    ]:
        apus(nodes, *command)
        becomes("InvalidAccessKeyId", client.list_buckets)
        with pytest.raises(swiftclient.ClientException, match="401"):
            swiftclient.client.head_account(url, token)
        apus(nodes, *undo)
        becomes(None, client.list_buckets)
        swiftclient.client.head_account(url, token)
    apus(nodes, "user", "delete", f"test:{name}")
    becomes("InvalidAccessKeyId", client.list_buckets)
    # A user of the same name is another one: neither key nor token is valid again.
    apus(nodes, "user", "create", f"test:{name}", "--admin")
    # It stays unknown when the proxies look again.
    wait_past(time.time() + UNKNOWN_SECONDS)
    assert code_of(client.list_buckets) == "InvalidAccessKeyId"
    with pytest.raises(swiftclient.ClientException, match="401"):
        swiftclient.client.head_account(url, token)


def test_a_rotated_key_has_a_new_secret_and_the_old_one_ends(nodes, name):
    key = admin(nodes, name)
    old = s3(nodes, key)
    old.list_buckets()
    new = apus(nodes, "key", "rotate", key["access_key"])
    assert new["access_key"] == key["access_key"] and new["secret_key"] != key["secret_key"] and new["rotated"]
    becomes("SignatureDoesNotMatch", old.list_buckets)
    s3(nodes, new).list_buckets()
    second = apus(nodes, "key", "create", "--user", f"test:{name}")
    s3(nodes, second).list_buckets()
    listed = apus(nodes, "key", "list", "--user", f"test:{name}")
    assert {row["access_key"] for row in listed} == {key["access_key"], second["access_key"]}
    assert not any("secret" in word for row in listed for word in row)


def test_a_key_expires(nodes, name):
    key = admin(nodes, name)
    short = apus(nodes, "key", "create", "--user", f"test:{name}", "--expires", "3s")
    client = s3(nodes, short)
    assert code_of(client.list_buckets) is None
    becomes("InvalidAccessKeyId", client.list_buckets)
    assert code_of(s3(nodes, key).list_buckets) is None
    assert "expected a duration" in refusal(nodes, "key", "create", "--user", f"test:{name}", "--expires", "soon")


def test_a_user_who_is_not_an_administrator_has_the_rights_of_access_lists_only(nodes, name):
    apus(nodes, "user", "create", f"test:{name}")
    client = s3(nodes, apus(nodes, "key", "create", "--user", f"test:{name}"))
    nodes.s3().create_bucket(Bucket=name)
    nodes.s3().put_object(Bucket=name, Key="k", Body=b"body")
    assert code_of(client.list_buckets) == "AccessDenied"
    assert code_of(client.get_object, Bucket=name, Key="k") == "AccessDenied"
    nodes.swift().post_container(name, {"X-Container-Read": f"test:{name}"})
    becomes_allowed = lambda: code_of(client.get_object, Bucket=name, Key="k") is None  # noqa: E731
    wait_until(becomes_allowed, "the list has no effect", 15)
    assert code_of(client.put_object, Bucket=name, Key="k", Body=b"") == "AccessDenied"


def test_names_and_numbers_have_limits_and_texts_that_say_so(nodes, name):
    admin(nodes, name)
    for word in (name, name.upper()):
        assert "exists already" in refusal(nodes, "user", "create", f"test:{word}")
    assert "proxy-server.conf has a user of this name" in refusal(nodes, "user", "create", "test:tester")
    assert "expected account:user" in refusal(nodes, "user", "create", name)
    assert "expected 1 to 64" in refusal(nodes, "user", "create", "test:a/b")
    assert "does not exist" in refusal(nodes, "user", "show", f"test:{name}x")
    assert "does not exist" in refusal(nodes, "key", "create", "--user", f"test:{name}x")
    assert "expected AK" in refusal(nodes, "key", "delete", "test:tester")
    for _ in range(9):
        apus(nodes, "key", "create", "--user", f"test:{name}")
    assert "no more are allowed" in refusal(nodes, "key", "create", "--user", f"test:{name}")


def test_groups_have_members_until_they_are_deleted(nodes, name):
    for user in (f"{name}a", f"{name}b"):
        apus(nodes, "user", "create", f"test:{user}")
    apus(nodes, "group", "create", f"test:{name}")
    assert "exists already" in refusal(nodes, "group", "create", f"test:{name}")
    for user in (f"{name}a", f"{name}b", f"{name}b"):
        apus(nodes, "group", "add", f"test:{name}", user)
    assert apus(nodes, "group", "show", f"test:{name}")["members"] == [f"{name}a", f"{name}b"]
    apus(nodes, "group", "remove", f"test:{name}", f"{name}a")
    assert apus(nodes, "user", "show", f"test:{name}b")["groups"] == [name]
    apus(nodes, "group", "delete", f"test:{name}")
    assert "does not exist" in refusal(nodes, "group", "add", f"test:{name}", f"{name}a")
    apus(nodes, "group", "create", f"test:{name}")
    assert apus(nodes, "group", "show", f"test:{name}")["members"] == []
    listed = apus(nodes, "user", "list", "test")
    assert {f"AUTH_test:{name}a", f"AUTH_test:{name}b"} <= {row["user"] for row in listed}


def test_secrets_are_encrypted_at_rest(nodes, name):
    secrets = [admin(nodes, name)["secret_key"].encode()]
    found = [path.read_bytes() for path in nodes.devices.rglob("*.data")]
    records = [body for body in found if b'"secret"' in body]
    assert records
    assert not any(secret in body for secret in secrets for body in found)


def test_concurrent_changes_of_one_user_all_take_effect(nodes, name):
    admin(nodes, name)
    command = [APUS, "key", "create", "--user", f"test:{name}", "--json", "--swiftdir", str(nodes.etc)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    made = [json.loads(process.communicate(timeout=60)[0])["access_key"] for process in running]
    listed = {row["access_key"] for row in apus(nodes, "key", "list", "--user", f"test:{name}")}
    assert set(made) <= listed and len(listed) == 5


@pytest.mark.skipif(not faults.is_built_with_faults(), reason="needs fault points")
@pytest.mark.parametrize("point", ["identity.key.reserved", "identity.key.removed", "identity.user.deleted"])
def test_a_command_that_is_killed_between_two_writes_leaves_nothing_half_done(nodes, name, point, tmp_path):
    armed = tmp_path / "faults"
    armed.write_text(f"{point} kill\n")
    key = admin(nodes, name)
    command = {
        "identity.key.reserved": ("key", "create", "--user", f"test:{name}"),
        "identity.key.removed": ("key", "delete", key["access_key"]),
        "identity.user.deleted": ("user", "delete", f"test:{name}"),
    }[point]
    done = run(nodes, *command, environment={"APUS_FAULTS": str(armed)})
    assert done.returncode == -signal.SIGKILL and not done.stdout
    client = s3(nodes, key)
    if point == "identity.key.reserved":
        # The key that was never shown is in no list; the next one works.
        assert [row["access_key"] for row in apus(nodes, "user", "show", f"test:{name}")["keys"]] == [key["access_key"]]
        assert code_of(client.list_buckets) is None
    else:
        becomes("InvalidAccessKeyId", client.list_buckets)
    if point == "identity.user.deleted":
        assert "does not exist" in refusal(nodes, "user", "show", f"test:{name}")
        apus(nodes, "user", "create", f"test:{name}", "--admin")
    again = apus(nodes, "key", "create", "--user", f"test:{name}")
    assert code_of(s3(nodes, again).list_buckets) is None


@pytest.fixture
def put_policy(nodes, tmp_path):
    def put(kind, owner, policy, *statements):
        path = tmp_path / "policy.json"
        path.write_text(json.dumps({"Version": "2012-10-17", "Statement": statements}))
        return apus(nodes, kind, "policy", "put", owner, policy, str(path))

    return put


def statement(effect, actions, *resources, **more):
    return {"Effect": effect, "Action": actions, "Resource": list(resources), **more}


class SwiftUser:
    """A user with a token, whose requests return their status."""

    def __init__(self, nodes, user, key):
        self.url, self.token = sign_in(nodes, user, key["secret_key"])

    def status(self, method, path, url=None, body=b""):
        request = urllib.request.Request((url or self.url) + path, method=method, headers={"X-Auth-Token": self.token})
        request.data = body if method == "PUT" else None
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status
        except urllib.error.HTTPError as error:
            return error.code


@pytest.fixture
def alice(nodes, name):
    """A user without rights in an account with a bucket, with clients of both dialects."""
    nodes.s3().create_bucket(Bucket=name)
    for key in ("a/k", "b/k", f"{name}/k"):
        nodes.s3().put_object(Bucket=name, Key=key, Body=b"body")
    apus(nodes, "user", "create", f"test:{name}")
    key = apus(nodes, "key", "create", "--user", f"test:{name}")
    return s3(nodes, key), SwiftUser(nodes, f"test:{name}", key)


def test_a_policy_of_a_user_gives_what_it_allows_in_both_dialects(nodes, name, alice, put_policy):
    client, swift = alice
    assert code_of(client.get_object, Bucket=name, Key="a/k") == "AccessDenied"
    assert swift.status("GET", f"/{name}/a/k") == 403
    reads = statement("Allow", "s3:GetObject", f"arn:aws:s3:::{name}/a/*")
    assert put_policy("user", f"test:{name}", "reads", reads)["policies"] == ["reads"]
    becomes(None, lambda: client.get_object(Bucket=name, Key="a/k"))
    assert swift.status("GET", f"/{name}/a/k") == 200
    assert code_of(client.get_object, Bucket=name, Key="b/k") == "AccessDenied"
    assert code_of(client.put_object, Bucket=name, Key="a/k", Body=b"") == "AccessDenied"
    assert swift.status("GET", f"/{name}/b/k") == 403 and swift.status("PUT", f"/{name}/a/k") == 403
    assert swift.status("GET", f"/{name}") == 403 and code_of(client.list_buckets) == "AccessDenied"
    assert apus(nodes, "user", "policy", "list", f"test:{name}") == {"policy": "reads"}
    assert apus(nodes, "user", "show", f"test:{name}")["policies"] == ["reads"]


def test_policies_of_a_user_give_rights_on_buckets_and_the_account(nodes, name, alice, put_policy):
    client, swift = alice
    own = f"{name}-own"
    all_of_own = statement("Allow", "s3:*", f"arn:aws:s3:::{own}", f"arn:aws:s3:::{own}/*")
    put_policy("user", f"test:{name}", "own", all_of_own, statement("Allow", "s3:ListAllMyBuckets", "*"))
    becomes(None, client.list_buckets)
    assert swift.status("GET", "") == 200
    client.create_bucket(Bucket=own)
    client.put_object(Bucket=own, Key="k", Body=b"body")
    assert swift.status("PUT", f"/{own}/swift") == 201
    assert [row["Key"] for row in client.list_objects_v2(Bucket=own)["Contents"]] == ["k", "swift"]
    assert swift.status("DELETE", f"/{own}/swift") == 204
    client.delete_object(Bucket=own, Key="k")
    client.delete_bucket(Bucket=own)
    assert swift.status("PUT", f"/{own}") == 201 and swift.status("DELETE", f"/{own}") == 204
    assert code_of(client.create_bucket, Bucket=f"{name}-other") == "AccessDenied"
    assert swift.status("PUT", f"/{name}-other") == 403


def test_a_deny_of_a_user_wins_over_the_policy_of_a_bucket_and_over_access_lists(nodes, name, alice, put_policy):
    client, swift = alice
    allows = {"Sid": "all", "Principal": {"AWS": f"arn:aws:iam::test:user/{name}"}}
    allows |= statement("Allow", ["s3:GetObject", "s3:DeleteObject"], f"arn:aws:s3:::{name}/*")
    nodes.s3().put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allows]}))
    nodes.swift().post_container(name, {"X-Container-Write": f"test:{name}"})
    becomes(None, lambda: client.get_object(Bucket=name, Key="a/k"))
    becomes(None, lambda: client.put_object(Bucket=name, Key="new", Body=b""))
    denies = statement("Deny", ["s3:GetObject", "s3:PutObject"], f"arn:aws:s3:::{name}/*")
    put_policy("user", f"test:{name}", "denies", denies)
    becomes("AccessDenied", lambda: client.get_object(Bucket=name, Key="a/k"))
    assert code_of(client.put_object, Bucket=name, Key="new", Body=b"") == "AccessDenied"
    assert swift.status("GET", f"/{name}/a/k") == 403 and swift.status("PUT", f"/{name}/new") == 403
    assert swift.status("DELETE", f"/{name}/new") == 204, "what it does not deny is allowed as before"
    apus(nodes, "user", "policy", "delete", f"test:{name}", "denies")
    becomes(None, lambda: client.get_object(Bucket=name, Key="a/k"))
    assert swift.status("GET", f"/{name}/a/k") == 200


def test_a_deny_of_a_bucket_wins_over_the_policy_of_a_user(nodes, name, alice, put_policy):
    client, swift = alice
    put_policy("user", f"test:{name}", "all", statement("Allow", "s3:*", "*"))
    becomes(None, lambda: client.get_object(Bucket=name, Key="a/k"))
    denies = {"Principal": "*"} | statement("Deny", "s3:GetObject", f"arn:aws:s3:::{name}/a/*")
    nodes.s3().put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [denies]}))
    becomes("AccessDenied", lambda: client.get_object(Bucket=name, Key="a/k"))
    assert swift.status("GET", f"/{name}/a/k") == 403 and swift.status("GET", f"/{name}/b/k") == 200


def test_a_policy_of_a_group_holds_for_its_members(nodes, name, alice, put_policy):
    client, swift = alice
    apus(nodes, "group", "create", f"test:{name}")
    writes = statement("Allow", "s3:*", f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*")
    assert put_policy("group", f"test:{name}", "writes", writes)["policies"] == ["writes"]
    write = lambda: client.put_object(Bucket=name, Key="b/new", Body=b"")  # noqa: E731
    assert code_of(write) == "AccessDenied"
    apus(nodes, "group", "add", f"test:{name}", name)
    becomes(None, write)
    assert swift.status("PUT", f"/{name}/b/new") == 201 and code_of(client.list_objects_v2, Bucket=name) is None
    put_policy("group", f"test:{name}", "denies", statement("Deny", "s3:DeleteObject", "*"))
    becomes("AccessDenied", lambda: client.delete_object(Bucket=name, Key="b/new"))
    assert swift.status("DELETE", f"/{name}/b/new") == 403
    # A policy of the user cannot take the group's deny back.
    put_policy("user", f"test:{name}", "deletes", statement("Allow", "s3:DeleteObject", "*"))
    apus(nodes, "group", "policy", "delete", f"test:{name}", "denies")
    becomes(None, lambda: client.delete_object(Bucket=name, Key="b/new"))
    apus(nodes, "group", "remove", f"test:{name}", name)
    becomes("AccessDenied", write)
    apus(nodes, "group", "add", f"test:{name}", name)
    becomes(None, write)
    apus(nodes, "group", "delete", f"test:{name}")
    becomes("AccessDenied", write)
    assert swift.status("PUT", f"/{name}/b/new") == 403


def test_variables_of_a_policy_are_those_of_the_caller(nodes, name, alice, put_policy):
    client, swift = alice
    apus(nodes, "group", "create", f"test:{name}")
    apus(nodes, "group", "add", f"test:{name}", name)
    home = statement("Allow", ["s3:GetObject", "s3:PutObject"], "arn:aws:s3:::" + name + "/${aws:username}/*")
    prefix = {"StringLike": {"s3:prefix": "${aws:username}/*"}}
    listing = statement("Allow", "s3:ListBucket", f"arn:aws:s3:::{name}", Condition=prefix)
    put_policy("group", f"test:{name}", "homes", home, listing)
    becomes(None, lambda: client.get_object(Bucket=name, Key=f"{name}/k"))
    assert swift.status("GET", f"/{name}/{name}/k") == 200 and swift.status("PUT", f"/{name}/{name}/new") == 201
    assert code_of(client.get_object, Bucket=name, Key="a/k") == "AccessDenied"
    assert swift.status("GET", f"/{name}/a/k") == 403
    assert code_of(client.list_objects_v2, Bucket=name, Prefix=f"{name}/") is None
    assert code_of(client.list_objects_v2, Bucket=name, Prefix="a/") == "AccessDenied"
    assert code_of(client.list_objects_v2, Bucket=name) == "AccessDenied"


def test_a_policy_that_is_deleted_or_replaced_ends_without_a_restart(nodes, name, alice, put_policy):
    client, swift = alice
    read = lambda key: lambda: client.get_object(Bucket=name, Key=key)  # noqa: E731
    put_policy("user", f"test:{name}", "reads", statement("Allow", "s3:GetObject", f"arn:aws:s3:::{name}/a/*"))
    becomes(None, read("a/k"))
    put_policy("user", f"test:{name}", "reads", statement("Allow", "s3:GetObject", f"arn:aws:s3:::{name}/b/*"))
    becomes("AccessDenied", read("a/k"))
    assert code_of(read("b/k")) is None and swift.status("GET", f"/{name}/b/k") == 200
    assert apus(nodes, "user", "policy", "delete", f"test:{name}", "reads")["policies"] == []
    becomes("AccessDenied", read("b/k"))
    assert swift.status("GET", f"/{name}/b/k") == 403


def test_a_deny_holds_for_an_administrator(nodes, name, put_policy):
    key = admin(nodes, name)
    client = s3(nodes, key)
    swift = SwiftUser(nodes, f"test:{name}", key)
    client.create_bucket(Bucket=name)
    denies = statement("Deny", ["s3:PutObject", "s3:PutBucketPolicy"], "*")
    put_policy("user", f"test:{name}", "denies", denies)
    becomes("AccessDenied", lambda: client.put_object(Bucket=name, Key="k", Body=b""))
    assert swift.status("PUT", f"/{name}/k") == 403 and swift.status("GET", f"/{name}") == 200
    allows = {"Principal": "*"} | statement("Allow", "s3:GetObject", f"arn:aws:s3:::{name}/*")
    document = json.dumps({"Version": "2012-10-17", "Statement": [allows]})
    assert code_of(client.put_bucket_policy, Bucket=name, Policy=document) == "AccessDenied"


def test_a_user_of_another_account_needs_its_own_policy_as_well_as_that_of_the_bucket(nodes, name, put_policy):
    bucket_url = f"http://127.0.0.1:{nodes.ports['proxy']}/v1/AUTH_test"
    nodes.s3().create_bucket(Bucket=name)
    nodes.s3().put_object(Bucket=name, Key="k", Body=b"body")
    allows = {"Principal": {"AWS": "arn:aws:iam::else:root"}} | statement("Allow", "s3:GetObject", f"arn:aws:s3:::{name}/*")
    document = json.dumps({"Version": "2012-10-17", "Statement": [allows]})
    nodes.s3().put_bucket_policy(Bucket=name, Policy=document)
    users = {}
    for user, words in [("user", ()), ("admin", ("--admin",))]:
        apus(nodes, "user", "create", f"else:{name}{user}", *words)
        key = apus(nodes, "key", "create", "--user", f"else:{name}{user}")
        users[user] = SwiftUser(nodes, f"else:{name}{user}", key)
    assert users["admin"].status("GET", f"/{name}/k", bucket_url) == 200
    assert users["user"].status("GET", f"/{name}/k", bucket_url) == 403
    put_policy("user", f"else:{name}user", "reads", statement("Allow", "s3:GetObject", "*"))
    reads = lambda: users["user"].status("GET", f"/{name}/k", bucket_url) == 200  # noqa: E731
    wait_until(reads, "the policy has no effect", EFFECTIVE_SECONDS)
    nodes.s3().delete_bucket_policy(Bucket=name)
    assert users["user"].status("GET", f"/{name}/k", bucket_url) == 403


def test_documents_that_cannot_be_evaluated_are_refused(nodes, name, tmp_path):
    apus(nodes, "user", "create", f"test:{name}")
    path = tmp_path / "wrong.json"
    for document, reason in [
        ({"Statement": [statement("Perhaps", "s3:*", "*")]}, "Effect"),
        ({"Statement": [{"Principal": "*"} | statement("Allow", "s3:*", "*")]}, "Principal"),
        ({"Statement": [statement("Allow", "s3:GetNothing", "*")]}, "s3:GetNothing"),
        ({"Statement": [statement("Allow", "s3:*", "*", Condition={"Equals": {"aws:username": "a"}})]}, "Equals"),
        ([], "object"),
        ({"Statement": [statement("Allow", "s3:*", "arn:aws:s3:::" + "b" * 10_240)]}, "10240"),
    ]:
        path.write_text(json.dumps(document))
        assert reason in refusal(nodes, "user", "policy", "put", f"test:{name}", "wrong", str(path)), document
    assert "does not exist" in refusal(nodes, "user", "policy", "delete", f"test:{name}", "wrong")
    assert "does not exist" in refusal(nodes, "user", "policy", "show", f"test:{name}", "wrong")
    assert "does not exist" in refusal(nodes, "group", "policy", "list", f"test:{name}")
    assert "No such file" in refusal(nodes, "user", "policy", "put", f"test:{name}", "p", str(tmp_path / "missing"))
    assert apus(nodes, "user", "policy", "list", f"test:{name}") == []
