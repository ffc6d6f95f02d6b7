"""What holds for all baselines: edge cases, evaluation, checkpoints, repetition."""

import copy

import pytest
import torch

from recbole_midpg.models.adaptdhm import AdaptDHM
from recbole_midpg.models.adasparse import AdaSparse
from recbole_midpg.models.apg import APG
from recbole_midpg.models.epnet import EPNet
from recbole_midpg.models.hamur import HAMUR
from recbole_midpg.models.hmoe import HMoE
from recbole_midpg.models.m2m import M2M
from recbole_midpg.models.m3oe import M3oE
from recbole_midpg.models.mmoe import MMoE
from recbole_midpg.models.pepnet import PEPNet
from recbole_midpg.models.ple import PLE
from recbole_midpg.models.ppnet import PPNet
from recbole_midpg.models.sarnet import SARNet
from recbole_midpg.models.sharedbottom import SharedBottom
from recbole_midpg.models.star import STAR
from tests.support.toy import SCENARIO, scrambled, toy_batch, toy_dataset, toy_model, train_step

MODELS = {
    "HMoE": (HMoE, {}),
    "HMoE-logit": (HMoE, {"label_mixture": "logit", "expert_layers": 3}),
    "HMoE-hidden": (HMoE, {"label_mixture": "hidden", "weight_hidden_size": [5]}),
    "MMoE": (MMoE, {}),
    "MMoE-deep-gates": (MMoE, {"experts": 2, "expert_layers": 3, "expert_gate_hidden_size": [5]}),
    "M2M": (M2M, {}),
    "M2M-group": (M2M, {"meta_condition": "group"}),
    "M2M-deep": (M2M, {"experts": 2, "meta_unit_layers": 2, "meta_tower_layers": 2}),
    "PLE": (PLE, {}),
    "PLE-one-level": (PLE, {"expert_levels": 1, "specific_experts": 2}),
    "PLE-three-levels": (PLE, {"expert_levels": 3, "shared_experts": 2}),
    "SharedBottom": (SharedBottom, {}),
    "SharedBottom-networks": (SharedBottom, {"bottom_layers": 0}),
    "M3oE": (M3oE, {}),
    "M3oE-own": (M3oE, {"domain_fusion": False, "gate_stop_gradient": False}),
    "M3oE-deep": (M3oE, {"mlp_hidden_size": [8, 6, 5, 4], "shared_experts": 2}),
    "STAR": (STAR, {"pn_min_rows": 3}),
    "STAR-bare": (STAR, {"partitioned_norm": False, "auxiliary_network": False}),
    "PEPNet": (PEPNet, {}),
    "PEPNet-output-gates": (PEPNet, {"ppnet_gate_input": False, "gate_hidden_size": 5}),
    "AdaptDHM": (AdaptDHM, {"activation": "leaky_relu"}),  # relu switches these few neurons off
    "AdaptDHM-cosine": (
        AdaptDHM,
        {"routing_similarity": "cosine", "clusters": 2, "center_momentum": 0.0},
    ),
    # At these widths all units of the last layer can die in four steps.
    "EPNet": (EPNet, {"activation": "leaky_relu"}),
    "EPNet-narrow-gate": (EPNet, {"gate_hidden_size": 5, "gate_gamma": 1.0}),
    "PPNet": (PPNet, {}),
    "PPNet-output-gates": (PPNet, {"ppnet_gate_input": False, "prior_fields": ["scenario"]}),
    "SARNet": (SARNet, {}),
    "SARNet-specific": (SARNet, {"shared_experts": 0, "specific_experts": 2, "expert_layers": 3}),
    "SARNet-norm": (SARNet, {"specific_experts": 0, "expert_layers": 1, "expert_batch_norm": True}),
    "AdaSparse": (AdaSparse, {"pruning_epochs": 0.4}),
    "AdaSparse-binarization": (AdaSparse, {"pruning_form": "binarization", "prune_input": True}),
    "AdaSparse-scaling": (AdaSparse, {"pruning_form": "scaling"}),
    "APG": (APG, {"apg_rank": 3}),
    "APG-mix": (APG, {"apg_rank": 2, "apg_condition": "mix", "apg_generate_bias": True}),
    "APG-self": (APG, {"apg_rank": 2, "apg_condition": "self", "apg_inner_size": 0}),
    "HAMUR": (HAMUR, {"hyper_rank": 3, "pn_min_rows": 3}),
    "HAMUR-shared": (HAMUR, {"specific_backbone": False, "adapter_layers": 3, "pn_min_rows": 3}),
    "HAMUR-bare": (HAMUR, {"adapter_layers": 0}),
}


@pytest.fixture(params=list(MODELS))
def build(request):
    """Build the model with some config keys more."""
    model_class, settings = MODELS[request.param]

    def build_model(dataset=None, **overrides):
        return toy_model(model_class, dataset, **{**settings, **overrides})

    return build_model


def trained(model, steps=4, dataset=None, **batch):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for step in range(steps):
        train_step(model, toy_batch(24, seed=step, dataset=dataset, **batch), optimizer)
    return model


def total_loss(model, batch):
    losses = model.calculate_loss(batch)
    return sum(losses) if isinstance(losses, tuple) else losses


def assert_finite(model, batch):
    """Loss, gradients and predictions are finite, in training and in evaluation."""
    for mode in (True, False):
        model.train(mode)
        model.zero_grad()
        total_loss(model, batch).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is None or parameter.grad.isfinite().all(), name
        scores = model.predict(batch)
        assert scores.shape == (len(batch),)
        assert scores.isfinite().all()
    assert all(buffer.isfinite().all() for buffer in model.buffers())


@pytest.mark.parametrize("rows", [0, 1, 2, 30])
def test_batches_of_any_size(build, rows):
    assert_finite(build(), toy_batch(rows))


@pytest.mark.parametrize(
    "scenarios", [[2], [1, 3], [0], [0, 1, 2, 3], [1] * 20 + [2]], ids=lambda ids: str(set(ids))
)
def test_scenarios_missing_alone_padding_or_with_a_single_row(build, scenarios):
    batch = toy_batch(21, scenarios=scenarios)
    assert_finite(trained(build(), scenarios=scenarios), batch)


def test_a_scenario_absent_from_training_gets_a_score(build):
    model = trained(build(), scenarios=[1, 2]).eval()
    assert model.predict(toy_batch(6, scenarios=[3])).isfinite().all()


def test_a_dataset_of_one_scenario(build):
    dataset = toy_dataset(2)
    model = trained(build(dataset), dataset=dataset)
    assert_finite(model, toy_batch(9, dataset=dataset))


def test_five_hundred_scenarios(build):
    dataset = toy_dataset(501)
    model = trained(build(dataset), steps=1, dataset=dataset)
    assert_finite(model, toy_batch(64, dataset=dataset))


def test_fields_of_all_types(build):
    dataset = toy_dataset(mixed_types=True)
    model = trained(build(dataset), dataset=dataset)
    assert_finite(model, toy_batch(9, dataset=dataset))


def test_a_row_s_score_does_not_depend_on_the_rows_beside_it(build):
    model = trained(build()).double().eval()
    batch = toy_batch(40, scenarios=[1, 1, 1, 2, 0, 3, 1, 1])
    with torch.no_grad():
        together = model.predict(batch)
        alone = torch.cat([model.predict(batch[row : row + 1]) for row in range(40)])
        reversed_rows = model.predict(batch[list(range(39, -1, -1))]).flip(0)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-14)
    torch.testing.assert_close(together, reversed_rows, rtol=0, atol=1e-14)


def test_evaluation_leaves_no_trace(build):
    model = trained(build()).eval()
    before = copy.deepcopy(model.state_dict())
    model.predict(toy_batch(30))
    model.calculate_loss(toy_batch(30))
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_checkpoint_restores_scores_and_training_bit_for_bit(build, tmp_path):
    model = trained(build())
    torch.save(model.state_dict(), tmp_path / "model.pth")
    restored = build(seed=1)
    restored.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True))
    batch = toy_batch(30)
    for mode in (False, True):
        assert torch.equal(model.train(mode).predict(batch), restored.train(mode).predict(batch))
    trained(model), trained(restored)
    assert all(
        torch.equal(value, restored.state_dict()[name])
        for name, value in model.state_dict().items()
    )


def test_the_same_seed_gives_the_same_model(build):
    one, other = trained(build(seed=3)), trained(build(seed=3))
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    different = build(seed=4).state_dict()
    first = build(seed=3).state_dict()
    assert any(not torch.equal(value, different[name]) for name, value in first.items())


@pytest.mark.slow
def test_training_lowers_the_loss(build):
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    batch = toy_batch(30)
    losses = [train_step(model, batch, optimizer) for _ in range(100)]
    assert losses[-1] < losses[0] - 0.03


def test_dropout_changes_training_only(build):
    model = build(dropout_prob=0.5)
    batch = toy_batch(30)
    model.train()
    assert not torch.equal(model(batch), model(batch))
    model.eval()
    assert torch.equal(model(batch), model(batch))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_runs_in_lower_precision(build, dtype):
    model = build()
    batch = toy_batch(20)
    with torch.autocast("cpu", dtype=dtype):
        loss = total_loss(model, batch)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_a_copy_is_independent(build):
    model = trained(build())
    other = copy.deepcopy(model).eval()
    batch = toy_batch(9)
    before = other.predict(batch)
    trained(model)
    assert torch.equal(before, other.predict(batch))


def test_every_parameter_learns_from_a_batch_of_all_scenarios(build):
    model = scrambled(build())  # a factor that starts at 0 holds back what it multiplies
    total_loss(model, toy_batch(60, scenarios=[0, 1, 2, 3])).backward()
    silent = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert silent == []


def test_scenario_field_is_the_one_that_is_named(build):
    """Only the scenario field's token decides: rows alike but for it differ in score."""
    model = trained(build()).eval()
    batch = toy_batch(1, scenarios=[1])
    other = toy_batch(1, scenarios=[2])
    assert batch["user_id"].equal(other["user_id"])
    assert not torch.equal(batch[SCENARIO], other[SCENARIO])
    assert not torch.equal(model.predict(batch), model.predict(other))
