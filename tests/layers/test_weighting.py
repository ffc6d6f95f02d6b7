"""The weighting matrices, the product that tiles them, and the backbone that they weight."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from recbole_midpg.common.errors import UsageError
from recbole_midpg.layers.mlp import ACTIVATIONS
from recbole_midpg.layers.tiled_product import fold, weighted_linear
from recbole_midpg.layers.weighting import (
    WEIGHTINGS,
    WeightedLinear,
    WeightedMLP,
    blocks_in_turn,
    check_tile_sizes,
)
from tests.reference.weighting import (
    gated_factors,
    materialised_product,
    product_by_loops,
    tile,
    tile_batch,
)

EXACT = {"rtol": 0.0, "atol": 1e-10}

# (N, M, n, m): rows summed first, columns first, and nothing shared; tiles whole and cut.
SHAPES = {
    "rows first, whole tiles": (6, 8, 2, 4),
    "rows first, cut tiles": (7, 5, 2, 3),
    "columns first, whole tiles": (8, 6, 4, 2),
    "columns first, cut tiles": (7, 5, 5, 2),
    "full": (4, 3, 4, 3),
    "all rows, some columns": (4, 5, 4, 2),
    "some rows, all columns": (5, 4, 2, 4),
    "one value": (3, 4, 1, 1),
}


def random_product(batch, n_inputs, n_outputs, n_rows, n_columns, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, n_inputs), (n_inputs, n_outputs), (batch, n_rows, n_columns)]
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_(
            options.get("requires_grad", False)
        )
        for shape in shapes
    ]


def weighted_product(inputs, weight, matrix):
    """The layer's product with samples first, as the references have them, and without a bias."""
    outputs = weighted_linear(
        inputs.T, weight, weight.new_zeros(weight.shape[1]), matrix.permute(1, 2, 0)
    )
    return outputs.T


def matrices_of(weighting, condition):
    """The matrices of conditions, samples first."""
    return weighting.matrices(condition.T).permute(2, 0, 1)


# --- the product -----------------------------------------------------------------------------


def test_product_equals_values_worked_out_by_hand():
    inputs = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    weight = torch.arange(1.0, 10.0, dtype=torch.float64).view(3, 3)
    matrix = torch.tensor([[[1.0, 10.0], [100.0, 1000.0]]], dtype=torch.float64)
    # Row 2 uses the matrix's row 0 again, column 2 its column 0; the second tiles are cut.
    by_hand = [
        1 * 1 * 1 + 2 * 4 * 100 + 3 * 7 * 1,
        1 * 2 * 10 + 2 * 5 * 1000 + 3 * 8 * 10,
        1 * 3 * 1 + 2 * 6 * 100 + 3 * 9 * 1,
    ]
    assert by_hand == [822, 10260, 1230]
    assert weighted_product(inputs, weight, matrix).tolist() == [by_hand]


def test_tiles_repeat_in_turn_and_not_in_blocks():
    # A product with the identity shows the tiled matrix's diagonal: 0 1 0 1, not 0 0 1 1.
    inputs = torch.ones(1, 4)
    rows = weighted_product(inputs, torch.eye(4), torch.tensor([[[10.0], [20.0]]]))
    assert rows.tolist() == [[10, 20, 10, 20]]
    columns = weighted_product(inputs, torch.eye(4), torch.tensor([[[10.0, 20.0]]]))
    assert columns.tolist() == [[10, 20, 10, 20]]
    reference = tile(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 4, 3)
    assert reference.tolist() == [[1, 2, 1], [3, 4, 3], [1, 2, 1], [3, 4, 3]]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_product_equals_the_loops_and_the_materialised_form(shape):
    inputs, weight, matrix = random_product(3, *shape)
    result = weighted_product(inputs, weight, matrix)
    torch.testing.assert_close(result, product_by_loops(inputs, weight, matrix), **EXACT)
    torch.testing.assert_close(result, materialised_product(inputs, weight, matrix), **EXACT)


@st.composite
def shapes(draw):
    n_inputs, n_outputs = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    n_rows, n_columns = draw(st.integers(1, n_inputs)), draw(st.integers(1, n_outputs))
    return draw(st.integers(0, 4)), n_inputs, n_outputs, n_rows, n_columns


@settings(max_examples=150, deadline=None)
@given(shape=shapes(), seed=st.integers(0, 2**16))
def test_product_and_gradients_equal_the_materialised_form_for_any_shape(shape, seed):
    arguments = random_product(*shape, seed=seed, requires_grad=True)
    result = weighted_product(*arguments)
    expected = materialised_product(*arguments)
    assert result.shape == (shape[0], shape[2])
    torch.testing.assert_close(result, expected, **EXACT)

    direction = torch.randn(result.shape, dtype=torch.float64)
    gradients = torch.autograd.grad(result, arguments, direction)
    expected_gradients = torch.autograd.grad(expected, arguments, direction)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected_gradient, **EXACT)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_product_gradcheck(shape):
    arguments = random_product(2, *shape, requires_grad=True)
    assert torch.autograd.gradcheck(weighted_product, arguments)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("batch", [0, 1])
def test_product_of_no_row_and_of_one_row(shape, batch):
    arguments = random_product(batch, *shape, requires_grad=True)
    result = weighted_product(*arguments)
    assert result.shape == (batch, shape[1])
    result.sum().backward()
    assert all(torch.isfinite(argument.grad).all() for argument in arguments)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_product_takes_inputs_that_are_not_contiguous(shape):
    inputs, weight, matrix = random_product(3, *shape)
    result = weighted_product(
        inputs.T.contiguous().T,
        weight.T.contiguous().T,
        matrix.transpose(1, 2).contiguous().transpose(1, 2),
    )
    torch.testing.assert_close(result, materialised_product(inputs, weight, matrix), **EXACT)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_bias_is_added_and_gets_its_gradient(shape):
    inputs, weight, matrix = random_product(3, *shape, requires_grad=True)
    bias = torch.randn(shape[1], dtype=torch.float64, requires_grad=True)
    outputs = weighted_linear(inputs.T, weight, bias, matrix.permute(1, 2, 0))
    expected = materialised_product(inputs, weight, matrix) + bias
    torch.testing.assert_close(outputs.T, expected, **EXACT)
    direction = torch.randn(shape[1], 3, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(outputs, bias, direction)
    torch.testing.assert_close(gradient, direction.sum(1), **EXACT)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_folded_weights_are_the_weight_times_the_tiled_matrices(shape):
    _, weight, matrix = random_product(3, *shape, requires_grad=True)
    folded = fold(weight, matrix.permute(1, 2, 0))
    expected = weight * tile_batch(matrix, *weight.shape)
    torch.testing.assert_close(folded, expected, **EXACT)
    direction = torch.randn(folded.shape, dtype=torch.float64)
    gradients = torch.autograd.grad(folded, [weight, matrix], direction)
    expected_gradients = torch.autograd.grad(expected, [weight, matrix], direction)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected_gradient, **EXACT)


class LargestAllocation(TorchDispatchMode):
    """Record the largest tensor, in elements of its storage, that any operation returns."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for leaf in tree_flatten(result)[0]:
            if isinstance(leaf, torch.Tensor):
                elements = leaf.untyped_storage().nbytes() // leaf.element_size()
                self.elements = max(self.elements, elements)
        return result


def largest_allocation(product, arguments):
    with LargestAllocation() as recorded:
        product(*arguments).sum().backward()
    return recorded.elements


@pytest.mark.parametrize(
    ("n_rows", "n_columns", "bound"),
    [
        (8, 8, 112 * 8),  # 112 / 8 columns of inputs are fewer than 8 rows of 128 outputs
        (4, 16, 4 * 128),
        (16, 4, 112 * 4),
        (1, 128, 128),
        (112, 1, 112),
        (9, 11, 9 * 132),  # cut tiles: 117 x 132 with the edge
    ],
)
def test_product_never_holds_a_tensor_of_all_weights_per_sample(n_rows, n_columns, bound):
    batch, n_inputs, n_outputs = 64, 112, 128
    arguments = random_product(batch, n_inputs, n_outputs, n_rows, n_columns, requires_grad=True)
    weight_size = 117 * 132
    elements = largest_allocation(weighted_product, arguments)
    assert elements <= max(batch * bound, weight_size)
    assert elements < batch * n_inputs * n_outputs / 5

    # The same recorder does see the tensor where it exists.
    seen = largest_allocation(materialised_product, arguments)
    assert seen >= batch * n_inputs * n_outputs


# --- the weighting matrices ------------------------------------------------------------------


def make_weighting(name, generated, **options):
    """A weighting that generates ``c`` times the given values from a condition ``c`` of width 1."""
    weighting = WEIGHTINGS[name](1, **options).double()
    (linear,) = weighting.generator.layers
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(generated, dtype=torch.float64).view(-1, 1))
        linear.bias.zero_()
    return weighting


LOG2, LOG3 = math.log(2), math.log(3)
# U = (1, 2)^T and V = (log 3, -log 2) give logits (log 3, -log 2; 2 log 3, -2 log 2).
ONE = [[3 / 4, 1 / 3], [9 / 10, 1 / 5]]
# The condition doubles what is generated: one factor (r, c, non) or both (rc).
TWICE = [[9 / 10, 1 / 5], [81 / 82, 1 / 17]]
FOUR_TIMES = [[81 / 82, 1 / 17], [3**8 / (3**8 + 1), 1 / 257]]


@pytest.mark.parametrize(
    ("name", "generated", "shared", "doubled"),
    [
        ("non", [LOG3, -LOG2, 2 * LOG3, -2 * LOG2], None, TWICE),
        ("rc", [1.0, 2.0, LOG3, -LOG2], None, FOUR_TIMES),
        ("r", [1.0, 2.0], ("column_factor", [[LOG3, -LOG2]]), TWICE),
        ("c", [LOG3, -LOG2], ("row_factor", [[1.0], [2.0]]), TWICE),
    ],
)
def test_each_weighting_equals_values_worked_out_by_hand(name, generated, shared, doubled):
    weighting = make_weighting(name, generated, rows=2, columns=2, rank=1)
    if shared:
        with torch.no_grad():
            getattr(weighting, shared[0]).copy_(torch.tensor(shared[1], dtype=torch.float64))
    condition = torch.tensor([[1.0], [2.0], [0.0]], dtype=torch.float64)
    expected = torch.tensor([ONE, doubled, [[0.5, 0.5], [0.5, 0.5]]], dtype=torch.float64)
    torch.testing.assert_close(matrices_of(weighting, condition), expected, **EXACT)

    weighting.gate_scale = 2.0
    torch.testing.assert_close(matrices_of(weighting, condition), 2 * expected, **EXACT)


@torch.no_grad()
def factors_by_hand(weighting, name, condition):
    """``U`` and ``V`` of one sample, from the generator's linear map and the shared factor."""
    (linear,) = weighting.generator.layers
    generated = [
        float(sum(linear.weight[o, c] * condition[c] for c in range(len(condition))))
        + float(linear.bias[o])
        for o in range(linear.out_features)
    ]
    rows, rank, columns = weighting.rows, weighting.rank, weighting.columns
    values = torch.tensor(generated, dtype=torch.float64)
    if name == "rc":
        return values[: rows * rank].view(rows, rank), values[rows * rank :].view(rank, columns)
    if name == "r":
        return values.view(rows, rank), weighting.column_factor
    return weighting.row_factor, values.view(rank, columns)


@pytest.mark.parametrize("gate_scale", [1.0, 2.0])
@pytest.mark.parametrize("name", ["rc", "r", "c"])
def test_each_factorised_weighting_equals_the_loops(name, gate_scale):
    torch.manual_seed(1)
    weighting = WEIGHTINGS[name](4, rows=3, columns=5, rank=2, gate_scale=gate_scale).double()
    condition = torch.randn(6, 4, dtype=torch.float64)
    matrices = matrices_of(weighting, condition)
    assert matrices.shape == (6, 3, 5)
    for row, matrix in zip(condition, matrices, strict=True):
        factors = factors_by_hand(weighting, name, row)
        torch.testing.assert_close(matrix, gated_factors(*factors, gate_scale), **EXACT)


def test_full_weighting_generates_every_entry():
    weighting = WEIGHTINGS["non"](4, rows=3, columns=5, rank=99).double()
    condition = torch.randn(6, 4, dtype=torch.float64)
    (linear,) = weighting.generator.layers
    logits = condition @ linear.weight.T + linear.bias
    expected = torch.sigmoid(logits).reshape(6, 3, 5)
    torch.testing.assert_close(matrices_of(weighting, condition), expected, **EXACT)


@pytest.mark.parametrize("name", sorted(WEIGHTINGS))
def test_rank_bounds_the_rank_of_the_logits(name):
    weighting = WEIGHTINGS[name](4, rows=6, columns=6, rank=2).double()
    logits = torch.logit(matrices_of(weighting, torch.randn(3, 4, dtype=torch.float64)))
    rank = torch.linalg.matrix_rank(logits, rtol=1e-9).tolist()
    assert rank == [6 if name == "non" else 2] * 3


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # Generator (5 conditions and a bias) for what is generated, plus what is shared.
        ("non", 6 * (4 * 7)),
        ("rc", 6 * (4 * 3 + 3 * 7)),
        ("r", 6 * (4 * 3) + 3 * 7),
        ("c", 6 * (3 * 7) + 4 * 3),
    ],
)
def test_what_is_generated_and_what_is_shared(name, parameters):
    weighting = WEIGHTINGS[name](5, rows=4, columns=7, rank=3)
    assert sum(p.numel() for p in weighting.parameters()) == parameters
    assert weighting.multiply_adds() == (0 if name == "non" else 4 * 3 * 7)


@pytest.mark.parametrize("name", sorted(WEIGHTINGS))
def test_generator_hidden_layers(name):
    weighting = WEIGHTINGS[name](
        5, rows=4, columns=7, rank=3, hidden_sizes=[6, 8], activation="tanh"
    )
    linear_sizes = [
        (layer.in_features, layer.out_features)
        for layer in weighting.generator.layers
        if isinstance(layer, nn.Linear)
    ]
    assert linear_sizes == [(5, 6), (6, 8), (8, weighting.generated_size())]
    assert sum(isinstance(layer, nn.Tanh) for layer in weighting.generator.layers) == 2
    assert weighting.matrices(torch.randn(5, 2)).shape == (4, 7, 2)


@pytest.mark.parametrize("name", sorted(WEIGHTINGS))
def test_weighting_gradcheck(name):
    torch.manual_seed(0)
    weighting = WEIGHTINGS[name](3, rows=2, columns=3, rank=2, gate_scale=2.0).double()
    condition = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(weighting.matrices, condition)


# --- the weighted layer ----------------------------------------------------------------------


def gating_layer(rows, columns):
    torch.manual_seed(0)
    layer = WeightedLinear(5, 4, WEIGHTINGS["r"](3, rows, columns, rank=2)).double()
    nn.init.normal_(layer.bias)
    inputs = torch.randn(6, 5, dtype=torch.float64)
    condition = torch.randn(6, 3, dtype=torch.float64)
    outputs, matrix = layer(inputs.T, condition.T)
    assert torch.equal(matrix, layer.weighting.matrices(condition.T))
    return layer, inputs, outputs.T, matrix.permute(2, 0, 1)


def test_one_row_and_all_columns_is_output_gating():
    layer, inputs, outputs, matrix = gating_layer(rows=1, columns=4)
    gate = matrix[:, 0, :]
    torch.testing.assert_close(outputs, (inputs @ layer.weight) * gate + layer.bias, **EXACT)


def test_all_rows_and_one_column_is_input_gating():
    layer, inputs, outputs, matrix = gating_layer(rows=5, columns=1)
    gate = matrix[:, :, 0]
    torch.testing.assert_close(outputs, (inputs * gate) @ layer.weight + layer.bias, **EXACT)


def test_one_row_and_one_column_scales_the_whole_layer():
    layer, inputs, outputs, matrix = gating_layer(rows=1, columns=1)
    scale = matrix[:, 0]
    torch.testing.assert_close(outputs, scale * (inputs @ layer.weight) + layer.bias, **EXACT)


@pytest.mark.parametrize(
    ("name", "rows", "columns", "multiplications"),
    [
        ("r", 2, 4, 10 * 12 + 2 * 12),
        ("r", 5, 3, 10 * 12 + 3 * 10),
        ("non", 10, 12, 10 * 12 + 10 * 12),
    ],
)
def test_layer_counts_the_multiplications_of_its_product(name, rows, columns, multiplications):
    layer = WeightedLinear(10, 12, WEIGHTINGS[name](3, rows, columns, rank=2))
    assert layer.multiply_adds() == multiplications


@pytest.mark.parametrize("gate_scale", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", WEIGHTINGS)
def test_a_new_layer_passes_on_as_much_as_a_plain_one_at_any_gate_scale(name, gate_scale):
    n_inputs, n_outputs = (30, 20) if name == "non" else (300, 200)
    rows, columns = (n_inputs, n_outputs) if name == "non" else (8, 4)
    matrices = WEIGHTINGS[name](3, rows, columns, rank=2, gate_scale=gate_scale)
    for parameter in matrices.parameters():
        nn.init.zeros_(parameter)  # every logit is 0, every gate half of gate_scale
    torch.manual_seed(0)
    layer = WeightedLinear(n_inputs, n_outputs, matrices)
    torch.manual_seed(0)
    plain = nn.init.xavier_normal_(torch.empty(n_inputs, n_outputs))
    inputs = torch.randn(n_inputs, 16)
    outputs, _ = layer(inputs, torch.randn(3, 16))
    torch.testing.assert_close(outputs, plain.T @ inputs)


# --- the backbone ----------------------------------------------------------------------------

BACKBONE = {
    "input_size": 7,
    "scenario_size": 3,
    "hidden_sizes": [6, 5],
    "weighting": "r",
    "rows": 3,
    "columns": 2,
    "rank": 2,
    "tile": "cyclic",
    "gate_scale": 1.0,
    "generator_input": "scenario_and_input",
    "generator_hidden_sizes": [],
    "stop_generator_gradient": False,
    "weight_output_layer": False,
    "activation": "tanh",
    "dropout": 0.0,
}


def make_backbone(**overrides):
    torch.manual_seed(0)
    backbone = WeightedMLP(**{**BACKBONE, **overrides}).double()
    for name, parameter in backbone.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    return backbone


def backbone_batch(rows=4, **options):
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(rows, 7, generator=generator, dtype=torch.float64)
    scenario = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
    return hidden.requires_grad_(**options), scenario.requires_grad_(**options)


def backbone_by_formula(backbone, hidden, scenario, options):
    """Equation (1) with materialised weights, layer after layer."""
    options = SimpleNamespace(**{**BACKBONE, **options})
    activation = ACTIVATIONS[options.activation]()
    matrices = []
    depth = len(options.hidden_sizes) + options.weight_output_layer
    for layer in list(backbone.layers)[:depth]:
        seen = hidden.detach() if options.stop_generator_gradient else hidden
        condition = scenario
        if options.generator_input == "scenario_and_input":
            condition = torch.cat([scenario, seen], dim=1)
        matrix = matrices_of(layer.weighting, condition)
        matrices.append(matrix)
        hidden = materialised_product(hidden, layer.weight, matrix) + layer.bias
        last = options.weight_output_layer and layer is backbone.layers[-1]
        hidden = hidden if last else activation(hidden)
    if not options.weight_output_layer:
        hidden = hidden @ backbone.output.weight.T + backbone.output.bias
    return hidden[:, 0], matrices


VARIANTS = {
    "default": {},
    "non": {"weighting": "non"},
    "rc": {"weighting": "rc"},
    "c": {"weighting": "c"},
    "gate_scale": {"gate_scale": 2.0},
    "scenario only": {"generator_input": "scenario"},
    "stop gradient": {"stop_generator_gradient": True},
    "output layer": {"weight_output_layer": True},
    "output layer, non": {"weight_output_layer": True, "weighting": "non"},
    "generator hidden": {"generator_hidden_sizes": [4]},
    "rank": {"rank": 5},
    "relu": {"activation": "relu"},
    "one hidden layer": {"hidden_sizes": [6]},
}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_backbone_and_its_gradients_equal_the_formula(options):
    backbone = make_backbone(**options)
    hidden, scenario = backbone_batch(requires_grad=True)
    logits, matrices = backbone(hidden, scenario)
    expected, expected_matrices = backbone_by_formula(backbone, hidden, scenario, options)
    assert logits.shape == (4,)
    torch.testing.assert_close(logits, expected, **EXACT)
    torch.testing.assert_close(matrices, expected_matrices, **EXACT)

    leaves = [hidden, scenario, *backbone.parameters()]
    gradients = torch.autograd.grad(logits.square().sum(), leaves)
    expected_gradients = torch.autograd.grad(expected.square().sum(), leaves)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected_gradient, **EXACT)


@pytest.mark.parametrize(
    ("size", "blocks", "order"),
    [
        (6, 2, [0, 3, 1, 4, 2, 5]),
        (7, 3, [0, 3, 5, 1, 4, 6, 2]),  # 0 1 2, 3 4, 5 6
        (4, 1, [0, 1, 2, 3]),
        (4, 4, [0, 1, 2, 3]),
    ],
)
def test_blocks_in_turn_by_hand(size, blocks, order):
    assert blocks_in_turn(size, blocks).tolist() == order


def test_inputs_of_a_block_share_a_row_of_the_first_matrix():
    backbone = make_backbone(tile="block", rows=3, hidden_sizes=[5], generator_input="scenario")
    hidden, scenario = backbone_batch()
    logits, (matrix,) = backbone(hidden, scenario)
    row_of_input = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    weight = torch.empty_like(backbone.layers[0].weight)
    weight[backbone.input_order] = backbone.layers[0].weight
    gates = matrix[:, row_of_input][:, :, torch.arange(5) % matrix.shape[2]]
    outputs = torch.einsum("bi,bij->bj", hidden, weight * gates) + backbone.layers[0].bias
    expected = backbone.output(ACTIVATIONS[BACKBONE["activation"]]()(outputs)).squeeze(-1)
    torch.testing.assert_close(logits, expected, **EXACT)
    # A plain layer of each scenario reads the inputs in their own order.
    (folded,) = backbone.folded(scenario.T)
    torch.testing.assert_close(folded, weight * gates, **EXACT)


def test_all_matrices_of_their_own_have_no_blocks():
    assert make_backbone(tile="block", weighting="non").input_order is None


def test_stop_gradient_cuts_the_path_through_the_generator_and_nothing_else():
    hidden, scenario = backbone_batch(requires_grad=True)
    results = []
    for stop in (False, True):
        backbone = make_backbone(stop_generator_gradient=stop)
        logits, matrices = backbone(hidden, scenario)
        first_matrix = torch.autograd.grad(
            matrices[0].sum(), [hidden, scenario], retain_graph=True, allow_unused=True
        )
        whole = torch.autograd.grad(logits.sum(), [hidden, scenario])
        results.append((logits, first_matrix, whole))
    (logits, through, whole), (cut_logits, cut, cut_whole) = results
    assert torch.equal(logits, cut_logits)
    assert through[0].abs().min() > 0
    assert cut[0] is None  # the matrices no longer depend on h ...
    assert torch.equal(cut[1], through[1])  # ... but do on s as before,
    assert cut_whole[0].abs().min() > 0  # and h keeps the path through the product.
    assert not torch.allclose(cut_whole[0], whole[0])


def test_scenario_as_only_condition_gives_one_matrix_a_scenario():
    table = torch.randn(3, 3, dtype=torch.float64)
    ids = torch.tensor([0, 1, 0, 2, 1, 0])
    hidden, _ = backbone_batch(rows=6)
    _, matrices = make_backbone(generator_input="scenario")(hidden, table[ids])
    for matrix in matrices:
        for i, first in enumerate(ids):
            for j, second in enumerate(ids):
                assert torch.allclose(matrix[i], matrix[j], rtol=0, atol=1e-12) == bool(
                    first == second
                )

    _, matrices = make_backbone()(hidden, table[ids])
    assert not torch.allclose(matrices[0][0], matrices[0][2])  # the same scenario, another row


# Few rows of few scenarios, many rows, one row of each, one scenario.
SCENARIO_IDS = {
    "one field": [[3], [0], [3], [3], [7], [0], [3], [7]] * 4,
    "two fields": [[1, 0], [0, 1], [1, 0], [1, 1], [0, 1], [1, 0]] * 5,
    "skewed": [[1]] * 90 + [[2]] * 9 + [[5]],
    "one scenario": [[2]] * 6,
    "as many as rows": [[number] for number in range(6)],
}


@pytest.mark.parametrize("ids", SCENARIO_IDS.values(), ids=SCENARIO_IDS)
@pytest.mark.parametrize("weighting", sorted(WEIGHTINGS))
@pytest.mark.parametrize("weight_output_layer", [False, True])
def test_weights_folded_once_a_scenario_give_what_each_row_s_own_give(
    ids, weighting, weight_output_layer
):
    backbone = make_backbone(
        generator_input="scenario", weighting=weighting, weight_output_layer=weight_output_layer
    )
    ids = torch.tensor(ids)
    torch.manual_seed(5)
    hidden = torch.randn(len(ids), 7, dtype=torch.float64, requires_grad=True)
    table = torch.randn(8, 8, 3, dtype=torch.float64, requires_grad=True)
    scenario = table[ids[:, 0], ids[:, -1]]
    leaves = [hidden, table, *backbone.parameters()]
    results = []
    for known_ids in (None, ids):
        logits, matrices = backbone(hidden, scenario, known_ids)
        # The matrices have a gradient of their own, as from the mutual information.
        loss = logits.square().sum() + sum(matrix.square().sum() for matrix in matrices)
        results.append((logits, matrices, torch.autograd.grad(loss, leaves, retain_graph=True)))
    torch.testing.assert_close(results[1], results[0], **EXACT)


def test_folding_is_taken_where_scenarios_are_few(monkeypatch):
    backbone = make_backbone(generator_input="scenario")
    folded = []
    own = WeightedLinear.folded
    monkeypatch.setattr(
        WeightedLinear, "folded", lambda self, c: folded.append(c.shape) or own(self, c)
    )
    for name, n_layers in {"skewed": 2, "one scenario": 2, "as many as rows": 0}.items():
        folded.clear()
        ids = torch.tensor(SCENARIO_IDS[name])
        hidden = torch.zeros(len(ids), 7, dtype=torch.float64)
        backbone(hidden, hidden[:, :3], ids)
        assert len(folded) == n_layers, name


def test_scenario_as_only_condition_folds_into_plain_layers_for_serving():
    backbone = make_backbone(generator_input="scenario")
    hidden, scenario = backbone_batch()
    scenario = scenario[:1].expand(4, -1)
    logits, matrices = backbone(hidden, scenario)
    layers = []
    for layer, matrix in zip(backbone.layers, matrices, strict=True):
        plain = nn.Linear(*layer.weight.shape).double()
        plain.weight.data = (layer.weight * tile_batch(matrix[:1], *layer.weight.shape)[0]).T
        plain.bias.data = layer.bias
        layers += [plain, nn.Tanh()]
    folded = nn.Sequential(*layers, backbone.output)
    torch.testing.assert_close(logits, folded(hidden).squeeze(1), **EXACT)


@pytest.mark.parametrize(
    ("options", "shapes"),
    [
        ({}, [(3, 2), (3, 2)]),
        ({"weight_output_layer": True}, [(3, 2), (3, 2), (3, 1)]),
        ({"weighting": "non"}, [(7, 6), (6, 5)]),
        ({"weighting": "non", "weight_output_layer": True}, [(7, 6), (6, 5), (5, 1)]),
    ],
)
def test_matrices_come_back_before_tiling_a_layer_each(options, shapes):
    backbone = make_backbone(**options)
    _, matrices = backbone(*backbone_batch())
    assert [tuple(matrix.shape[1:]) for matrix in matrices] == shapes
    assert backbone.matrix_size() == sum(rows * columns for rows, columns in shapes)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("rows", [0, 1])
def test_backbone_of_no_row_and_of_one_row(options, rows):
    backbone = make_backbone(**options)
    logits, _ = backbone(*backbone_batch(rows))
    assert logits.shape == (rows,)
    logits.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in backbone.parameters())


def test_backbone_never_holds_a_tensor_of_all_weights_per_sample():
    sizes = {"input_size": 112, "hidden_sizes": [128, 64, 32], "rows": 8, "columns": 8, "rank": 4}
    backbone = make_backbone(**sizes)
    batch = [torch.randn(64, 112, dtype=torch.float64), torch.randn(64, 3, dtype=torch.float64)]
    elements = largest_allocation(lambda *inputs: backbone(*inputs)[0], batch)
    assert elements <= 64 * 112 * 8


def test_dropout_of_the_backbone_acts_in_training_only():
    backbone = make_backbone(dropout=0.5)
    batch = backbone_batch()
    torch.manual_seed(0)
    assert not torch.equal(backbone(*batch)[0], backbone(*batch)[0])
    backbone.eval()
    expected, _ = backbone_by_formula(backbone, *batch, {})
    torch.testing.assert_close(backbone(*batch)[0], expected, **EXACT)


# --- sizes that do not fit -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        # The narrowest weighted layer has 6 inputs (the second) and 5 outputs (the second).
        ({"rows": 7}, ["n: 7", "at most 6"]),
        ({"columns": 6}, ["m: 6", "at most 5"]),
        ({"rows": 6, "weight_output_layer": True}, ["n: 6", "at most 5"]),
        ({"input_size": 2}, ["n: 3", "at most 2"]),
    ],
)
def test_matrices_larger_than_a_layer_are_refused(overrides, words):
    with pytest.raises(UsageError) as error:
        make_backbone(**overrides)
    for word in words:
        assert word in str(error.value)
    assert "[" in str(error.value)  # the layer widths are told
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "overrides",
    [
        {"rows": 6, "columns": 5},
        {"rows": 5, "columns": 5, "weight_output_layer": True},
        {"rows": 100, "columns": 100, "weighting": "non"},
    ],
)
def test_the_largest_matrices_that_fit_are_taken(overrides):
    logits, _ = make_backbone(**overrides)(*backbone_batch())
    assert torch.isfinite(logits).all()


def test_check_tile_sizes_needs_no_model():
    check_tile_sizes([40, 128, 64, 32, 1], "r", 32, 32, weight_output_layer=True)
    with pytest.raises(UsageError, match=r"^n: 41 rows .* 40 inputs, expected at most 40 "):
        check_tile_sizes([40, 128, 64, 32, 1], "r", 41, 8, weight_output_layer=False)
    with pytest.raises(UsageError, match=r"^m: 33 columns .* 32 outputs, expected at most 32 "):
        check_tile_sizes([40, 128, 64, 32, 1], "rc", 8, 33, weight_output_layer=False)
