"""The layout of a batch by scenario, and linear maps on it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

import recbole_midpg.layers.scenario_grouping as grouping
from recbole_midpg.layers.scenario_grouping import (
    EMPTY_PLACES,
    EMPTY_PLACES_A_SCENARIO,
    GroupedLinear,
    GroupedMLP,
    ScenarioGroups,
    ScenarioTiles,
    grouped_linear,
    number_scenarios,
    number_scenarios_in_slots,
)


def random_ids(counts, seed=0):
    """Rows of scenarios 0, 1, ... in random order, as many as ``counts`` says."""
    ids = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts, dtype=torch.long))
    return ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed))]


def masked_loop(inputs, weight, bias, ids, shared_weight=None):
    """Every scenario's map on every row, and the row's own picked."""
    outputs = torch.zeros(len(inputs), weight.shape[2], dtype=inputs.dtype)
    for scenario in range(len(weight)):
        own = weight[scenario]
        own = own if shared_weight is None else shared_weight * (1 + own)
        mapped = inputs @ own + (0 if bias is None else bias[scenario])
        outputs = torch.where((ids == scenario).unsqueeze(1), mapped, outputs)
    return outputs


LAYOUTS = [ScenarioGroups, ScenarioTiles]
COUNTS = [
    [5],
    [0, 3],
    [3, 0, 1],
    [1, 200, 0, 2, 50, 60],
    [300, 1, 30, 20],
    [0, 20, 20, 0, 20, 3],
    [1] * 30,
    [],
]


@pytest.mark.parametrize("counts", COUNTS, ids=str)
class TestLayout:
    def test_rows_of_a_bucket_s_scenario_are_neighbours(self, counts):
        ids = random_ids(counts)
        groups = ScenarioGroups(ids, max(len(counts), 1))
        laid_out = groups.lay_out(torch.stack([ids, torch.ones_like(ids)], dim=1).double())
        seen = {}
        for bucket in groups.buckets:
            block = bucket.block(laid_out)
            slots = torch.arange(len(counts))[bucket.slots].tolist()
            for slot, places, count in zip(slots, block, bucket.counts, strict=True):
                assert places[:, 1].tolist() == [1.0] * count + [0.0] * (bucket.rows - count)
                assert (places[:count, 0] == slot).all()
                seen[slot] = count
        assert seen == {slot: count for slot, count in enumerate(counts) if count}

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_going_there_and_back_changes_nothing(self, counts, layout):
        ids = random_ids(counts)
        groups = layout(ids, max(len(counts), 1))
        values = torch.randn(len(ids), 3)
        assert torch.equal(groups.pick_up(groups.lay_out(values)), values)

    def test_a_tile_holds_rows_of_one_scenario(self, counts):
        ids = random_ids(counts)
        tiles = ScenarioTiles(ids, max(len(counts), 1))
        laid_out = tiles.block(tiles.lay_out(torch.stack([ids, torch.ones_like(ids)], dim=1)))
        assert torch.equal(tiles.counts, torch.bincount(ids, minlength=max(len(counts), 1)))
        for slot, places in zip(tiles.slot_of_tile.tolist(), laid_out, strict=True):
            slots, filled = places.unbind(1)
            assert (filled[1:] <= filled[:-1]).all()
            assert (slots[filled == 1] == slot).all()
        holds = tiles.holds_row(laid_out)
        assert torch.equal(holds.squeeze(2), laid_out[..., 1] == 1)

    def test_the_shapes_of_tiles_do_not_depend_on_the_scenarios(self, counts):
        n_scenarios = max(len(counts), 1)
        tiles = ScenarioTiles(random_ids(counts), n_scenarios)
        alone = ScenarioTiles(torch.full((sum(counts),), n_scenarios - 1), n_scenarios)
        assert tiles.shape == alone.shape

    def test_absent_scenarios(self, counts):
        groups = ScenarioGroups(random_ids(counts), len(counts) + 2)
        mask = torch.zeros(len(counts) + 2, dtype=torch.bool)
        mask[groups.absent] = True
        assert mask.tolist() == [count == 0 for count in [*counts, 0, 0]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=12))
def test_few_places_are_empty(counts):
    groups = ScenarioGroups(random_ids(counts), len(counts))
    for bucket in groups.buckets:
        assert bucket.rows == max(bucket.counts)
        allowed = EMPTY_PLACES + EMPTY_PLACES_A_SCENARIO * bucket.scenarios
        assert bucket.scenarios * bucket.rows - sum(bucket.counts) <= allowed


def test_scenarios_share_a_bucket_while_few_places_are_empty():
    groups = ScenarioGroups(random_ids([300, 1, 30, 20, 294]), 5)
    assert [bucket.counts for bucket in groups.buckets] == [(300, 294), (1, 30, 20)]


@pytest.mark.parametrize(
    ("rows", "scenarios", "shape"),
    [(0, 3, (2, 16)), (1, 3, (2, 16)), (40, 3, (5, 16)), (640, 2, (9, 80)), (700, 2, (9, 96))],
)
def test_the_number_and_size_of_tiles(rows, scenarios, shape):
    """640 rows of 2 scenarios: tiles of 640 / 8, at most floor((640 + 2 * 79) / 80) of them."""
    assert ScenarioTiles(torch.zeros(rows, dtype=torch.long), scenarios).shape == shape


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 90), min_size=1, max_size=12))
def test_tiles_suffice(counts):
    """Every row has a place of its own, inside the layout, whatever the counts."""
    tiles = ScenarioTiles(random_ids(counts), len(counts))
    places = tiles.place_of_row
    assert len(set(places.tolist())) == len(places)
    assert ((places >= 0) & (places < tiles.places)).all()


@given(
    st.integers(1, 3).flatmap(lambda n: st.lists(st.tuples(*[st.integers(0, 9)] * n), min_size=1))
)
def test_scenarios_are_numbered_without_gaps(tuples):
    ids = torch.tensor(tuples)
    numbers, examples = number_scenarios(ids)
    assert len(examples) == len(set(tuples))
    assert torch.equal(ids[examples][numbers], ids)
    assert torch.equal(numbers[examples], torch.arange(len(examples)))
    in_slots, of_slots = number_scenarios_in_slots(ids, len(ids))
    assert torch.equal(in_slots, numbers)
    assert torch.equal(numbers[of_slots[: len(examples)]], torch.arange(len(examples)))
    assert (of_slots[len(examples) :] == len(ids) - 1).all()


def test_unknown_scenario_is_refused():
    with pytest.raises(IndexError, match="scenario id 3, but there are 3"):
        ScenarioGroups(torch.tensor([0, 3]), 3)


@pytest.mark.parametrize("counts", COUNTS[:-1], ids=str)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    ("layout", "cached"),
    [(ScenarioGroups, 1), (ScenarioGroups, 1 << 18), (ScenarioTiles, 1)],
    ids=["cut", "whole", "tiles"],
)
def test_grouped_linear_is_the_masked_loop(counts, shared, layout, cached, monkeypatch):
    monkeypatch.setattr(grouping, "CACHED_WEIGHTS", cached)
    torch.manual_seed(0)
    ids = random_ids(counts)
    make = {"dtype": torch.float64, "requires_grad": True}
    inputs = torch.randn(len(ids), 4, **make)
    weight, bias = torch.randn(len(counts), 4, 3, **make), torch.randn(len(counts), 3, **make)
    shared_weight = torch.randn(4, 3, **make) if shared else None
    leaves = [leaf for leaf in (inputs, weight, bias, shared_weight) if leaf is not None]
    groups = layout(ids, len(counts))

    outputs = grouped_linear(groups.lay_out(inputs), weight, bias, groups, shared_weight)
    outputs = groups.pick_up(outputs)
    expected = masked_loop(inputs, weight, bias, ids, shared_weight)
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-10)
    towards = torch.randn_like(expected)
    gradients = torch.autograd.grad(outputs, leaves, towards)
    expected_gradients = torch.autograd.grad(expected, leaves, towards)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_grouped_linear_gradients_by_differences(shared, with_bias, layout):
    torch.manual_seed(0)
    groups = layout(torch.tensor([2, 0, 2, 4]), 5)
    make = {"dtype": torch.float64, "requires_grad": True}
    inputs, weight = torch.randn(groups.places, 2, **make), torch.randn(5, 2, 3, **make)
    bias = torch.randn(5, 3, **make) if with_bias else None
    shared_weight = torch.randn(2, 3, **make) if shared else None
    assert gradcheck(
        lambda x, w, b, v: grouped_linear(x, w, b, groups, v), (inputs, weight, bias, shared_weight)
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_grouped_linear_on_no_rows(layout):
    groups = layout(torch.empty(0, dtype=torch.long), 3)
    layer = GroupedLinear(3, 4, 2)
    outputs = groups.pick_up(layer(groups.lay_out(torch.empty(0, 4)), groups))
    assert outputs.shape == (0, 2)
    outputs.sum().backward()
    assert not layer.weight.grad.any()
    assert not layer.bias.grad.any()


def test_inputs_without_gradient():
    groups = ScenarioGroups(torch.tensor([1, 0]), 2)
    layer = GroupedLinear(2, 4, 2)
    layer(groups.lay_out(torch.ones(2, 4)), groups).sum().backward()
    assert layer.weight.grad.any()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_absent_scenarios_get_exactly_no_gradient(layout):
    groups = layout(torch.tensor([3, 1, 1]), 5)
    layer = GroupedLinear(5, 4, 2)
    groups.pick_up(layer(groups.lay_out(torch.randn(3, 4)), groups)).sum().backward()
    for scenario in (0, 2, 4):
        assert not layer.weight.grad[scenario].any()
        assert not layer.bias.grad[scenario].any()


def test_each_scenario_s_matrix_is_initialised_as_a_layer_s():
    torch.manual_seed(0)
    layer = GroupedLinear(400, 6, 10)
    assert layer.weight.std().item() == pytest.approx((2 / (6 + 10)) ** 0.5, rel=0.02)
    assert not layer.bias.any()
    assert GroupedLinear(2, 3, 4, bias=False).bias is None


def test_multiplications_are_those_of_one_scenario():
    assert GroupedLinear(7, 6, 10).multiply_adds() == 60


def test_grouped_mlp_by_hand():
    network = GroupedMLP(2, 1, [2], 1, "relu", 0.0)
    with torch.no_grad():
        network.layers[0].weight.copy_(torch.tensor([[[1.0, -1.0]], [[2.0, 3.0]]]))
        network.layers[0].bias.copy_(torch.tensor([[0.0, 0.5], [-1.0, 0.0]]))
        network.layers[1].weight.copy_(torch.tensor([[[1.0], [10.0]], [[1.0], [-1.0]]]))
        network.layers[1].bias.copy_(torch.tensor([[0.25], [0.0]]))
    groups = ScenarioGroups(torch.tensor([1, 0, 0]), 2)
    outputs = groups.pick_up(network(groups.lay_out(torch.tensor([[1.0], [2.0], [-2.0]])), groups))
    # scenario 1: relu(2 - 1, 3) = (1, 3), 1 - 3; scenario 0: relu(2, -1.5), then relu(-2, 2.5)
    assert outputs.flatten().tolist() == [-2.0, 2.25, 25.25]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_dropout_is_drawn_for_rows_wherever_they_are(layout):
    ids = random_ids([3, 40, 0, 5])
    groups = layout(ids, 4)
    dropout = torch.nn.Dropout(0.4)
    torch.manual_seed(0)
    expected = dropout(torch.ones(6, len(ids))).T  # samples last
    torch.manual_seed(0)
    dropped = groups.pick_up(groups.drop_out(torch.ones(groups.places, 6), dropout))
    assert torch.equal(dropped, expected)
    values = torch.ones(groups.places, 6)
    assert groups.drop_out(values, dropout.eval()) is values


def test_tiles_multiply_in_the_weights_type_under_autocast():
    groups = ScenarioTiles(torch.tensor([1, 0, 0]), 2)
    layer = GroupedLinear(2, 4, 2)
    inputs = torch.randn(3, 4).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = layer(groups.lay_out(inputs), groups)
    assert outputs.dtype == torch.float32
    expected = layer(groups.lay_out(inputs.float()), groups)
    assert torch.equal(outputs, expected)
