"""The scripts beside the package break when it moves: each still finds what it imports."""

import importlib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
SCRIPTS = sorted(
    path for room in ("benchmarks", "robustness") for path in (REPOSITORY / room).glob("*.py")
)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_script_finds_what_it_imports(script, monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY))
    module = importlib.import_module(f"{script.parent.name}.{script.stem}")
    assert hasattr(module, "main") == ("__main__" in script.read_text(encoding="utf-8"))
