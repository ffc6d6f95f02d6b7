"""HAMUR's adapters: the cell, its norm, and the networks that they follow."""

import pytest
import torch

from recbole_midpg.layers.adapter import AdaptedGroupedMLP, AdaptedMLP, Adapter, AdapterCell
from recbole_midpg.layers.mlp import MLP
from recbole_midpg.layers.scenario_grouping import ScenarioGroups, ScenarioTiles
from tests.reference.baselines import partitioned_norm
from tests.reference.hamur import cell_output
from tests.support.toy import scrambled

SCENARIO_IDS = [2, 0, 1, 1, 3, 1, 0, 2, 1, 1]


def random_rows(n_rows, size, rank, seed=0):
    torch.manual_seed(seed)
    return (
        torch.randn(n_rows, size, dtype=torch.float64, requires_grad=True),
        torch.randn(rank, rank, n_rows, dtype=torch.float64, requires_grad=True),
    )


def assert_same_with_gradients(outputs, expected, leaves):
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-10)
    towards = torch.randn_like(expected)
    for gradient, of_expected in zip(
        torch.autograd.grad(outputs, leaves, towards),
        torch.autograd.grad(expected, leaves, towards),
        strict=True,
    ):
        torch.testing.assert_close(gradient, of_expected, rtol=0, atol=1e-10)


def test_a_cell_by_hand():
    cell = AdapterCell(2, 1, 1)
    with torch.no_grad():
        cell.first_input_factor.copy_(torch.tensor([[1.0, 2.0]]))
        cell.first_output_factor.fill_(0.5)
        cell.first_bias.fill_(-3.0)
        cell.second_input_factor.fill_(4.0)
        cell.second_output_factor.copy_(torch.tensor([[1.0, -1.0]]))
        cell.second_bias.copy_(torch.tensor([0.0, 10.0]))
    outputs = cell(torch.tensor([[1.0, 0.5], [1.0, 0.5]]), torch.tensor([[[3.0, 0.0]]]))
    # With I = 3: (1 + 2 * 0.5) * 3 * 0.5 - 3 = 0, the sigmoid 0.5, then 0.5 * 4 * 3 = 6.
    assert outputs.tolist() == [[6.0, 4.0], [0.0, 10.0]]


@pytest.mark.parametrize("shape", [(5, 3, 2), (4, 6, 5), (2, 1, 7), (3, 2, 1)], ids=str)
def test_a_cell_is_the_network_of_the_weights_that_it_never_forms(shape):
    size, adapter_size, rank = shape
    cell = scrambled(AdapterCell(size, adapter_size, rank)).double()
    hidden, instance = random_rows(7, size, rank)
    expected = torch.stack(
        [cell_output(cell, h, i) for h, i in zip(hidden, instance.unbind(2), strict=True)]
    )
    leaves = [hidden, instance, *cell.parameters()]
    assert_same_with_gradients(cell(hidden, instance), expected, leaves)


def test_gradcheck_of_a_cell():
    cell = scrambled(AdapterCell(4, 3, 2)).double()
    assert torch.autograd.gradcheck(cell, random_rows(3, 4, 2))


def test_a_cell_never_holds_the_weights_of_a_row():
    """They would be (B, m, r): here ten times the largest tensor that is kept for backward."""
    cell, kept = AdapterCell(40, 30, 2), []
    hidden, instance = torch.randn(50, 40), torch.randn(2, 2, 50)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor
    ):
        cell(hidden, instance)
    assert max(kept) <= 50 * 40


@pytest.mark.parametrize("layout", [ScenarioGroups, ScenarioTiles])
@pytest.mark.parametrize("training", [True, False])
def test_an_adapter_normalises_by_the_rows_of_a_scenario_alone(layout, training):
    """Also where places of the layout hold no row: a cell's output of zeros is not zero."""
    adapter = scrambled(Adapter(4, 5, 3, 2, min_rows=2, momentum=0.1)).double().train(training)
    adapter.norm.running_mean.normal_()
    hidden, instance = random_rows(len(SCENARIO_IDS), 5, 2)
    ids = torch.tensor(SCENARIO_IDS)
    groups = layout(ids, 4)
    assert groups.places > len(ids)
    expected = partitioned_norm(adapter.cell(hidden, instance), ids, adapter.norm, training)
    outputs = groups.pick_up(adapter(hidden, instance, groups))
    assert_same_with_gradients(outputs, expected, [hidden, instance, *adapter.parameters()])


def test_a_new_adapter_adds_nothing_and_learns_its_scale_first():
    adapter = Adapter(4, 5, 3, 2, min_rows=2, momentum=0.1).double()
    hidden, instance = random_rows(len(SCENARIO_IDS), 5, 2)
    groups = ScenarioGroups(torch.tensor(SCENARIO_IDS), 4)
    outputs = groups.pick_up(adapter(hidden, instance, groups))
    assert not outputs.any()
    (outputs * torch.randn_like(outputs)).sum().backward()
    assert adapter.norm.shared_scale.grad.all()
    assert not any(parameter.grad.any() for parameter in adapter.cell.parameters())


def adapted(network_class, n_adapters, hidden_sizes, **settings):
    """A network of 4 scenarios on 6 inputs, in double."""
    torch.manual_seed(0)
    adapters = [
        Adapter(4, size, 3, 2, min_rows=2, momentum=0.1)
        for size in hidden_sizes[len(hidden_sizes) - n_adapters :]
    ]
    own = (4,) if network_class is AdaptedGroupedMLP else ()
    network = network_class(*own, 6, hidden_sizes, adapters, "relu", settings.get("dropout", 0.0))
    return scrambled(network).double()


@pytest.mark.parametrize("layout", [ScenarioGroups, ScenarioTiles])
@pytest.mark.parametrize("n_adapters", [0, 1, 2])
def test_networks_alike_in_all_scenarios_are_the_shared_one(n_adapters, layout):
    shared = adapted(AdaptedMLP, n_adapters, [5, 4])
    own = adapted(AdaptedGroupedMLP, n_adapters, [5, 4])
    own.adapters = shared.adapters
    with torch.no_grad():
        for place, layer in zip(own.layers, [*shared.layers, shared.output], strict=True):
            place.weight.copy_(layer.weight.T.expand_as(place.weight))
            place.bias.copy_(layer.bias.expand_as(place.bias))
    hidden, instance = random_rows(len(SCENARIO_IDS), 6, 2)
    groups = layout(torch.tensor(SCENARIO_IDS), 4)
    leaves = [hidden, *([instance] if n_adapters else []), *shared.adapters.parameters()]
    assert_same_with_gradients(
        own(hidden, instance, groups), shared(hidden, instance, groups), leaves
    )


def test_without_adapters_it_is_a_plain_network():
    network, plain = adapted(AdaptedMLP, 0, [5, 4]), MLP(6, [5, 4], 1).double()
    for place, layer in zip(plain.layers[::3], [*network.layers, network.output], strict=True):
        place.load_state_dict(layer.state_dict())
    hidden, _ = random_rows(9, 6, 2)
    groups = ScenarioGroups(torch.arange(9) % 4, 4)
    assert torch.equal(network(hidden, None, groups), plain(hidden).squeeze(-1))


@pytest.mark.parametrize("network_class", [AdaptedMLP, AdaptedGroupedMLP])
def test_adapters_follow_the_last_hidden_layers(network_class):
    """An adapter adds its norm's shift, where the scale is zero: after the second layer here."""
    network = adapted(network_class, 1, [5, 4])
    plain = adapted(network_class, 0, [5, 4])
    for place, layer in zip(plain.layers, network.layers, strict=True):
        place.load_state_dict(layer.state_dict())
    norm = network.adapters[0].norm
    with torch.no_grad():
        norm.shared_scale.zero_()
        norm.specific_shift.zero_()
        norm.shared_shift.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        if network_class is AdaptedMLP:
            plain.output.load_state_dict(network.output.state_dict())
            first_weight = network.output.weight[0, 0].item()
        else:
            network.layers[-1].weight[:, 0] = first_weight = 0.7
            plain.layers[-1].load_state_dict(network.layers[-1].state_dict())
    hidden, instance = random_rows(9, 6, 2)
    groups = ScenarioGroups(torch.arange(9) % 4, 4)
    more = network(hidden, instance, groups) - plain(hidden, None, groups)
    torch.testing.assert_close(more, torch.full_like(more, first_weight))


@pytest.mark.parametrize("network_class", [AdaptedMLP, AdaptedGroupedMLP])
def test_dropout_in_training_only(network_class):
    network = adapted(network_class, 1, [5, 4], dropout=0.5)
    hidden, instance = random_rows(9, 6, 2)
    groups = ScenarioGroups(torch.arange(9) % 4, 4)
    assert not torch.equal(network(hidden, instance, groups), network(hidden, instance, groups))
    network.eval()
    assert torch.equal(network(hidden, instance, groups), network(hidden, instance, groups))


def test_multiplications():
    # h U (5 x 2), times I (2 x 2), times V (2 x 3), and the same back.
    assert AdapterCell(5, 3, 2).multiply_adds() == 2 * (10 + 4 + 6)
