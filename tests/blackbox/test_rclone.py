"""rclone over both dialects, at its own settings."""

import os
import shutil
import subprocess
import time

import pytest

from apus_testing.executables import ROOT

RCLONE = shutil.which("rclone") or shutil.which(str(ROOT / "target/tools/usr/bin/rclone"))


@pytest.fixture(params=["s3", "swift"])
def rclone(request, cluster):
    if RCLONE is None and os.environ.get("CI"):
        pytest.fail("rclone is missing")
    if RCLONE is None:
        pytest.skip("rclone is missing, and ./test could not fetch it")
    options = {
        "s3": {
            "PROVIDER": "Other",
            "ENDPOINT": cluster.access["endpoint"],
            "ACCESS_KEY_ID": "test:tester",
            "SECRET_ACCESS_KEY": "testing",
            "UPLOAD_CUTOFF": "5M",
            "CHUNK_SIZE": "5M",
        },
        "swift": {"AUTH": cluster.access["auth_url"], "USER": "test:tester", "KEY": "testing", "CHUNK_SIZE": "5M"},
    }[request.param]
    environment = {f"RCLONE_CONFIG_X_{name}": value for name, value in options.items()}
    environment.update(RCLONE_CONFIG_X_TYPE=request.param, RCLONE_CONFIG="/dev/null")
    # Old releases fail on a CA bundle of the machine, which plain HTTP does not need.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}

    def run(*words):
        command = [RCLONE, *words, "--retries", "1", "--low-level-retries", "1"]
        done = subprocess.run(command, env={**inherited, **environment}, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    return run


def test_a_folder_is_synced_checked_changed_and_purged(rclone, tmp_path):
    bucket = f"x:rclone-{time.time_ns()}"
    files = {"a.txt": b"a", "empty": b"", "deep/er/b.bin": os.urandom(70_000), "large": os.urandom(12_000_000)}
    for name, data in files.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    rclone("mkdir", bucket)
    rclone("sync", str(tmp_path / "in"), bucket)
    rclone("check", "--download", str(tmp_path / "in"), bucket)
    assert sorted(rclone("lsf", "-R", "--files-only", bucket).split()) == sorted(files)
    assert sorted(rclone("lsf", bucket).split()) == ["a.txt", "deep/", "empty", "large"]
    (tmp_path / "in" / "a.txt").unlink()
    (tmp_path / "in" / "empty").write_bytes(b"nothing left")
    rclone("sync", str(tmp_path / "in"), bucket)
    rclone("copy", bucket, str(tmp_path / "out"))
    got = {str(path.relative_to(tmp_path / "out")): path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert got == {**{name: data for name, data in files.items() if name != "a.txt"}, "empty": b"nothing left"}
    rclone("moveto", f"{bucket}/empty", f"{bucket}/moved")
    assert rclone("cat", f"{bucket}/moved") == "nothing left"
    rclone("purge", bucket)
    assert bucket.removeprefix("x:") not in rclone("lsd", "x:").split()
