"""Every model of RecBole by the command, on a small set of the kind that it needs.

The table of docs/recbole_models.md comes of the same commands (``robustness.recbole_models``).
"""

import importlib.util
import json
import math
import re
from pathlib import Path

import pytest

from recbole_midpg.cli import run_recbole_command
from recbole_midpg.integration.models.model_names import recbole_models
from recbole_midpg.integration.models.registry import get_model
from tests.support.recbole_shop import CONTEXT, NAME, PACKAGES, kind_of, own_arguments, write_shop

# One of each kind, of those with a repair where there is one.
QUICK = {"DeepFM", "FPMC", "KGAT", "LightGBM", "LightGCN", "MCCLK", "RaCT", "Random"}
PAGE = Path(__file__).parents[2] / "docs" / "recbole_models.md"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets")
    write_shop(folder)
    return folder


def test_there_are_94():
    assert len(recbole_models()) == 94


def test_the_page_has_them_all():
    rows = re.findall(r"^\| (\w+) \|[^|]+\|[^|]*\| trains, ", PAGE.read_text("utf-8"), re.MULTILINE)
    assert rows == recbole_models()


@pytest.mark.parametrize(
    "model",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in recbole_models()
    ],
)
def test_a_model_trains_or_names_its_package(model, shop, capsys):
    package, install = PACKAGES.get(model, (None, None))
    is_there = package is None or importlib.util.find_spec(package) is not None
    kind = kind_of(model, get_model(model).type) if is_there else CONTEXT
    status = run_recbole_command(
        [
            *(f"--model={model}", f"--dataset={NAME}", f"--data_path={shop}", "--epochs=1"),
            *("--show_progress=False", "--state=ERROR", *kind.arguments, *own_arguments(model)),
        ]
    )
    errors = capsys.readouterr().err
    if not is_there:
        assert (status, errors.count("\n")) == (2, 1)
        assert errors.endswith(f"; pip install {install}.\n")
        return
    assert status == 0, errors
    (report,) = Path("saved").glob("*.json")
    told = json.loads(report.read_text(encoding="utf-8"))
    assert told["model"] == model
    assert told["test"]
    assert all(math.isfinite(value) for value in told["test"].values())
    assert len(told["epochs"]) == 1
    assert all(math.isfinite(loss) for loss in told["epochs"][0]["loss"].values())
