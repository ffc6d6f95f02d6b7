"""The search spaces: what RecBole's tuning reads, with keys and values that the models allow."""

import ast
from pathlib import Path

import pytest
from recbole.trainer import HyperTuning

import recbole_midpg
from recbole_midpg.common.rules import Number
from recbole_midpg.integration.compat import import_hyperopt
from recbole_midpg.integration.config.config import common_rules
from recbole_midpg.integration.models.registry import own_models

FILES = sorted((Path(recbole_midpg.__file__).parent / "properties" / "hyper").glob("*.hyper"))
OWN = [path for path in FILES if path.stem != "common"]
MOST_OWN_KEYS = 3


def entries(path):
    """The lines ``name choice [values]`` as RecBole takes them apart."""
    for line in path.read_text(encoding="utf-8").splitlines():
        name, kind, *rest = line.strip().split(" ")
        yield name, kind, "".join(rest)


def test_every_file_is_of_a_model_but_the_common_one():
    assert {path.stem for path in OWN} < set(own_models())
    assert len(OWN) == len(FILES) - 1


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_a_model_adds_few_keys_that_are_its_own(path):
    names = [name for name, _, _ in entries(path)]
    assert len(names) == len(set(names)) <= MOST_OWN_KEYS
    assert set(names) <= own_models()[path.stem].rules.keys() - own_models()["DNN"].rules.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_values_are_allowed(path):
    model = own_models().get(path.stem, own_models()["DNN"])
    rules = {**common_rules(), **model.rules, "learning_rate": Number(minimum_excluded=True)}
    for name, kind, text in entries(path):
        assert kind == "choice"
        values = ast.literal_eval(text)
        assert len(values) > 1
        for value in values:
            assert rules[name].accepts(value), (name, value)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_hyperopt_builds_it(path):
    import_hyperopt()
    space = HyperTuning._build_space_from_file(str(path))
    assert set(space) == {name for name, _, _ in entries(path)}
