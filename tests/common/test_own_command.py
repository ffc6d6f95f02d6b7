"""Which processes are our own commands."""

import pytest

from recbole_midpg.common.own_command import is_own_command

OURS = "import re, sys\nfrom recbole_midpg.cli import main\n"
SPAWNED = "from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=5, pipe_handle=7)"


def test_the_module_is_one():
    assert is_own_command(["python", "-m", "recbole_midpg", "--help"])


@pytest.mark.parametrize("name", ["run_recbole", "recbole-midpg", "recbole-midpg.exe"])
def test_an_installed_script_is_one(name, tmp_path):
    (tmp_path / name).write_text(OURS)
    assert is_own_command(["python", str(tmp_path / name), "--help"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run_recbole", "import recbole_midpg\nfrom recbole.quick_start import run\n"),
        ("run_recbole.py", OURS),
        ("train", OURS),
    ],
)
def test_a_users_program_is_none(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    assert not is_own_command(["python", str(tmp_path / name)])


@pytest.mark.parametrize(
    "words",
    [
        ["python"],
        ["python", "-c", SPAWNED, "--multiprocessing-fork"],
        ["python", "-m", "pytest", "recbole_midpg"],
        ["python", "no/such/run_recbole"],
        [],
    ],
)
def test_workers_and_all_others_are_none(words):
    assert not is_own_command(words)


def test_this_process_is_none():
    assert not is_own_command()
