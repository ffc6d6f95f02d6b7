"""Models that get new tokens: what is known stays, to the last bit, and where it is put."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from recbole.utils import get_model

from recbole_midpg.integration.models.registry import own_models
from recbole_midpg.integration.scoring.growth import (
    Axis,
    grown_optimizer,
    grown_weights,
    measure_axes,
)
from recbole_midpg.integration.scoring.scoring import read_scoring_model
from recbole_midpg.prediction.scorer import Scorer
from tests.prediction.checkpoints import checkpoint_of
from tests.support.shop import shop_config

RECBOLE = [
    *("AFM", "AutoInt", "DCN", "DCNV2", "DSSM", "DeepFM", "FFM", "FM", "FNN", "FiGNN"),
    *("LR", "NFM", "PNN", "WideDeep", "xDeepFM", "EulerNet"),
]
ROWS = {
    "user_id": ["u1", "u2", "u3", "u7", "", "u5"],
    "item_id": ["i1", "i12", "i3", "i5", "i6", "?"],
    "channel": ["app", "web", "web", "app", "", "app"],
    "price": ["1.5", "20", "", "3", "4", "5"],
}
GROWN = {"user_id": 5, "item_id": 3, "channel": 2, "tags": 4, "job": 1}
# Several levels of experts, so that they have a shared gate.
SETTINGS = {"PLE": {"expert_levels": 2, "specific_experts": 2, "shared_experts": 3}}


def larger(fields, by=GROWN):
    scored = {
        name: replace(scored, size=scored.size + by.get(name, 0))
        for name, scored in fields.scored.items()
    }
    return replace(fields, scored=scored)


def grown_model(folder, model, by=GROWN, **values):
    """A trained model and the same with more tokens."""
    settings = {**SETTINGS.get(model, {}), **values}
    config = shop_config(folder, model, **settings)
    scoring = read_scoring_model(checkpoint_of(config).path)
    fields = larger(scoring.fields, by)
    axes = measure_axes(get_model(model), scoring.config, scoring.fields)
    torch.manual_seed(5)
    fresh = get_model(model)(scoring.config, fields)
    drawn = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    weights = grown_weights(
        scoring.model.state_dict(), drawn, axes, (scoring.fields, fields), {"channel"}
    )
    fresh.load_state_dict(weights)
    return scoring, replace(scoring, model=fresh.eval(), fields=fields), axes, drawn


@pytest.mark.parametrize("model", [*own_models(), *RECBOLE])
def test_known_tokens_are_predicted_as_before(tmp_path, model):
    # PLE and M3oE mix the experts of all scenarios, HMoE what all predict: new ones too.
    by = {**GROWN, "channel": 0} if model in {"HMoE", "M3oE", "PLE"} else GROWN
    before, after, _, _ = grown_model(tmp_path, model, by)
    assert after.fields.num("user_id") == before.fields.num("user_id") + 5
    encoded = Scorer(before).encode(ROWS)
    expected, found = (Scorer(scoring).probabilities(encoded) for scoring in (before, after))
    assert len(set(expected.tolist())) > 3
    # DCNV2's products of matrices depend on where torch has put them.
    tolerance = 1e-6 if model == "DCNV2" else 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def test_one_level_of_experts_predicts_as_before_whatever_grows(tmp_path):
    before, after, _, _ = grown_model(tmp_path, "PLE", expert_levels=1)
    encoded = Scorer(before).encode(ROWS)
    expected, found = (Scorer(scoring).probabilities(encoded) for scoring in (before, after))
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("model", own_models())
def test_a_new_scenario_starts_at_the_mean_of_the_others(tmp_path, model):
    before, after, axes, drawn = grown_model(tmp_path, model)
    known, scenarios = before.fields.num("channel"), after.fields.num("channel")
    assert (known, scenarios) == (3, 5)
    grown = [
        (name, place, axis)
        for name, of_tensor in axes.items()
        for place, axis in of_tensor.items()
        if "channel" in axis.slots
    ]
    table = "token_embedding_table.embedding.weight"
    assert table in [name for name, _, _ in grown]
    old, new = before.model.state_dict(), after.model.state_dict()
    for name, place, axis in grown:
        slots = axis.slots["channel"]
        start, of_old = offset(axis, after.fields), offset(axis, before.fields)
        found = new[name]
        for other in axes[name].keys() - {place}:
            found = found.narrow(other, 0, old[name].shape[other])
        as_first = old[name].movedim(place, 0)
        mean = torch.stack([as_first[of_old + t * slots :][:slots] for t in range(1, known)])
        expected = mean.double().mean(0).to(as_first.dtype)
        for token in range(known, scenarios):
            place_of_token = found.movedim(place, 0)[start + token * slots :][:slots]
            torch.testing.assert_close(place_of_token, expected, rtol=0, atol=0)
    users = slice(before.fields.num("user_id"), after.fields.num("user_id"))
    assert axes[table][0].blocks(after.fields)[0][0] == "user_id"
    torch.testing.assert_close(new[table][users], drawn[table][users], rtol=0, atol=0)


def offset(axis, fields):
    return next(start for name, start, _ in axis.blocks(fields) if name == "channel")


def test_what_grows_in_ple(tmp_path):
    _, _, axes, _ = grown_model(tmp_path, "PLE")
    assert axes["levels.0.weight"] == {0: Axis({"channel": 2}, rest=3)}
    assert axes["levels.0.shared_gate.weight"] == {0: Axis({"channel": 2}, rest=3)}
    assert axes["levels.0.gates"] == {0: Axis({"channel": 1}, rest=0)}
    assert axes["towers.layers.0.weight"] == {0: Axis({"channel": 1}, rest=0)}
    assert axes["token_seq_embedding_table.0.weight"] == {0: Axis({"tags": 1}, rest=0)}


def test_what_grows_in_both_dimensions(tmp_path):
    before, after, axes, _ = grown_model(tmp_path, "HMoE")
    name, axis = "label_mixture.weights.layers.0.weight", Axis({"channel": 1}, rest=0)
    assert axes[name] == {0: axis, 2: axis}
    old, new = (scoring.model.state_dict()[name] for scoring in (before, after))
    assert torch.equal(new[:3, :, :3], old)
    for token in (3, 4):
        torch.testing.assert_close(new[token, :, :3], old[1:].mean(0))
        torch.testing.assert_close(new[:3, :, token], old[:, :, 1:].mean(2))
        torch.testing.assert_close(
            new[token, :, 3:], old[1:, :, 1:].mean((0, 2)).unsqueeze(1).expand(-1, 2)
        )


class Pairs(torch.nn.Module):
    """A weight for each pair of scenarios."""

    def __init__(self, config, dataset):
        super().__init__()
        size = dataset.num("channel")
        self.weight = torch.nn.Parameter(torch.arange(100.0).view(10, 10)[:size, :size].clone())


def test_two_dimensions_of_one_tensor_grow(tmp_path):
    before, after, _, _ = grown_model(tmp_path, "DNN")
    fields = (before.fields, after.fields)
    axes = measure_axes(Pairs, before.config, before.fields)
    assert axes == {"weight": {0: Axis({"channel": 1}, 0), 1: Axis({"channel": 1}, 0)}}
    old, fresh = (Pairs(None, table).state_dict() for table in fields)
    fresh["weight"] -= 1000
    grown = grown_weights(old, fresh, axes, fields, ["channel"])["weight"].tolist()
    # Tokens 1 and 2 are known and lend their means; token 0 is kept.
    assert grown == [
        [0, 1, 2, 1.5, 1.5],
        [10, 11, 12, 11.5, 11.5],
        [20, 21, 22, 21.5, 21.5],
        [15, 16, 17, 16.5, 16.5],
        [15, 16, 17, 16.5, 16.5],
    ]
    moments = {"state": {0: {"exp_avg": old["weight"]}}, "param_groups": []}
    moved = grown_optimizer(moments, [("weight", (3, 3))], axes, fields)["state"][0]["exp_avg"]
    assert moved.tolist() == [
        [0, 1, 2, 0, 0],
        [10, 11, 12, 0, 0],
        [20, 21, 22, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]


@pytest.mark.parametrize("model", ["STAR", "HMoE"])
def test_moments_of_known_tokens_stay_and_new_ones_are_zero(tmp_path, model):
    before, after, axes, _ = grown_model(tmp_path, model)
    parameters = list(before.model.named_parameters())
    generator = torch.Generator().manual_seed(1)
    state = {
        position: {
            "step": torch.tensor(7.0),
            "exp_avg": torch.randn(parameter.shape, generator=generator),
        }
        for position, (_, parameter) in enumerate(parameters)
    }
    shapes = [(name, tuple(parameter.shape)) for name, parameter in parameters]
    fields = (before.fields, after.fields)
    whole = {"state": state, "param_groups": [{"lr": 0.1}]}
    grown = grown_optimizer(whole, shapes, axes, fields)
    assert grown["param_groups"] == whole["param_groups"]
    for position, parameter in enumerate(after.model.parameters()):
        assert grown["state"][position]["step"] == 7
        moments = grown["state"][position]["exp_avg"]
        assert moments.shape == parameter.shape
        # Every known moment is somewhere, and nothing else is.
        kept = moments[moments != 0].sort().values
        torch.testing.assert_close(kept, state[position]["exp_avg"].flatten().sort().values)
