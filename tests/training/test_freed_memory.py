"""Memory that one step frees is there for the next one."""

import platform
import subprocess
import sys

import pytest

from recbole_midpg.training import freed_memory
from recbole_midpg.training.freed_memory import keep_freed_memory

on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc's malloc")

# Prints how many pages the system hands out while tensors of 8 MB are made and freed again.
PAGES = """
import resource, runpy, numpy
keep_freed_memory = runpy.run_path({file!r})["keep_freed_memory"]
{first}
def step():
    for _ in range(2):
        values = [numpy.ones(1 << 20) for _ in range(6)]
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages(first: str) -> int:
    script = PAGES.format(first=first, file=freed_memory.__file__)
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return int(result.stdout)


@on_glibc
def test_a_step_takes_the_memory_of_the_one_before(monkeypatch):
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    kept, returned = pages("assert keep_freed_memory()"), pages("")
    assert kept < 200
    assert returned > 10 * max(kept, 100)


@on_glibc
@pytest.mark.parametrize("variable", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_the_environment_wins(variable):
    assert not keep_freed_memory({variable: "131072"})


def test_other_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory({})
