"""AdaSparse: the three forms, their gradients, the regulariser, and the schedules."""

import copy

import pytest
import torch

from recbole_midpg.common.errors import UsageError
from recbole_midpg.layers.pruning import LinearSchedule, Pruner, sparsity_loss
from recbole_midpg.models.adasparse import AdaSparse
from recbole_midpg.models.base import count_parameters
from recbole_midpg.models.dnn import DNN
from tests.reference.baselines import adasparse_logits
from tests.support.learning import auc_after_training, dnn_auc, opposing_scenarios
from tests.support.toy import (
    scrambled,
    toy_batch,
    toy_config,
    toy_dataset,
    toy_model,
    train_step,
)

FORMS = ["fusion", "binarization", "scaling"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("prune_input", [False, True])
@pytest.mark.parametrize("steps_taken", [0, 3, 99])
def test_reference(form, prune_input, steps_taken):
    model = toy_model(AdaSparse, pruning_form=form, prune_input=prune_input, pruning_epochs=1)
    model = scrambled(model).double()
    model.schedule.steps_taken.fill_(steps_taken)
    batch = toy_batch(15)
    inputs, scenario = model.embed(batch)
    alpha = min(5.0, 0.1 + 4.9 * steps_taken / 10)
    expected = adasparse_logits(model, inputs, scenario, alpha)
    torch.testing.assert_close(model(batch), expected, rtol=0, atol=1e-10)


def pruner(form, beta=2.0, epsilon=0.25):
    """A pruner whose logits are its input ``h``."""
    layer = Pruner(1, 4, form, beta, epsilon).double()
    with torch.no_grad():
        layer.linear.weight.copy_(torch.cat([torch.zeros(4, 1), torch.eye(4)], dim=1))
        layer.linear.bias.zero_()
    return layer


HIDDEN = torch.tensor([[-2.0, -1.0, 0.0, 1.0]], dtype=torch.float64)
LOW, MIDDLE, HIGH = (1 / (1 + torch.e**-x) for x in (-2.0, 0.0, 2.0))  # sigmoid(2 v), v = -1, 0, 1


@pytest.mark.parametrize(
    ("form", "factors", "kept"),
    [
        # 2 sigmoid(-4) is 0.036 and 2 sigmoid(-2) 0.238: both below 0.25.
        ("fusion", [0.0, 0.0, 2 * MIDDLE, 2 * HIGH], 0.5),
        ("binarization", [0.0, 0.0, 1.0, 1.0], 0.5),
        ("scaling", [2 / (1 + torch.e ** -float(v)) for v in HIDDEN[0]], 1.0),
    ],
)
def test_forms_by_hand(form, factors, kept):
    alpha = torch.tensor(2.0, dtype=torch.float64)
    result, share = pruner(form)(torch.zeros(1, 1, dtype=torch.float64), HIDDEN, alpha)
    assert result[0].tolist() == pytest.approx(factors, abs=1e-12)
    assert share.item() == kept


def test_scaling_with_a_pruner_of_zeros_is_the_dnn():
    model = toy_model(AdaSparse, pruning_form="scaling").double()
    plain = toy_model(DNN).double()
    plain.token_embedding_table = model.token_embedding_table
    with torch.no_grad():
        for layer in model.backbone.pruners:
            layer.linear.weight.zero_()
        linears = [*model.backbone.layers, model.backbone.output]
        for own, other in zip(plain.backbone.layers[::3], linears, strict=True):
            own.weight.copy_(other.weight)
            own.bias.copy_(other.bias)
    batch = toy_batch(20)
    torch.testing.assert_close(model(batch), plain(batch), rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", ["fusion", "binarization"])
def test_pruned_neurons_are_zero_for_the_next_layer(form):
    model = scrambled(toy_model(AdaSparse, pruning_form=form, pruning_epochs=0.1))
    model.schedule.advance()
    read = []
    for layer in [*model.backbone.layers[1:], model.backbone.output]:
        layer.register_forward_pre_hook(lambda _module, given: read.append(given[0]))
    factors = model.neuron_factors(toy_batch(50))
    assert sum(int((factor == 0).sum()) for factor in factors) > 50
    for factor, hidden in zip(factors, read, strict=True):
        assert not hidden[factor == 0].any()
        assert (factor >= 0).all()
        if form == "binarization":
            assert set(factor.unique().tolist()) <= {0.0, 1.0}


def test_binarization_is_exact_where_a_difference_of_floats_would_not_be():
    torch.manual_seed(0)
    layer = Pruner(2, 64, "binarization", 1.0, 0.25)
    factors, _ = layer(torch.randn(200, 2), 5 * torch.randn(200, 64), torch.tensor(3.0))
    assert set(factors.unique().tolist()) == {0.0, 1.0}


def test_gradients_of_the_threshold():
    alpha = torch.tensor(2.0, dtype=torch.float64)
    scenario = torch.zeros(1, 1, dtype=torch.float64)
    slopes = torch.sigmoid(2 * HIDDEN[0]) * (1 - torch.sigmoid(2 * HIDDEN[0])) * 2
    for form, expected in (("fusion", 2 * slopes * (HIDDEN[0] > -0.5)), ("binarization", slopes)):
        hidden = HIDDEN.clone().requires_grad_()
        factors, share = pruner(form)(scenario, hidden, alpha)
        (gradient,) = torch.autograd.grad(factors.sum(), hidden, retain_graph=True)
        torch.testing.assert_close(gradient[0], expected)
        # The share of kept neurons learns from all of them, the pruned ones too.
        (gradient,) = torch.autograd.grad(share, hidden)
        torch.testing.assert_close(gradient[0], slopes / 4)


def test_regulariser_by_hand():
    kept = torch.tensor([0.9, 0.8, 0.5, 0.76], dtype=torch.float64, requires_grad=True)
    loss = sparsity_loss(kept, torch.tensor(0.5), 0.15, 0.25)
    # Sparsity 0.1, 0.2, 0.5, 0.24: the second and the last are inside, the others 0.1 and 0.3 off.
    assert loss.item() == pytest.approx(0.5 * (0.1**2 + 0.3**2) / 4)
    loss.backward()
    assert kept.grad.tolist() == pytest.approx([0.5 * 0.1 / 4, 0.0, -0.5 * 0.3 / 4, 0.0])


def test_schedule_by_hand():
    schedule = LinearSchedule(4)
    values = []
    for _ in range(6):
        values.append(schedule.between(0.1, 5.0).item())
        schedule.advance()
    assert values == pytest.approx([0.1, 1.325, 2.55, 3.775, 5.0, 5.0])


def test_schedule_advances_in_training_steps_only_and_is_kept_in_a_checkpoint():
    model = toy_model(AdaSparse)
    batch = toy_batch(10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        train_step(model, batch, optimizer)
    model(batch), model.predict(batch)
    model.eval()
    model.calculate_loss(batch), model.predict(batch)
    assert model.schedule.steps_taken.item() == 3
    restored = toy_model(AdaSparse)
    restored.load_state_dict(copy.deepcopy(model.state_dict()))
    assert restored.schedule.steps_taken.item() == 3


@pytest.mark.parametrize(
    ("epochs", "steps"), [(5.0, 55), (2, 22), (0.5, 6), (0.25, 3), (0.01, 1), (1.5, 16)]
)
def test_schedule_takes_the_steps_of_as_many_epochs(epochs, steps):
    dataset = toy_dataset()
    dataset.inter_num = 1001
    model = toy_model(AdaSparse, dataset, pruning_epochs=epochs)  # 11 batches of 100 an epoch
    assert model.schedule.steps == steps
    assert toy_config(AdaSparse)["pruning_epochs"] == 5


@pytest.mark.parametrize(("of_checkpoint", "steps"), [(0, 55), (7, 7), (300, 300)])
def test_checkpoints_that_count_the_schedule_s_steps_are_read(of_checkpoint, steps):
    dataset = toy_dataset()
    dataset.inter_num = 1001
    config = toy_config(AdaSparse, pruning_steps=of_checkpoint)
    del config["pruning_epochs"]
    assert AdaSparse(config, dataset).schedule.steps == steps


def test_best_weights_early_in_the_schedule_are_told():
    (remark,) = toy_model(AdaSparse, pruning_epochs=5).remarks_on_length(1)
    assert remark == (
        "AdaSparse: the best weights are those after 1 of the 5 passes of its schedule "
        "(pruning_epochs): α had come to 1.08 of 5, λ̂ to 0.208 of 1; pruning_epochs: 1 ends it "
        "by then."
    )
    (remark,) = toy_model(AdaSparse, pruning_epochs=5).remarks_on_length(0.75)
    assert remark.endswith("pruning_epochs: 0.75 ends it by then.")


@pytest.mark.parametrize(
    ("passes", "settings"),
    [(3, {}), (99, {}), (1, {"pruning_epochs": 2}), (1, {"pruning_form": "scaling"})],
    ids=str,
)
def test_a_schedule_that_is_half_done_or_not_used_is_not_told(passes, settings):
    assert toy_model(AdaSparse, **settings).remarks_on_length(passes) == []


@pytest.mark.slow
@pytest.mark.parametrize("form", ["fusion", "binarization"])
@pytest.mark.parametrize("target", [(0.15, 0.25), (0.4, 0.5)])
def test_every_layer_reaches_the_target_sparsity(form, target):
    dataset, rows = opposing_scenarios()
    model = toy_model(
        AdaSparse,
        dataset,
        mlp_hidden_size=[24, 16],
        pruning_form=form,
        pruning_epochs=15,
        sparsity_min=target[0],
        sparsity_max=target[1],
        sparsity_weight_end=10.0,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(400):
        train_step(model, rows[torch.randint(3000, (150,), generator=generator)], optimizer)
    factors = model.eval().neuron_factors(rows[3000:])
    for factor in factors:
        assert target[0] - 0.05 < (factor == 0).float().mean().item() < target[1] + 0.05


def test_scaling_has_no_regulariser():
    loss, regulariser = toy_model(AdaSparse, pruning_form="scaling").calculate_loss(toy_batch(9))
    assert loss > 0
    assert regulariser.item() == 0
    assert AdaSparse.loss_names == ("bce", "sparsity")


@pytest.mark.parametrize("prune_input", [False, True])
def test_parameter_count(prune_input):
    dataset = toy_dataset(6)
    model = toy_model(AdaSparse, dataset, prune_input=prune_input)
    expected = count_parameters(toy_model(DNN, dataset))[1]
    for width in ([16] if prune_input else []) + [8, 6, 4]:
        expected += (4 + width + 1) * width
    assert count_parameters(model)[1] == expected
    assert model.backbone.multiply_adds() == (16 if prune_input else 0) + 8 + 6 + 4


def test_a_range_turned_round_is_refused():
    with pytest.raises(UsageError, match=r"sparsity_min: 0.3 is above sparsity_max"):
        toy_model(AdaSparse, sparsity_min=0.3)


@pytest.mark.slow
def test_it_learns_scenarios_that_oppose_each_other():
    assert auc_after_training(AdaSparse, pruning_epochs=10) > 0.88 > dnn_auc()
