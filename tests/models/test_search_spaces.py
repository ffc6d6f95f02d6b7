"""The search spaces: what RecBole's tuning reads, with keys and values that the models allow."""

import ast
import importlib
from pathlib import Path

import pytest
from recbole.trainer import HyperTuning

import recbole_midpg
from recbole_midpg.common.rules import Number
from recbole_midpg.integration.compat import import_hyperopt

PROPERTIES = Path(recbole_midpg.__file__).parent / "properties"
FILES = sorted((PROPERTIES / "hyper").glob("*.hyper"))


def entries(path):
    """The lines ``name choice [values]`` as RecBole takes them apart."""
    for line in path.read_text(encoding="utf-8").splitlines():
        name, kind, *rest = line.strip().split(" ")
        yield name, kind, "".join(rest)


def test_every_model_has_a_space():
    models = {path.stem for path in (PROPERTIES / "model").glob("*.yaml")}
    assert models == {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_values_are_allowed(path):
    module = importlib.import_module(f"recbole_midpg.models.{path.stem.lower()}")
    rules = {
        **getattr(module, path.stem).rules,
        "learning_rate": Number(minimum_excluded=True),
    }
    names = [name for name, _, _ in entries(path)]
    assert len(names) == len(set(names)) >= 3
    for name, kind, text in entries(path):
        assert kind == "choice"
        values = ast.literal_eval(text)
        assert len(values) > 1
        for value in values:
            # RecBole reads a list from its text: hyperopt would make a tuple of it.
            is_list = isinstance(value, str) and value.startswith("[")
            assert rules[name].accepts(ast.literal_eval(value) if is_list else value), (name, value)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_hyperopt_builds_it(path):
    import_hyperopt()
    space = HyperTuning._build_space_from_file(str(path))
    assert set(space) == {name for name, _, _ in entries(path)}
