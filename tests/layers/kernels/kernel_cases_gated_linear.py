"""The kernels' values and gradients, against float64 (see tests/support/triton_process.py)."""

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from recbole_midpg.layers.kernels import check_triton, use_triton_kernels
from recbole_midpg.layers.kernels import gated_linear as kernels
from recbole_midpg.layers.tiled_product import gated_linear as plain_gated_linear
from recbole_midpg.layers.weighting import WEIGHTINGS, WeightedMLP
from recbole_midpg.models.midpg import MIDPG
from tests.reference.weighting import materialised_product
from tests.support.toy import toy_batch, toy_model
from tests.support.triton_process import DEVICE

# Of the largest value of a tensor; float32 rounds to 6e-8.
CLOSE = 2e-6


def reference(inputs, weight, bias, values, shared, gate_scale):
    """The layer with every sample's own weight in memory, samples last."""
    logits = values if shared is None else torch.einsum("akb,kc->acb", values, shared)
    gates = gate_scale / (1 + torch.exp(-logits))
    outputs = materialised_product(inputs.T, weight, gates.permute(2, 0, 1)) + bias
    return outputs.T, gates


def random_layer(n_inputs, n_outputs, n_rows, n_columns, rank, batch, seed=0):
    """Arguments of a layer on the device, in float32."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [
        (n_inputs, batch),
        (n_inputs, n_outputs),
        (n_outputs,),
        (n_rows, rank or n_columns, batch),
        (rank, n_columns),
    ]
    return [
        torch.randn(shape, generator=generator).to(DEVICE) if 0 not in shape[:1] else None
        for shape in shapes
    ]


def values_and_gradients(function, arguments, gate_scale, directions):
    """Outputs and gates, then the gradients of all arguments along a direction of each used one."""
    arguments = [a if a is None else a.detach().requires_grad_() for a in arguments]
    results = function(*arguments, gate_scale)
    used = [(r, d.to(r)) for r, d in zip(results, directions, strict=True) if d is not None]
    given = [a for a in arguments if a is not None]
    gradients = torch.autograd.grad(
        [r for r, _ in used], given, [d for _, d in used], materialize_grads=True
    )
    return [*results, *gradients]


def assert_close(results, expected):
    for result, reference_value in zip(results, expected, strict=True):
        assert result.shape == reference_value.shape
        largest = reference_value.detach().abs().max() if reference_value.numel() else 0
        torch.testing.assert_close(
            result.double(), reference_value, rtol=0, atol=CLOSE * float(largest) + 1e-30
        )


def check(sizes, gate_scale=1.0, gates_used=True, outputs_used=True, seed=0):
    arguments = random_layer(*sizes, seed=seed)
    in_double = [a if a is None else a.double() for a in arguments]
    generator = torch.Generator().manual_seed(seed + 1)
    outputs, gates = kernels.gated_linear(*arguments, gate_scale)
    directions = [
        torch.randn(outputs.shape, generator=generator) if outputs_used else None,
        torch.randn(gates.shape, generator=generator) if gates_used else None,
    ]
    results = values_and_gradients(kernels.gated_linear, arguments, gate_scale, directions)
    assert_close(results, values_and_gradients(reference, in_double, gate_scale, directions))
    return arguments, directions, results


@st.composite
def layer_sizes(draw):
    n_inputs, n_outputs = draw(st.integers(1, 17)), draw(st.integers(1, 17))
    n_rows, n_columns = draw(st.integers(1, min(n_inputs, 4))), draw(st.integers(1, n_outputs))
    rank, batch = draw(st.integers(0, 3)), draw(st.sampled_from([1, 5, 33]))
    return n_inputs, n_outputs, n_rows, n_columns, rank, batch


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],  # the interpreter is too slow to shrink by
)
@given(
    sizes=layer_sizes(),
    gate_scale=st.sampled_from([1.0, 2.0, 0.3]),
    used=st.sampled_from([(True, True), (True, False), (False, True)]),
    seed=st.integers(0, 2**16),
)
def test_values_and_gradients_equal_the_materialised_form(sizes, gate_scale, used, seed):
    gates_used, outputs_used = used
    check(sizes, gate_scale, gates_used, outputs_used, seed)


@pytest.mark.parametrize(
    "sizes",
    [
        # (N, M, n, m, k, B)
        pytest.param((40, 9, 1, 3, 2, 5), id="several blocks of inputs of a class"),
        pytest.param((5, 70, 1, 4, 2, 5), id="several blocks of outputs"),
        pytest.param((5, 70, 1, 35, 2, 5), id="wide gates"),
        pytest.param((6, 41, 1, 41, 2, 5), id="output gating"),
        pytest.param((5, 6, 5, 1, 2, 5), id="input gating"),
        pytest.param((4, 5, 4, 5, 0, 5), id="a gate for each weight"),
        pytest.param((6, 5, 2, 3, 2, 70), id="several shares of the batch"),
    ],
)
def test_each_way_to_divide_a_layer(sizes):
    check(sizes)


def test_same_inputs_give_the_same_bits():
    arguments, directions, results = check((7, 9, 1, 4, 2, 70))
    again = values_and_gradients(kernels.gated_linear, arguments, 1.0, directions)
    assert all(torch.equal(a, b) for a, b in zip(results, again, strict=True))


def test_infinite_and_missing_values_stay_in_their_row():
    inputs, *others = random_layer(7, 9, 2, 4, 2, 5)
    inputs[3, 1], inputs[2, 4] = float("nan"), float("inf")
    outputs, _ = kernels.gated_linear(inputs, *others, 1.0)
    assert outputs.isfinite().all(0).tolist() == [True, False, True, True, False]


def test_saturated_gates_are_0_and_1_with_no_gradient():
    inputs, weight, bias, _, _ = random_layer(4, 4, 2, 2, 0, 3)
    logits = torch.tensor([[[-1e4], [1e4]]], device=DEVICE).expand(2, 2, 3).requires_grad_()
    outputs, gates = kernels.gated_linear(inputs, weight, bias, logits, None, 2.0)
    outputs.sum().backward()
    assert gates[:, 0].unique().tolist() == [0.0]
    assert gates[:, 1].unique().tolist() == [2.0]
    assert logits.grad.abs().max() == 0


def test_an_empty_batch_gives_empty_outputs_and_zero_gradients():
    arguments = [a.requires_grad_() for a in random_layer(7, 9, 2, 4, 2, 0)]
    outputs, gates = kernels.gated_linear(*arguments, 1.0)
    assert (outputs.shape, gates.shape) == ((9, 0), (2, 4, 0))
    outputs.sum().backward()
    assert arguments[1].grad.abs().max() == 0


def test_strides_and_smaller_types_make_no_difference():
    inputs, weight, bias, values, shared = random_layer(7, 9, 2, 4, 2, 5)
    inputs, values = inputs.bfloat16(), values.bfloat16()
    strided = [
        inputs.T.contiguous().T,
        weight.T.contiguous().T,
        bias,
        values.permute(2, 0, 1).contiguous().permute(1, 2, 0),
        shared.T.contiguous().T,
    ]
    results = kernels.gated_linear(*strided, 1.0)
    expected = kernels.gated_linear(inputs.float(), weight, bias, values.float(), shared, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))
    assert results[0].dtype == torch.float32


def test_double_goes_the_plain_way():
    arguments = [a.double() for a in random_layer(7, 9, 2, 4, 2, 5)]
    results = kernels.gated_linear(*arguments, 1.0)
    expected = plain_gated_linear(*arguments, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))


# --- the backbone ---------------------------------------------------------------------------------

BACKBONE = {
    "weighting": "r",
    "rows": 2,
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
OPTIONS = [
    *({"weighting": name} for name in WEIGHTINGS),
    {"gate_scale": 2.0, "generator_hidden_sizes": [4], "weight_output_layer": True},
    {"generator_input": "scenario", "stop_generator_gradient": True, "weight_output_layer": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_backbone_computes_the_same_with_every_option(options):
    torch.manual_seed(0)
    backbone = WeightedMLP(5, 2, [4, 3], **{**BACKBONE, **options}).to(DEVICE)
    hidden = torch.randn(3, 5, device=DEVICE, requires_grad=True)
    scenario = torch.randn(3, 2, device=DEVICE, requires_grad=True)

    def results():
        logits, matrices = backbone(hidden, scenario)
        loss = logits.square().sum() + sum(matrix.cos().sum() for matrix in matrices)
        leaves = [hidden, scenario, *backbone.parameters()]
        return [logits, *matrices, *torch.autograd.grad(loss, leaves, materialize_grads=True)]

    expected = results()
    line = use_triton_kernels(backbone)
    n_layers = 3 if options.get("weight_output_layer") else 2
    names = ", ".join(f"layers.{place}" for place in range(n_layers))
    assert line == f"Triton's kernels compute {names}."
    assert all(layer.gated_linear is kernels.gated_linear for layer in backbone.layers)
    for result, value in zip(results(), expected, strict=True):
        torch.testing.assert_close(result, value, rtol=1e-5, atol=1e-6)


def test_backbone_takes_the_smaller_types_of_autocast():
    torch.manual_seed(0)
    backbone = WeightedMLP(5, 2, [4, 3], **BACKBONE).to(DEVICE)
    hidden, scenario = torch.randn(3, 5, device=DEVICE), torch.randn(3, 2, device=DEVICE)

    def logits_and_gradients():
        with torch.autocast(DEVICE.type, torch.bfloat16):
            logits, matrices = backbone(hidden, scenario)
        loss = logits.float().square().sum() + matrices[0].float().square().sum()
        return [logits.float(), *torch.autograd.grad(loss, list(backbone.parameters()))]

    expected = logits_and_gradients()
    use_triton_kernels(backbone)
    for result, value in zip(logits_and_gradients(), expected, strict=True):
        torch.testing.assert_close(result, value, rtol=0.05, atol=0.02)


def test_midpg_learns_the_same():
    batch = toy_batch(6).to(DEVICE)
    sizes = {"embedding_size": 3, "mlp_hidden_size": [4, 3], "n": 2, "m": 2, "k": 2}

    def trained(with_kernels):
        torch.manual_seed(0)
        model = toy_model(MIDPG, **sizes).to(DEVICE)
        line = use_triton_kernels(model) if with_kernels else None
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            sum(model.calculate_loss(batch)).backward()
            optimizer.step()
        return line, model.state_dict()

    line, own = trained(True)
    assert line == "Triton's kernels compute backbone.layers.0, backbone.layers.1."
    _, expected = trained(False)
    assert own.keys() == expected.keys()
    for name, value in own.items():
        # Adam divides small gradients by their size, and their rounding with them.
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-4, msg=name)


def test_layers_with_very_wide_gates_are_left_as_they_are():
    widths = {"hidden_sizes": [300, 5], "weighting": "non"}
    backbone = WeightedMLP(2, 1, **{**BACKBONE, **widths})
    assert use_triton_kernels(backbone) == (
        "Triton's kernels compute layers.1; not layers.0, whose gates have more than 128 columns."
    )
    assert backbone.layers[0].gated_linear is plain_gated_linear


def test_kernels_may_be_chosen_where_they_can_run():
    check_triton(DEVICE)
