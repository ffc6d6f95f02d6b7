"""PEPNet: the formulas, the gates' range and start, and where gradients stop."""

import pytest
import torch

from recbole_midpg.common.errors import UsageError
from recbole_midpg.layers.gates import GatedMLP, GateUnits
from recbole_midpg.models.base import count_parameters
from recbole_midpg.models.dnn import DNN
from recbole_midpg.models.pepnet import PEPNet
from tests.reference.baselines import pepnet_logits
from tests.support.gates import assert_gates_read_a_copy
from tests.support.learning import auc_after_training, dnn_auc
from tests.support.toy import scrambled, toy_batch, toy_dataset, toy_model


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"ppnet_gate_input": False},
        {"gate_hidden_size": 3, "gate_gamma": 3.0},
        {"prior_fields": ["shop_id", "user_id", "item_id"]},
    ],
    ids=str,
)
def test_reference(settings):
    model = scrambled(toy_model(PEPNet, **settings)).double()
    batch = toy_batch(15)
    inputs, scenario = model.embed(batch)
    expected = pepnet_logits(model, inputs, scenario)
    torch.testing.assert_close(model(batch), expected, rtol=0, atol=1e-10)


def test_a_gate_by_hand():
    units = GateUnits(1, 1, [1], hidden_size=2, gamma=2.0)
    with torch.no_grad():
        units.from_prior.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        units.from_prior.bias.copy_(torch.tensor([0.0, 1.0]))
        units.from_stopped.weight.copy_(torch.tensor([[2.0], [0.0]]))
        units.outputs[0].weight.copy_(torch.tensor([[1.0, 1.0]]))
        units.outputs[0].bias.fill_(-5.0)
    (gate,) = units(torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [1.0]]))
    # relu(1 + 4, -1 + 1) sums to 5, less 5: half of gamma; relu(3 + 2, -2) likewise
    assert gate.flatten().tolist() == [1.0, 1.0]


def gates_of(model, batch):
    """EPNet's gate, and PPNet's, as the model forms them."""
    found = []
    handles = [
        units.register_forward_hook(lambda _module, _inputs, outputs: found.extend(outputs))
        for units in (model.epnet, model.ppnet)
    ]
    model(batch)
    for handle in handles:
        handle.remove()
    return found


def test_gates_start_near_one():
    for gate in gates_of(toy_model(PEPNet, embedding_size=16), toy_batch(50)):
        torch.testing.assert_close(gate, torch.ones_like(gate), rtol=0, atol=0.1)


def test_gates_stay_in_their_range():
    model = scrambled(toy_model(PEPNet, gate_gamma=1.5))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(20)
    gates = gates_of(model, toy_batch(50))
    assert [gate.shape[1] for gate in gates] == [16, 16, 8, 6, 4]
    for gate in gates:
        assert (gate >= 0).all()
        assert (gate <= 1.5).all()


def test_a_gate_sends_no_gradient_into_the_stopped_input():
    units = GateUnits(3, 4, [5, 2])
    prior = torch.randn(6, 3, requires_grad=True)
    stopped = torch.randn(6, 4, requires_grad=True)
    sum(gate.sum() for gate in units(prior, stopped)).backward()
    assert stopped.grad is None
    assert prior.grad.any()


def test_the_model_s_gates_reach_embeddings_only_by_scenario_and_prior_fields():
    model = scrambled(toy_model(PEPNet, prior_fields=["item_id"]))
    batch = toy_batch(30)
    domain_gate, *layer_gates = gates_of(model, batch)
    table = model.token_embedding_table.embedding.weight
    sizes = {"user_id": 12, "item_id": 9, "shop_id": 5, "scenario": 4}

    def fields_reached(gates):
        (gradient,) = torch.autograd.grad(sum(g.sum() for g in gates), table, retain_graph=True)
        parts = gradient.split(list(sizes.values()))
        return {name for name, part in zip(sizes, parts, strict=True) if part.any()}

    assert fields_reached([domain_gate]) == {"scenario"}
    assert fields_reached(layer_gates) == {"item_id"}
    # PPNet reads what EPNet gated, and leaves EPNet alone.
    of_epnet = torch.autograd.grad(
        sum(g.sum() for g in layer_gates), list(model.epnet.parameters()), allow_unused=True
    )
    assert all(gradient is None for gradient in of_epnet)


def test_embeddings_learn_as_if_the_gates_had_read_a_copy():
    model = scrambled(toy_model(PEPNet)).double()
    assert_gates_read_a_copy(model, model.epnet, model.ppnet)


def test_first_layers_are_initialised_as_one_linear_layer_a_unit():
    torch.manual_seed(0)
    units = GateUnits(300, 500, [400, 100])
    units.reset_parameters()
    weight = torch.cat([units.from_prior.weight, units.from_stopped.weight], dim=1)
    for rows, width in zip(weight.split([400, 100]), [400, 100], strict=True):
        assert rows.std().item() == pytest.approx((2 / (800 + width)) ** 0.5, rel=0.02)
    assert not units.from_prior.bias.any()


def unit_size(inputs, outputs, hidden):
    return (inputs + 1) * hidden + (hidden + 1) * outputs


@pytest.mark.parametrize("hidden_size", [0, 7])
@pytest.mark.parametrize("gates_input", [True, False])
def test_parameter_count(hidden_size, gates_input):
    dataset = toy_dataset(6)
    model = toy_model(PEPNet, dataset, gate_hidden_size=hidden_size, ppnet_gate_input=gates_input)
    d_0, d_s, prior = 16, 4, 8
    expected = count_parameters(toy_model(DNN, dataset))[1]
    expected += unit_size(d_s + d_0, d_0, hidden_size or d_0)
    for width in [d_0, 8, 6, 4][0 if gates_input else 1 :]:
        expected += unit_size(prior + d_0, width, hidden_size or width)
    assert count_parameters(model)[1] == expected
    assert model.ppnet.multiply_adds() == sum(
        (prior + d_0) * (hidden_size or width) + width
        for width in [d_0, 8, 6, 4][0 if gates_input else 1 :]
    )


def test_prior_fields_are_the_ids_by_default():
    model = toy_model(PEPNet)
    assert model.prior_fields == ["user_id", "item_id"]
    batch = toy_batch(5)
    inputs, _ = model.embed(batch)
    expected = model.concat_embed_input_fields(batch)[:, :2].flatten(1)
    assert torch.equal(inputs[:, model.prior_columns], expected)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["shop_id", "item_id"], ["item_id"]),
        (["user_id", "shop_id"], ["user_id"]),
        (["shop_id", "category"], ["shop_id", "category"]),
        (["item_id", "user_id"], ["user_id", "item_id"]),
    ],
    ids=str,
)
def test_prior_fields_follow_the_fields_that_are_embedded(fields, expected):
    dataset = toy_dataset(sizes=dict.fromkeys(fields, 6))
    model = scrambled(toy_model(PEPNet, dataset)).double()
    assert model.prior_fields == expected
    batch = toy_batch(15, dataset=dataset)
    inputs, scenario = model.embed(batch)
    expected_logits = pepnet_logits(model, inputs, scenario)
    torch.testing.assert_close(model(batch), expected_logits, rtol=0, atol=1e-10)


def test_prior_fields_of_every_type_stand_in_for_ids():
    dataset = toy_dataset(sizes={"shop_id": 5}, mixed_types=True)
    model = toy_model(PEPNet, dataset)
    assert model.prior_fields == ["tags", "shop_id", "levels", "price"]
    inputs, scenario = model.embed(toy_batch(5, dataset=dataset))
    prior = inputs.index_select(1, model.prior_columns)
    assert torch.equal(torch.cat([prior, scenario], dim=1), inputs)


def test_named_prior_fields_that_are_not_embedded_are_refused():
    dataset = toy_dataset(sizes={"shop_id": 5, "item_id": 9})
    with pytest.raises(UsageError, match="prior_fields: 'user_id' is not a field that the model"):
        toy_model(PEPNet, dataset, prior_fields=["user_id", "item_id"])


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_of_scenario_fields_alone_the_prior_is_empty():
    dataset = toy_dataset()
    dataset.sizes = {"scenario": 4}
    model = scrambled(toy_model(PEPNet, dataset)).double()
    assert model.prior_fields == []
    batch = toy_batch(8, dataset=dataset)
    inputs, scenario = model.embed(batch)
    expected = pepnet_logits(model, inputs, scenario)
    torch.testing.assert_close(model(batch), expected, rtol=0, atol=1e-10)


def test_unknown_prior_field_is_refused():
    with pytest.raises(UsageError, match="prior_fields: 'author' is not a field"):
        toy_model(PEPNet, prior_fields=["author"])


def test_gated_mlp_refuses_gates_that_are_missing():
    network = GatedMLP(4, [3], "relu", 0.0)
    with pytest.raises(ValueError, match="shorter"):
        network(torch.ones(2, 4), [None])


@pytest.mark.slow
def test_it_learns_scenarios_that_oppose_each_other():
    assert auc_after_training(PEPNet) > 0.88 > dnn_auc()
