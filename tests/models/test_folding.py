"""Plain networks folded out of DPG and MIDPG."""

import pytest
import torch

from recbole_midpg.common.errors import UsageError
from recbole_midpg.models import folding
from recbole_midpg.models.dpg import DPG
from recbole_midpg.models.folding import FoldedModel, fold_model
from recbole_midpg.models.midpg import MIDPG
from tests.support.toy import SCENARIO, scrambled, toy_batch, toy_dataset, toy_model

VARIANTS = {
    "default": {},
    "non": {"weighting": "non"},
    "cut tiles": {"n": 3, "m": 3},
    "blocks": {"n": 3, "tile": "block"},
    "output layer": {"weight_output_layer": True},
    "gate_scale and activation": {"gate_scale": 2.0, "activation": "tanh"},
    "generator hidden": {"generator_hidden_size": [5]},
    "two scenario fields": {"scenario_fields": ["shop_id", SCENARIO]},
    "dropout": {"dropout_prob": 0.5},
}


def make(model_class=DPG, dataset=None, **overrides):
    options = {"n": 2, "m": 4, "k": 2, "generator_input": "scenario", **overrides}
    return scrambled(toy_model(model_class, dataset, **options)).eval()


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("model_class", [DPG, MIDPG])
def test_folded_model_predicts_what_the_model_predicts(model_class, options):
    model = make(model_class, **options)
    folded = fold_model(model)
    batch = toy_batch(64)
    batch[SCENARIO][:16] = 0  # rows of unknown scenarios
    torch.testing.assert_close(folded.predict(batch), model.predict(batch), rtol=0, atol=1e-6)
    assert len(folded.predict(toy_batch(0))) == 0


def test_fields_of_every_type_are_folded():
    dataset = toy_dataset(mixed_types=True)
    model = make(dataset=dataset)
    batch = toy_batch(32, dataset=dataset)
    folded = fold_model(model)
    torch.testing.assert_close(folded.predict(batch), model.predict(batch), rtol=0, atol=1e-6)


def test_every_combination_of_tokens_has_a_network():
    model = make(scenario_fields=["shop_id", SCENARIO])
    folded = fold_model(model)
    assert {len(layer.weight) for layer in folded.backbone.layers} == {5 * 4}
    batch = toy_batch(5 * 4)
    batch["shop_id"] = torch.arange(20) // 4
    batch[SCENARIO] = torch.arange(20) % 4
    torch.testing.assert_close(folded.predict(batch), model.predict(batch), rtol=0, atol=1e-6)


def test_plain_values_and_back():
    folded = fold_model(make(dataset=toy_dataset(mixed_types=True)))
    again = FoldedModel.from_plain(folded.to_plain())
    batch = toy_batch(9, dataset=toy_dataset(mixed_types=True))
    assert torch.equal(again.predict(batch), folded.predict(batch))
    assert not again.training


def test_nothing_of_the_weighting_is_left():
    names = fold_model(make(MIDPG)).state_dict()
    assert not any("weighting" in name or "mutual" in name for name in names)


def test_a_model_that_weights_by_the_row_is_refused():
    with pytest.raises(UsageError, match="generator_input: scenario_and_input"):
        fold_model(make(generator_input="scenario_and_input"))


def test_too_many_scenarios_are_refused(monkeypatch):
    monkeypatch.setattr(folding, "MAX_SCENARIOS", 19)
    with pytest.raises(UsageError, match="20 combinations of tokens, expected at most 19"):
        fold_model(make(scenario_fields=["shop_id", SCENARIO]))
