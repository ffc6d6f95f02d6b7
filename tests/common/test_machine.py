"""The circumstances that a report names."""

import shutil
import subprocess
from datetime import datetime, timezone

import pytest

from recbole_midpg.common.machine import git_state, now, peak_memory_mib


def test_a_folder_outside_of_a_checkout_has_no_state(tmp_path):
    assert git_state(tmp_path) is None


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_state_of_a_checkout(tmp_path):
    def git(*words):
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)

    file = tmp_path / "file"
    file.write_text("a")
    git("init")
    assert git_state(tmp_path) is None  # the folder lies in a repository that does not know it
    git("add", "file")
    git("commit", "-m", "a")
    commit = git("rev-parse", "HEAD").stdout.strip()
    assert git_state(tmp_path) == {"commit": commit, "changed": False}
    file.write_text("b")
    assert git_state(tmp_path) == {"commit": commit, "changed": True}


def test_the_time_is_in_utc_to_the_second():
    told = datetime.fromisoformat(now())
    assert told.tzinfo == timezone.utc
    assert told.microsecond == 0
    assert abs((datetime.now(timezone.utc) - told).total_seconds()) < 60


def test_peak_memory_is_this_process_own():
    assert 10 < peak_memory_mib() < 1e6
