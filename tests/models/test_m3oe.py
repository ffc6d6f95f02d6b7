"""M3oE: the formulas, what the balances do, and what flows between scenarios."""

from itertools import pairwise

import pytest
import torch

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.models.flops import count_flops
from recbole_midpg.models.base import count_parameters
from recbole_midpg.models.m3oe import M3oE
from tests.reference.m3oe import m3oe_logits
from tests.support.learning import auc_after_training, dnn_auc
from tests.support.one_scenario import assert_step_leaves_the_others
from tests.support.toy import (
    SCENARIO,
    ToyDataset,
    scrambled,
    toy_batch,
    toy_config,
    toy_dataset,
    toy_model,
)

DEEP = {"mlp_hidden_size": [8, 6, 5, 4]}
VARIANTS = [
    {},
    {"shared_experts": 1},
    {"domain_fusion": False},
    {"gate_stop_gradient": False, "balance_start": -0.5},
    DEEP,
    {**DEEP, "domain_fusion": False, "gate_stop_gradient": False},
]


def gradients(output, leaves):
    return [
        torch.zeros_like(leaf) if gradient is None else gradient
        for leaf, gradient in zip(
            leaves, torch.autograd.grad(output, leaves, allow_unused=True), strict=True
        )
    ]


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("options", VARIANTS)
def test_reference(options, fixed):
    model = scrambled(toy_model(M3oE, **options)).double()
    model.use_fixed_shapes(fixed)
    batch = toy_batch(12, scenarios=[1, 1, 2, 0, 1, 3])
    inputs, _ = model.embed(batch)
    expected = m3oe_logits(model, inputs, batch[SCENARIO])
    torch.testing.assert_close(model(batch), expected, rtol=0, atol=1e-10)
    leaves = list(model.parameters())
    for found, wanted in zip(
        gradients(model(batch).square().sum(), leaves),
        gradients(expected.square().sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)


# None: a checkpoint of a version without the key.
@pytest.mark.parametrize(("given", "scale"), [(None, 1.0), (1, 1.0), (0.1, 0.1)])
def test_norms_start_at_the_initial_scale(given, scale):
    config = toy_config(M3oE, **DEEP)
    config["norm_initial_scale"] = given
    model = M3oE(config, toy_dataset())
    norms = [model.from_star[1].weight, model.from_input[1].weight]
    norms += [*model.shared_experts.scales, *model.domain_experts.scales]
    assert len(norms) == 6
    assert all(torch.equal(norm, torch.full_like(norm, scale)) for norm in norms)


@pytest.mark.parametrize("n_scenarios", [1, 2, 3])
def test_few_scenarios(n_scenarios):
    dataset = toy_dataset(n_scenarios)
    model = scrambled(toy_model(M3oE, dataset)).double()
    batch = toy_batch(6, dataset=dataset, scenarios=list(range(n_scenarios)))
    inputs, _ = model.embed(batch)
    expected = m3oe_logits(model, inputs, batch[SCENARIO])
    torch.testing.assert_close(model(batch), expected, rtol=0, atol=1e-10)
    model.calculate_loss(batch).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("options", [{}, DEEP])
def test_with_beta_1_only_the_own_expert_is_left(options):
    fused = scrambled(toy_model(M3oE, **options)).double()
    own = toy_model(M3oE, domain_fusion=False, **options).double()
    with torch.no_grad():
        fused.fusion.balance.fill_(40.0)
    values = fused.state_dict()
    del values["fusion.balance"]
    own.load_state_dict(values)
    batch = toy_batch(12, scenarios=[1, 1, 2, 0, 1, 3])
    torch.testing.assert_close(own(batch), fused(batch), rtol=0, atol=1e-12)


@pytest.mark.parametrize("fusion", [True, False])
def test_with_alpha_0_only_the_shared_experts_are_left(fusion):
    model = scrambled(toy_model(M3oE, domain_fusion=fusion)).double()
    with torch.no_grad():
        model.domain_balance.fill_(-40.0)
    batch = toy_batch(12)
    before = model(batch)
    scrambled(model.domain_experts)
    torch.testing.assert_close(model(batch), before, rtol=0, atol=1e-12)


def test_the_gate_of_one_shared_expert_is_silent():
    model = scrambled(toy_model(M3oE, shared_experts=1)).double()
    batch = toy_batch(12)
    before = model(batch)
    model.calculate_loss(batch).backward()
    assert not any(p.grad.any() for p in model.gate.parameters())
    scrambled(model.gate)
    torch.testing.assert_close(model(batch), before, rtol=0, atol=1e-14)


@pytest.mark.parametrize("fusion", [True, False])
def test_equal_scenarios_give_equal_scores(fusion):
    """Where nothing that a scenario has for itself differs, its number has no effect."""
    model = scrambled(toy_model(M3oE, domain_fusion=fusion)).double()
    star = model.star
    own = [star.specific_weight, star.specific_bias, *model.gate.parameters()]
    own += [*model.domain_experts.parameters(), *model.towers.parameters()]
    with torch.no_grad():
        for values in own:
            values.copy_(values[2].clone().expand_as(values))
        # The scenario is an input too: its embeddings are made alike.
        model.token_embedding_table.embedding.weight[-4:] = 0.7
    batch = toy_batch(1)
    scores = []
    for scenario in range(4):
        batch[SCENARIO] = torch.tensor([scenario])
        scores.append(model.predict(batch).item())
    assert scores == pytest.approx([scores[0]] * 4, abs=1e-12)


@pytest.mark.parametrize("stop", [True, False])
def test_the_gate_s_way_back_to_what_it_reads(stop):
    """Only the gate depends on ``h`` where experts are constant."""
    model = scrambled(toy_model(M3oE, gate_stop_gradient=stop))
    with torch.no_grad():
        for experts in (model.shared_experts, model.domain_experts):
            for scale in experts.scales:
                scale.zero_()
    model.calculate_loss(toy_batch(30)).backward()
    below = [model.star, model.from_star, model.from_input, model.token_embedding_table]
    learns = [bool(p.grad.any()) for module in below for p in module.parameters()]
    assert not any(learns) if stop else all(learns)
    assert model.gate.weight.grad.any()


def own_parameters(model):
    star = model.star
    kept = [star.specific_weight, star.specific_bias, *model.gate.parameters()]
    return [*kept, *model.towers.parameters()]


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("fusion", [True, False])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_a_step_on_one_scenario_leaves_the_others_own_parameters(fusion, optimizer, fixed):
    model = scrambled(toy_model(M3oE, domain_fusion=fusion))
    model.use_fixed_shapes(fixed)
    own = own_parameters(model)
    if not fusion:
        own += model.domain_experts.parameters()
    assert_step_leaves_the_others(model, own, optimizer)
    assert all(value.grad[2].any() for value in own)


def test_experts_of_absent_scenarios_learn_as_others_but_for_token_0():
    model = scrambled(toy_model(M3oE))
    model.calculate_loss(toy_batch(30, scenarios=[2])).backward()
    for values in model.domain_experts.parameters():
        assert [bool(gradient.any()) for gradient in values.grad] == [False, True, True, True]


def test_token_0_s_expert_learns_from_its_own_rows():
    model = scrambled(toy_model(M3oE))
    model.calculate_loss(toy_batch(30, scenarios=[0])).backward()
    assert all(values.grad[0].any() for values in model.domain_experts.parameters())


def formula(n, d_0, hidden, n_shared, fusion):
    star, common, *experts = hidden
    total = (n + 1) * (d_0 + 1) * star + (star + d_0 + 6) * common
    total += n * n_shared * (common + 1)
    sizes = [common, *experts]
    for fan_in, fan_out in pairwise(sizes):
        total += (n_shared + n) * (fan_in + 3) * fan_out
    last = sizes[-1]
    return total + n * (last**2 + 2 * last + 1) + (2 if fusion else 1)


@pytest.mark.parametrize("hidden", [[8, 6, 4], [8, 6, 5, 4]])
@pytest.mark.parametrize("fusion", [True, False])
@pytest.mark.parametrize("n_shared", [1, 3])
def test_parameter_count(hidden, fusion, n_shared):
    model = toy_model(
        M3oE,
        toy_dataset(6),
        mlp_hidden_size=hidden,
        domain_fusion=fusion,
        shared_experts=n_shared,
    )
    expected = formula(6, model.input_size, hidden, n_shared, fusion)
    assert count_parameters(model)[1] == expected


def default_model(n_scenarios, **options):
    """The model at the default widths, with eight fields of ten values: ``d_0 = 80``."""
    names = ["user_id", "item_id", "shop_id", "brand_id", "city_id", "hour_id", "day_id"]
    dataset = ToyDataset({**dict.fromkeys(names, 5), SCENARIO: n_scenarios})
    sizes = {"embedding_size": 10, "mlp_hidden_size": [128, 64, 32]}
    return toy_model(M3oE, dataset, **sizes, **options), dataset


@pytest.mark.parametrize(("n_scenarios", "expected"), [(11, 185_113), (101, 1_432_603)])
def test_parameters_at_the_default_widths(n_scenarios, expected):
    assert count_parameters(default_model(n_scenarios)[0])[1] == expected


@pytest.mark.parametrize(("n_scenarios", "multiple"), [(11, 2.73), (101, 11.86)])
def test_multiplications_at_the_default_widths(n_scenarios, multiple):
    """As multiples of DNN's ``128 d_0 + 10,272``."""
    common = 128 * 80 + 128 * 64 + 80 * 64 + 64 * 4 + 4 * (64 * 32 + 32) + 32 * 32 + 32
    model, dataset = default_model(n_scenarios)
    found = flops(model, dataset)
    assert found == common + n_scenarios * (64 * 32 + 32)
    assert found / (128 * 80 + 10_272) == pytest.approx(multiple, abs=0.005)
    own_only, dataset = default_model(n_scenarios, domain_fusion=False)
    assert flops(own_only, dataset) == common + 64 * 32


def flops(model, dataset):
    """The count of the report, without the values read from embeddings."""
    row = toy_batch(1, dataset=dataset)
    counted = count_flops(model, [row], torch.device("cpu"), lambda _, one: one)
    return counted - model.input_size


@pytest.mark.parametrize("hidden", [[8], [8, 6]])
def test_too_few_widths_are_refused(hidden):
    with pytest.raises(UsageError, match=rf"mlp_hidden_size: .* {len(hidden)} widths, .* 3"):
        toy_model(M3oE, mlp_hidden_size=hidden)


@pytest.mark.slow
def test_it_learns_scenarios_that_oppose_each_other():
    auc = auc_after_training(M3oE, mlp_hidden_size=[4, 4, 3])
    assert auc > 0.90 > dnn_auc()
