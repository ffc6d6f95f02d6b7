"""ESMM: clicks and purchases on the entire space, with any model as towers."""

import copy

import numpy as np
import pytest
import torch

from recbole_midpg.common.choices import TASKS
from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.models.registry import entire_space_models, get_model, own_models
from recbole_midpg.models.base import count_parameters
from recbole_midpg.models.entire_space import TOWERS
from recbole_midpg.prediction import Scorer
from tests.prediction.checkpoints import checkpoint_of
from tests.support.purchases import purchases_config
from tests.support.recbole_data import loaders_of
from tests.support.toy import scrambled

SMALL = {"mlp_hidden_size": [8, 4], "embedding_size": 4, "n": 4, "m": 4, "apg_rank": 2}


def built(model, tmp_path, **values):
    widths = {"mlp_hidden_size": [8, 6, 4]} if model == "ESMM_M3oE" else {}  # it needs three
    config = purchases_config(model, tmp_path, **{**SMALL, **widths, **values})
    train, valid, test = loaders_of(config)
    return config, scrambled(get_model(model)(config, train.dataset)), (train, valid, test)


def first_batch(loader):
    return next(iter(loader))


def test_every_model_can_be_a_tower():
    assert own_models() == TOWERS
    assert entire_space_models().keys() == {f"ESMM_{name}" for name in own_models()}


@pytest.mark.parametrize("tower", TOWERS)
def test_loss_and_probabilities_are_those_of_two_towers_on_one_embedding(tower, tmp_path):
    _, model, (train, *_) = built(f"ESMM_{tower}", tmp_path, dropout_prob=0.0)
    model.eval()  # the schedules of a tower stand still
    batch = first_batch(train)
    clicks, conversions = (
        torch.sigmoid(tower_model.forward(batch)).double()
        for tower_model in (model.click, model.conversion)
    )
    given = model.tasks(batch)
    torch.testing.assert_close(given["CTR"].double(), clicks)
    torch.testing.assert_close(given["CTCVR"].double(), clicks * conversions, rtol=1e-5, atol=0)
    torch.testing.assert_close(model.predict(batch), given["CTCVR"])
    y, z = batch["clicked"].double(), batch["bought"].double()
    both = clicks * conversions
    losses = model.calculate_loss(batch)
    assert len(losses) == len(model.loss_names)
    expected = [
        -(label * p.log() + (1 - label) * (1 - p).log()).mean()
        for label, p in ((y, clicks), (z, both))
    ]
    for loss, reference in zip(losses, expected, strict=False):
        assert loss.item() == pytest.approx(reference.item(), rel=1e-4)


def test_a_tower_has_no_embeddings_of_its_own_and_both_train_the_shared_ones(tmp_path):
    _, model, (train, *_) = built("ESMM_MIDPG", tmp_path)
    names = {name for name, _ in model.named_parameters() if "embedding" in name}
    assert names and all(not name.startswith(("click.", "conversion.")) for name in names)
    alone = get_model("MIDPG")(purchases_config("MIDPG", tmp_path, **SMALL), train.dataset)
    total, without = count_parameters(alone)
    assert count_parameters(model) == (total + without, 2 * without)
    batch = first_batch(train)
    for task in ("CTR", "CVR"):
        model.zero_grad()
        model.tasks(batch)[task].sum().backward()
        assert model.token_embedding_table.embedding.weight.grad.abs().sum() > 0
        tower, other = (model.click, model.conversion)[:: 1 if task == "CTR" else -1]
        assert any(p.grad is not None and p.grad.any() for p in tower.parameters())
        assert not any(p.grad is not None and p.grad.any() for p in other.parameters())


def test_rows_without_a_click_train_the_conversion_tower(tmp_path):
    _, model, (train, *_) = built("ESMM_DNN", tmp_path)
    batch = first_batch(train)
    unclicked = batch[batch["clicked"] == 0]
    _, joint = model.calculate_loss(unclicked)
    joint.backward()
    assert all(p.grad.any() for p in model.conversion.parameters() if p.dim() > 1)


def test_copies_and_state_dicts_are_whole(tmp_path):
    config, model, (train, *_) = built("ESMM_PLE", tmp_path)
    batch = first_batch(train)
    model.eval()
    twin = copy.deepcopy(model)
    other = get_model("ESMM_PLE")(config, train.dataset).eval()
    other.load_state_dict(model.state_dict())
    for same in (twin, other):
        torch.testing.assert_close(same.predict(batch), model.predict(batch), rtol=0, atol=0)


def test_fixed_shapes_give_the_same_loss(tmp_path):
    _, model, (train, *_) = built("ESMM_STAR", tmp_path)
    batch = first_batch(train)
    model.eval()
    free = model.calculate_loss(batch)
    model.use_fixed_shapes(True)
    assert model.click.fixed_shapes and model.conversion.fixed_shapes
    for one, other in zip(model.calculate_loss(batch), free, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("task", [None, *TASKS])
def test_the_scorer_gives_the_probabilities_of_the_task_that_is_chosen(task, tmp_path):
    checkpoint = checkpoint_of(purchases_config("ESMM_STAR", tmp_path, **SMALL))
    scorer = Scorer.read(checkpoint.path, task=task)
    assert {"clicked", "bought"}.isdisjoint(scorer.fields)
    columns = {"user_id": ["u1", "u2"], "item_id": ["i1", "i2"], "channel": ["app", "web"]}
    scores = scorer.scores(columns)
    with torch.no_grad():
        tasks = scorer.scoring.model.tasks(scorer.encode(columns))
    assert tasks.keys() == set(TASKS)
    expected = tasks["CTR"] * tasks["CVR"] if task is None else tasks[task]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_a_task_that_a_model_does_not_have(tmp_path):
    checkpoint = checkpoint_of(purchases_config("ESMM_DNN", tmp_path, **SMALL)).path
    with pytest.raises(UsageError, match=r"task: 'CRT' is not allowed, expected one of CTR, CVR"):
        Scorer.read(checkpoint, task="CRT")
    alone = checkpoint_of(purchases_config("DNN", tmp_path, **SMALL)).path
    with pytest.raises(UsageError, match=r"task: checkpoint .* holds a DNN, expected an ESMM"):
        Scorer.read(alone, task="CVR")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"click_field": None}, "click_field: None is not a loaded field of numbers beside the"),
        ({"click_field": "clicke"}, "'clicke' is not .*did you mean 'clicked'"),
        ({"click_field": "bought"}, "'bought' is not a loaded field of numbers beside the label"),
        ({"threshold": {"clicked": 1}}, "'clicked' is not a loaded field of numbers"),
        ({"click_field": "channel"}, "'channel' is not a loaded field of numbers"),
        ({"numerical_features": ["clicked"]}, "numerical_features: 'clicked' is the click_field"),
    ],
)
def test_a_click_field_that_cannot_be_learned_from(values, sentence, tmp_path):
    with pytest.raises(UsageError, match=sentence):
        purchases_config("ESMM_DNN", tmp_path, **values)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"clicked": "2"}, "click_field: 'clicked' is 2 in one of"),
        ({"clicked": "0", "bought": "1"}, "positive rows of the .* split have clicked 0"),
    ],
)
def test_clicks_that_cannot_be(changes, sentence, tmp_path):
    config = purchases_config("ESMM_DNN", tmp_path, changes)
    with pytest.raises(UsageError, match=sentence):
        loaders_of(config)
