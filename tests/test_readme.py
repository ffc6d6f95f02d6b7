"""README is short, says what its results say, and its first commands are those of .ci/run."""

import csv
import re
from pathlib import Path

import pytest

from recbole_midpg.integration.models.registry import own_models

REPOSITORY = Path(__file__).parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_it_is_read_in_a_few_minutes():
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize(
    "command",
    [
        "pip install -e . && run_recbole --model=MIDPG --dataset=ml-100k",
        'pip install -e ".[test]" && pytest',
    ],
)
def test_the_first_commands_stand_alone(command):
    assert f"```bash\n{command}\n```" in README


def test_the_test_command_is_what_ci_runs():
    ci = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    assert 'pip install --quiet -e ".[test]"\n' in ci
    assert re.search(r"^ +pytest$", ci, re.MULTILINE)


def test_every_model_is_named_and_compared():
    results = {row[0]: row[1:] for row in table_rows()}
    for name in own_models():
        assert f"`{name}`" in README
        assert name in results


@pytest.mark.parametrize(("dataset", "first"), [("ml-100k", 0), ("amazon_electronics_synth", 2)])
def test_the_table_is_that_of_the_results(dataset, first):
    path = REPOSITORY / "docs" / "results" / dataset / "table.csv"
    with path.open(encoding="utf-8", newline="") as file:
        measured = {row["model"]: [row["AUC"], row["LogLoss"]] for row in csv.DictReader(file)}
    for name, *cells in table_rows():
        if name in own_models():
            assert cells[first : first + 2] == measured[name], name


def table_rows():
    lines = [line for line in README.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
