"""The defaults of each model: complete, commented, and allowed by the model's own rules."""

import importlib
import re
from pathlib import Path

import pytest
import yaml

import recbole_midpg
from recbole_midpg.common.rules import check_settings

FILES = sorted((Path(recbole_midpg.__file__).parent / "properties" / "model").glob("*.yaml"))
LINE = re.compile(r"(?P<key>\w+): (?P<value>\S.*?) +# \((?P<type>[a-z ]+)\) (?P<meaning>\S.*\.)")
TYPES = {"int": int, "float": float, "str": str, "bool": bool}


def model_class(path):
    """The class that a file of defaults belongs to."""
    module = importlib.import_module(f"recbole_midpg.models.{path.stem.lower()}")
    return getattr(module, path.stem)


def has_type(value, kind):
    if kind.startswith("list of "):
        return isinstance(value, list) and all(
            has_type(item, kind.removeprefix("list of ")) for item in value
        )
    return type(value) in [
        TYPES[name] for name in kind.split(" or ")
    ]  # not isinstance: True is an int


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def test_the_paper_s_own_models_have_defaults():
    assert {"DNN", "DPG", "MIDPG"} <= {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
class TestDefaults:
    def test_keys_are_those_that_the_model_has_rules_for(self, path):
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert set(values) == set(model_class(path).rules)

    def test_no_key_stands_twice(self, path):
        keys = [line.split(":")[0] for line in lines(path)]
        assert len(keys) == len(set(keys))

    def test_the_model_s_own_rules_allow_them(self, path):
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        check_settings(values, model_class(path).rules)

    def test_every_line_tells_the_type_and_the_meaning(self, path):
        for line in lines(path):
            assert LINE.fullmatch(line), line

    def test_each_value_has_the_type_that_its_comment_tells(self, path):
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        for line in lines(path):
            match = LINE.fullmatch(line)
            assert match, line
            assert has_type(values[match["key"]], match["type"]), line

    def test_comments_start_in_one_column(self, path):
        assert len({line.index("# (") for line in lines(path)}) == 1

    def test_choices_are_named_in_the_comment(self, path):
        rules = model_class(path).rules
        for line in lines(path):
            rule = rules[line.split(":")[0]]
            for option in getattr(rule, "options", ()):
                assert re.search(rf"\b{re.escape(option)}\b", line.split("# (")[1]), (line, option)


def test_midpg_has_every_line_of_dpg():
    of = {path.stem: lines(path) for path in FILES}
    assert set(of["DPG"]) < set(of["MIDPG"])
