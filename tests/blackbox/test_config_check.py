"""`apus config check` and `apus config show`: errors with suggestions, Swift's files, exit codes, origins."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from apus_testing.addresses import free_port
from apus_testing.executables import APUS

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "etc"
KINDS = ["account", "container", "object"]
KEY = "5a" * 32
OPTION = re.compile(r"^# ?((?:set )?[a-z_][a-z0-9_.]*) ?= ?(.*)$")


def config(*words, code=0):
    done = subprocess.run([APUS, "config", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def swift_samples():
    """The unpacked source of Swift 2.38, which the suites of other projects use, if it is there."""
    found = sorted((ROOT / "target").glob("swift-2.38*/etc/proxy-server.conf-sample"))
    return found[0].parent if found else None


@pytest.fixture
def etc(tmp_path):
    """A node whose configuration is good."""
    devices = tmp_path / "devices"
    (devices / "sd1").mkdir(parents=True)
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "swift.conf").write_text(
        f"[swift-hash]\nswift_hash_path_suffix = b\n[storage-policy:0]\nname = gold\ndefault = yes\n[apus]\ncluster_key = {KEY}\n"
    )
    for kind in KINDS:
        port = free_port()
        for words in (["create", "4", "1", "0"], ["add", f"r1z1-127.0.0.1:{port}/sd1", "1"], ["rebalance"]):
            subprocess.run([APUS, "ring-builder", etc / f"{kind}.builder", *words], check=True, stdout=subprocess.PIPE)
        (etc / f"{kind}-server.conf").write_text(
            f"[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {port}\ndevices = {devices}\nmount_check = false\n"
            f"[pipeline:main]\npipeline = healthcheck recon {kind}-server\n"
            f"[app:{kind}-server]\nuse = egg:swift#{kind}\n[{kind}-replicator]\nconcurrency = 2\n"
        )
    (etc / "proxy-server.conf").write_text(
        f"[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {free_port()}\n[app:proxy-server]\nuse = egg:swift#proxy\n"
        "[filter:tempauth]\nuse = egg:swift#tempauth\nuser_own_user = 6d1a2f7c .admin\n"
    )
    return etc


def append(etc, name, text):
    path = etc / name
    path.write_text(path.read_text() + text)
    return len(path.read_text().splitlines())


def test_a_good_node_has_no_errors(etc):
    output = config("check", etc)
    assert "0 errors" in output and "error:" not in output
    for expected in ["object ring with 1 devices", "attributes of", "a sync takes", "is free", "open files"]:
        assert expected in output, output


def test_misspelt_names_wrong_values_and_secrets(etc):
    line = append(etc, "object-server.conf", "[object-auditor]\nintervall = 30\n[object-updater]\ninterval = soon\n")
    append(etc, "swift.conf", "cluster_key_previous = 12345secret\n")
    output = config("check", "--files-only", etc, code=1)
    path = etc / "object-server.conf"
    assert f"error: {path}:{line - 2}: [object-auditor] intervall: not known, has no effect; did you mean interval?" in output
    assert f'error: {path}:{line}: [object-updater] interval = "soon": expected whole seconds' in output
    assert "[apus] cluster_key_previous" in output and "12345secret" not in output
    assert config("check", "--files-only", path, code=1).count("error:") >= 2


def test_rings_devices_ports_and_pipelines_are_checked(etc):
    (etc.parent / "devices" / "sd1").rmdir()
    append(etc, "container-server.conf", f"[DEFAULT]\nbind_port = {free_port()}\n")
    output = config("check", etc, code=1)
    assert "sd1: not a directory" in output and "no container ring has a device at 127.0.0.1" in output
    append(etc, "proxy-server.conf", "[pipeline:main]\npipeline = keystoneauth proxy-server\n")
    assert "keystoneauth" in config("check", "--files-only", etc, code=1)
    (etc / "object.ring.gz").unlink()
    assert "object.ring.gz" in config("check", "--files-only", etc, code=1)
    config("check", etc.parent / "missing", code=2)


def test_options_of_swift_without_effect_are_listed_once(etc):
    append(etc, "object-server.conf", "[object-reconstructor]\ninterval = 3\nlockup_timeout = 1800\n[filter:xprofile]\npath = /x\n")
    output = config("check", "--files-only", etc)
    lines = [line for line in output.splitlines() if "without effect" in line]
    assert len(lines) == 1 and "lockup_timeout" in lines[0] and "path" in lines[0]


def test_show_names_file_and_line_or_default(etc):
    line = append(etc, "object-server.conf", "[object-auditor]\nfiles_per_second = 5\n")
    output = config("show", "--origin", etc)
    assert re.search(rf"^files_per_second = 5 +# {re.escape(str(etc))}/object-server.conf:{line}$", output, re.M), output
    assert re.search(r"^bytes_per_second = 10000000 +# default$", output, re.M)
    assert KEY not in output and "6d1a2f7c" not in output and "cluster_key = (hidden)" in output
    assert "files_per_second = 5\n" in config("show", etc)


def in_effect(text):
    """A sample with its commented options, one line for each name in a section."""
    lines, names = [], set()
    for line in text.splitlines():
        heading = re.match(r"^# ?(\[[^\] ]+\])$", line)
        line = heading[1] if heading else line
        option = OPTION.match(line)
        name = (option[1] if option else line.split("=")[0]).removeprefix("set ").strip()
        if line.startswith("["):
            names = set()
        elif name in names:
            continue
        names.add(name)
        if option and option[2]:
            lines.append(f"{option[1]} = {option[2]}")
        elif not line.startswith("#"):
            lines.append(line)
    return "\n".join(lines) + "\n"


def sample_files():
    files = [(path, "ours") for path in sorted(SAMPLES.glob("*.conf-sample"))]
    if swift_samples():
        for name in ["account-server", "container-server", "object-server", "proxy-server", "swift", "object-expirer"]:
            files.append((swift_samples() / f"{name}.conf-sample", "swift"))
        files.append((swift_samples() / "container-reconciler.conf-sample", "swift"))
    return files


def findings(folder, path, text):
    file = folder / path.name.removesuffix("-sample")
    file.write_text(text)
    done = subprocess.run([APUS, "config", "check", "--files-only", file], capture_output=True, text=True, timeout=60)
    return [line for line in done.stdout.splitlines() if f"{file}:" in line and ("error:" in line or "warning:" in line)]


@pytest.mark.parametrize(("path", "source"), sample_files(), ids=lambda value: getattr(value, "stem", value))
def test_samples_are_accepted_and_misspelt_names_found(tmp_path, path, source):
    original = path.read_text()
    complete = in_effect(original)
    # Placeholders of the samples are no values.
    accepted = [line for line in findings(tmp_path, path, complete) if "expected" not in line]
    assert accepted == [], f"{source}: {accepted}"
    # Swift's sample has users with public keys, which no server accepts.
    assert [line for line in findings(tmp_path, path, original) if "a key of Swift's sample" not in line] == []
    lines, misspelt = [], []
    for line in complete.splitlines():
        name = line.split("=")[0].removeprefix("set ").strip() if "=" in line and not line.startswith("#") else ""
        if len(name) > 4 and "<" not in name and not re.match(r"user_|delay_|fernet_|encryption_root|statsd_user|.*_\d+$|paste", name):
            middle = len(name) // 2
            wrong = name[:middle] + name[middle + 1] + name[middle] + name[middle + 2 :]
            if wrong != name:
                misspelt.append((wrong, name))
                line = f"{wrong} = x"
        lines.append(line)
    output = "\n".join(findings(tmp_path, path, "\n".join(lines) + "\n"))
    right = [wrong for wrong, name in misspelt if f"{wrong}: not known, has no effect; did you mean {name}?" in output]
    assert len(right) >= 0.95 * len(misspelt), f"{set(misspelt)}\n{output}"


def test_the_samples_of_a_development_cluster_are_good(tmp_path):
    etc = tmp_path / "etc"
    shutil.copytree(SAMPLES / "saio", etc)
    output = config("check", "--files-only", etc, code=1)
    errors = [line for line in output.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "ring.gz" in errors[0], output
