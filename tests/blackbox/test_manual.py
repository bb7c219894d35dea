"""`apus --version`, shell completions and man pages."""

import os
import re
import shutil
import subprocess

import pytest

from apus_testing.executables import APUS


def apus(*arguments):
    return subprocess.run([APUS, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_the_version_names_the_commit_and_its_date():
    """A build without git names the version alone."""
    line = apus("--version").stdout
    assert re.fullmatch(r"apus \d+\.\d+\.\d+( \([0-9a-f]{10,} \d{4}-\d\d-\d\d\))?\n", line), line


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "elvish", "powershell"])
def test_each_shell_has_completions_that_it_can_read(shell, tmp_path):
    result = apus("completions", shell)
    assert result.returncode == 0 and "ring-builder" in result.stdout
    script = tmp_path / "completions"
    script.write_text(result.stdout)
    if shell in ("bash", "zsh", "fish") and shutil.which(shell):
        subprocess.run([shell, "-n", script], check=True)


def test_bash_completes_commands(tmp_path):
    script = tmp_path / "completions"
    script.write_text(apus("completions", "bash").stdout)
    words = 'COMP_WORDS=(apus sai); COMP_CWORD=1; _apus apus sai apus; echo "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", f". {script}; {words}"], capture_output=True, text=True, check=True)
    assert done.stdout == "saio\n"


def test_an_unknown_shell_is_refused_with_the_list():
    result = apus("completions", "tcsh")
    assert result.returncode == 2 and "powershell" in result.stderr


def test_each_command_has_a_man_page(tmp_path):
    folder = tmp_path / "man" / "man1"
    assert apus("man-pages", folder).returncode == 0
    pages = set(os.listdir(folder))
    assert {"apus.1", "apus-saio.1", "apus-key-create.1", "apus-object-server.1"} <= pages
    assert not any("help" in page for page in pages)
    page = (folder / "apus-saio.1").read_text()
    assert ".SH NAME" in page and "apus saio" in page and "\\-\\-data" in page


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    result = apus("man-pages", file)
    assert result.returncode == 2 and str(file) in result.stderr
