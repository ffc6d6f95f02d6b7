"""How threads wait, in processes of their own: the OpenMP library reads it once, when it is loaded.

GNU's library says on request what it has read: how often a thread looks before it sleeps.
"""

import re
from pathlib import Path

import pytest

import recbole_midpg
from tests.support.processes import run_module, run_python

WARNING = "recbole_midpg was imported after torch, whose threads spin"
# The package's first act alone, which is all that is tried where the rest of it takes long.
ALONE = f"""
import runpy
policy = runpy.run_path({str(Path(recbole_midpg.__file__).parent / "common" / "wait_policy.py")!r})
policy["wait_asleep"]()
"""
SHOW = "import os; print({name: os.environ.get(name) for name in ('OMP_WAIT_POLICY',)})"


@pytest.fixture(autouse=True)
def environment_without_a_choice(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)


def spins(stderr):
    """What each process that has loaded GNU's library has read."""
    found = re.findall(r"GOMP_SPINCOUNT = '(\w+)'", stderr)
    if not found:
        pytest.skip("torch's OpenMP library is not GNU's")
    return found


def started(code, cwd, **environment):
    environment = {"OMP_NUM_THREADS": "2", "OMP_DISPLAY_ENV": "VERBOSE", **environment}
    result = run_python(f"{code}\n{SHOW}", cwd, **environment)
    assert result.returncode == 0, result.stderr
    return result


def test_threads_sleep_where_the_package_is_imported_first(tmp_path):
    result = started("import recbole_midpg, torch", tmp_path)
    assert "'OMP_WAIT_POLICY': 'PASSIVE'" in result.stdout
    assert WARNING not in result.stderr
    assert spins(result.stderr) == ["0"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "spun"),
    [("OMP_WAIT_POLICY", "ACTIVE", "30000000000"), ("GOMP_SPINCOUNT", "7", "7")],
)
def test_the_users_choice_wins(tmp_path, name, value, spun):
    result = started(f"{ALONE}\nimport torch", tmp_path, **{name: value})
    assert f"'OMP_WAIT_POLICY': {value if name == 'OMP_WAIT_POLICY' else None!r}" in result.stdout
    assert WARNING not in result.stderr
    assert spins(result.stderr) == [spun]


def test_the_choice_for_intels_library_wins(tmp_path):
    result = started(ALONE, tmp_path, KMP_BLOCKTIME="200")
    assert "'OMP_WAIT_POLICY': None" in result.stdout


@pytest.mark.slow
def test_where_it_comes_too_late_a_sentence_says_so_once(tmp_path):
    again = "import importlib; importlib.reload(recbole_midpg)"
    result = started(f"import torch, recbole_midpg\n{again}", tmp_path)
    assert result.stderr.count(WARNING) == 1
    assert "'OMP_WAIT_POLICY': 'PASSIVE'" in result.stdout  # for processes that it may start
    assert spins(result.stderr) != ["0"]


@pytest.mark.slow
def test_one_thread_waits_for_nobody(tmp_path):
    result = started(f"import torch\n{ALONE}", tmp_path, OMP_NUM_THREADS="1")
    assert WARNING not in result.stderr


def test_the_command_sets_it(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_DISPLAY_ENV", "VERBOSE")
    result = run_module("--help", cwd=tmp_path)
    assert result.returncode == 0
    assert spins(result.stderr) == ["0"]


START_A_WORKER = """
import torch, recbole_midpg
from multiprocessing import get_context
from recbole_midpg.common.child_processes import START_METHOD
if __name__ == "__main__":
    process = get_context(START_METHOD).Process(target=recbole_midpg.training.threads.n_cores)
    process.start()
    process.join()
"""


@pytest.mark.slow
def test_worker_processes_have_it_where_the_one_that_starts_them_has_not(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(START_A_WORKER)
    result = started(
        f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')", tmp_path
    )
    first, *others = spins(result.stderr)
    assert first != "0"
    assert others == ["0"]
