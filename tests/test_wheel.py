"""A wheel of the repository, installed elsewhere, holds all that a run needs."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.processes import run_python

REPOSITORY = Path(__file__).parent.parent


@pytest.mark.slow
def test_a_wheel_works_from_any_folder(tmp_path):
    source = tmp_path / "source"
    kept = ("setup.py", "pyproject.toml", "README.md", "LICENSE")
    source.mkdir()
    for name in kept:
        shutil.copy(REPOSITORY / name, source)
    for name in ("recbole_midpg", "dataset_configs", "atomic_data_scripts"):
        shutil.copytree(
            REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*build, "-w", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)

    code = f"""
import sys
sys.path.insert(0, {str(site)!r})
import recbole_midpg, recbole_midpg.atomic_data_scripts
assert recbole_midpg.__file__.startswith({str(site)!r}), recbole_midpg.__file__
from recbole_midpg.integration.dataset.datasets import find_dataset_config
assert str(find_dataset_config("ml-100k")).startswith({str(site)!r})
from recbole_midpg.experiments.benchmark import find_settings, paper_numbers
assert paper_numbers("iaac") and find_settings("ml-100k") and find_settings("none") is None
from recbole.quick_start import run
settings = dict(epochs=1, train_batch_size=8192, show_progress=False)
print(run(model="MIDPG", dataset="ml-100k", config_dict=settings)["test_result"])
"""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    result = run_python(code, elsewhere)
    assert result.returncode == 0, result.stderr
    assert "auc" in result.stdout.splitlines()[-1]
    scripts = {path.stem for path in (REPOSITORY / "atomic_data_scripts").glob("*.py")}
    installed = site / "recbole_midpg" / "atomic_data_scripts"
    assert {path.stem for path in installed.glob("*.py")} == scripts


def test_a_plain_checkout_imports(tmp_path):
    """On PYTHONPATH, with nothing installed of it."""
    code = f"""
import sys
# An editable installation finds the two folders by a hook of its own.
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
sys.path.insert(0, {str(REPOSITORY)!r})
import recbole_midpg.atomic_data_scripts.iaac, recbole_midpg.dataset_configs
from recbole_midpg.integration.dataset.datasets import find_dataset_config
assert find_dataset_config("iaac").is_file()
from recbole_midpg.experiments.benchmark import find_settings
assert find_settings("ml-100k").is_file()
"""
    result = run_python(code, tmp_path)
    assert result.returncode == 0, result.stderr
