import pytest

from recbole_midpg.common.errors import UsageError
from recbole_midpg.experiments.model_table import describe_models
from recbole_midpg.integration.models.registry import own_models


def test_every_model_is_counted_on_ml_100k():
    rows = {row.name: row for row in describe_models("ml-100k", [])}
    assert rows.keys() == own_models().keys()
    for row in rows.values():
        assert row.problem == ""
        # 2,808 tokens of 7 fields, padding included, 10 wide: the same embeddings for all.
        assert row.parameters - row.without_embeddings == 28_080, row.name
    assert rows["DNN"].without_embeddings == 128 * 70 + 10_497
    assert not rows["DNN"].needs_scenario
    assert rows["MIDPG"].needs_scenario


def test_a_model_that_does_not_fit_is_told_beside_the_others(tmp_path):
    (tmp_path / "a.yaml").write_text("n: 1000\n")
    rows = {row.name: row for row in describe_models("ml-100k", ["a.yaml"])}
    assert rows["MIDPG"].problem.startswith("n: 1000")
    assert rows["DNN"].parameters is not None


def test_a_dataset_without_a_scenario_has_the_models_that_need_none(tmp_path):
    (tmp_path / "a.yaml").write_text("scenario_fields: ~\n")
    rows = {row.name: row for row in describe_models("ml-100k", ["a.yaml"])}
    assert rows["DNN"].parameters is not None
    assert rows["AdaSparse"].problem.startswith("scenario_fields: AdaSparse needs")


def test_an_unknown_dataset_is_an_error():
    with pytest.raises(UsageError, match="'ml-100k'"):
        describe_models("ml-100", [])
