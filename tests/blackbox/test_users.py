"""Users, groups and access keys of the cluster: commands, sign-in in both dialects, and what a crash leaves."""

import json
import os
import signal
import subprocess
import time

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
