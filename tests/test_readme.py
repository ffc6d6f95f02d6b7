"""README is short, says what its results say, and its first commands are those of .ci/run."""

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


def test_every_model_is_compared():
    rows = [line for line in README.splitlines() if line.startswith("| [")]
    names = [re.match(r"\| \[(\w+)\]", row)[1] for row in rows]
    assert names == list(own_models())
