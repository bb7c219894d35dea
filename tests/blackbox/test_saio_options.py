"""Options of `apus saio` take effect, also on a cluster that exists, or are refused by name."""

import socket
import subprocess

import requests

from apus_testing.addresses import free_port
from apus_testing.executables import APUS
from apus_testing.saio import Saio

TIMEOUT = 30


def refused(*words):
    done = subprocess.run([APUS, "saio", *map(str, words)], capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode != 0 and len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.stderr


def signs_in(cluster, user="test:tester", key="testing"):
    headers = {"X-Auth-User": user, "X-Auth-Key": key}
    return requests.get(cluster.access["auth_url"], headers=headers, timeout=TIMEOUT).status_code == 200


def test_users_for_tests_are_added_to_a_cluster_that_exists_and_stay(tmp_path):
    cluster = Saio(tmp_path / "data", "--no-daemons").start()
    access = dict(cluster.access)
    assert not signs_in(cluster)
    cluster.stop()
    for options in [("--no-daemons", "--dev-users"), ("--no-daemons",)]:
        cluster.options = options
        cluster.start()
        assert signs_in(cluster) and signs_in(cluster, "admin:admin", "admin")
        assert signs_in(cluster, access["user"], access["key"])
        assert cluster.access == access
        cluster.stop()


def test_a_user_that_exists_with_another_key_is_not_changed(tmp_path):
    Saio(tmp_path / "data", "--no-daemons").start().stop()
    conf = tmp_path / "data/etc/proxy-server.conf"
    own = conf.read_text().replace("user_apus_admin", "user_test_tester = mine .admin\nuser_apus_admin")
    conf.write_text(own)
    output = refused("--data", tmp_path / "data", "--port", free_port(), "--dev-users")
    assert "user_test_tester" in output and "mine" not in output
    assert "testing" not in conf.read_text()


def test_devices_and_replicas_of_a_cluster_that_exists_cannot_be_changed(tmp_path):
    data = tmp_path / "data"
    Saio(data, "--no-daemons", "--devices", "2", "--replicas", "2").start().stop()
    before = (data / "etc/proxy-server.conf").read_bytes()
    for option, value, there in [("--devices", 3, "2"), ("--replicas", 1, "2")]:
        output = refused("--data", data, "--port", free_port(), option, value)
        assert f"{option} {value}" in output and f"has {there}" in output and str(data) in output, output
    assert (data / "etc/proxy-server.conf").read_bytes() == before
    same = Saio(data, "--no-daemons", "--devices", "2", "--replicas", "2").start()
    assert same.stop() == 0


def test_fewer_devices_than_the_usual_replicas_need_no_second_option(tmp_path):
    assert Saio(tmp_path / "data", "--no-daemons", "--devices", "1").start().stop() == 0
    assert "--replicas 3" in refused("--data", tmp_path / "other", "--devices", "2", "--replicas", "3")


def test_port_0_prints_the_port_that_was_found(tmp_path):
    cluster = Saio(tmp_path / "data", "--no-daemons")
    cluster.port = 0
    cluster.start()
    port = int(cluster.access["endpoint"].rsplit(":", 1)[1])
    assert port != 0 and f":{port}/" in cluster.access["auth_url"]
    assert requests.get(f"{cluster.access['endpoint']}/healthcheck", timeout=TIMEOUT).status_code == 200
    cluster.stop()


def test_a_port_is_kept_until_another_one_is_given(tmp_path):
    cluster = Saio(tmp_path / "data", "--no-daemons").start()
    cluster.stop()
    command = [APUS, "saio", "--no-daemons", "--json", "--data", str(cluster.data)]
    again = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert f':{cluster.port}"' in again.stdout.readline()
    again.terminate()
    assert again.wait(timeout=TIMEOUT) == 0


def test_errors_say_what_can_be_done(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        output = refused("--no-daemons", "--data", tmp_path / "data", "--port", port)
        assert str(port) in output and "--port N" in output
    (tmp_path / "file").write_text("x")
    for path in [tmp_path / "file", tmp_path / "file/data", "/proc/x"]:
        output = refused("--data", path)
        assert f"--data {path}" in output and "folder" in output, output
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer/FORMAT").write_text("apus saio data, format 99\n")
    output = refused("--data", tmp_path / "newer")
    assert "format 99" in output and "a newer apus wrote this" in output
    (tmp_path / "newer/FORMAT").write_text("my notes\n")
    assert "my notes" in refused("--data", tmp_path / "newer")
