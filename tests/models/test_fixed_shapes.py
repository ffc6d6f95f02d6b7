"""Fixed shapes: nothing that a CUDA graph cannot capture, and the same results as without."""

import copy

import pytest
import torch

from recbole_midpg.integration.models.registry import own_models
from recbole_midpg.models.adaptdhm import AdaptDHM
from recbole_midpg.models.adasparse import AdaSparse
from recbole_midpg.models.apg import APG
from recbole_midpg.models.dnn import DNN
from recbole_midpg.models.dpg import DPG
from recbole_midpg.models.epnet import EPNet
from recbole_midpg.models.hamur import HAMUR
from recbole_midpg.models.hmoe import HMoE
from recbole_midpg.models.m2m import M2M
from recbole_midpg.models.m3oe import M3oE
from recbole_midpg.models.midpg import MIDPG
from recbole_midpg.models.mmoe import MMoE
from recbole_midpg.models.pepnet import PEPNet
from recbole_midpg.models.ple import PLE
from recbole_midpg.models.ppnet import PPNet
from recbole_midpg.models.sarnet import SARNet
from recbole_midpg.models.sharedbottom import SharedBottom
from recbole_midpg.models.star import STAR
from tests.support.fixed_shapes import assert_fixed_shapes
from tests.support.toy import SCENARIO, scrambled, toy_batch, toy_dataset, toy_model

SMALL = {"n": 3, "m": 2, "k": 2}
SCENARIO_ONLY = {**SMALL, "generator_input": "scenario"}
OPTIONS = {
    DNN: [{}, {"activation": "gelu"}],
    DPG: [
        *({**SMALL, "weighting": weighting} for weighting in ("non", "rc", "r", "c")),
        *({**SCENARIO_ONLY, "weighting": weighting} for weighting in ("non", "rc", "r", "c")),
        {**SCENARIO_ONLY, "weight_output_layer": True},
        {**SMALL, "tile": "block"},
        {**SMALL, "generator_stop_gradient": True, "generator_hidden_size": [5], "gate_scale": 2},
    ],
    MIDPG: [
        *({**SMALL, "mi_estimator": estimator} for estimator in ("jsd", "kl", "dv", "infonce")),
        {**SMALL, "mi_mask_same_scenario": False},
        {**SMALL, "mi_estimator": "infonce", "mi_mask_same_scenario": False},
        {**SMALL, "mi_estimator": "infonce", "mi_standardize": True},
        {**SMALL, "mi_estimator": "infonce", "mi_standardize": False, "mi_detach_scenario": True},
        {**SCENARIO_ONLY, "mi_standardize": True},
        {**SCENARIO_ONLY, "mi_estimator": "infonce"},
    ],
    HMoE: [
        *({"label_mixture": space} for space in ("probability", "logit", "hidden")),
        {"expert_gate_hidden_size": [5], "weight_hidden_size": [5], "expert_layers": 1},
    ],
    MMoE: [{}, {"experts": 1, "expert_layers": 1}, {"expert_gate_hidden_size": [5]}],
    SharedBottom: [{"bottom_layers": depth} for depth in (0, 1, 2, 3)],
    M2M: [
        {},
        {"meta_condition": "group", "meta_tower_layers": 2},
        {"experts": 1, "meta_unit_layers": 2},
    ],
    M3oE: [
        {},
        {"domain_fusion": False, "mlp_hidden_size": [8, 6, 5, 4]},
        {"gate_stop_gradient": False, "mlp_hidden_size": [8, 6, 5, 4]},
    ],
    STAR: [
        {"pn_min_rows": 3},
        {"pn_min_rows": 30},
        {"partitioned_norm": False, "auxiliary_network": False},
    ],
    PLE: [
        *({"expert_levels": levels, "specific_experts": 2} for levels in (1, 2, 3)),
        {"shared_experts": 3},
    ],
    PEPNet: [{}, {"ppnet_gate_input": False, "gate_hidden_size": 5}],
    EPNet: [{}, {"gate_hidden_size": 5}],
    PPNet: [{}, {"ppnet_gate_input": False, "gate_hidden_size": 5}],
    SARNet: [
        {},
        {"shared_experts": 0, "specific_experts": 2, "expert_layers": 1},
        {"specific_experts": 0, "expert_batch_norm": True},
    ],
    APG: [
        {"apg_rank": 3, "apg_generate_bias": True},
        {"apg_rank": 2, "apg_condition": "mix", "apg_generator_hidden_size": [3]},
        {"apg_rank": 0.5, "apg_condition": "self", "apg_inner_size": 3},
    ],
    AdaptDHM: [
        {},
        {"routing_similarity": "cosine", "routing_temperature": 0.1, "clusters": 5},
        {"clusters": 1, "routing_steps": 1},
    ],
    AdaSparse: [
        *({"pruning_form": form} for form in ("fusion", "binarization", "scaling")),
        {"prune_input": True},
    ],
    HAMUR: [
        *({"specific_backbone": specific, "pn_min_rows": 3} for specific in (True, False)),
        {"adapter_layers": 3, "hyper_hidden_size": [], "pn_min_rows": 30},
        {"adapter_layers": 0},
    ],
}
VARIANTS = [
    pytest.param(model, options, id=f"{model.__name__}-{place}")
    for model, all_options in OPTIONS.items()
    for place, options in enumerate(all_options)
]
BATCHES = [
    toy_batch(40, scenarios=[1, 1, 1, 2, 0, 3, 1, 1]),
    toy_batch(23, scenarios=[3, 1]),
    toy_batch(9, scenarios=[2]),
    toy_batch(1),
    toy_batch(0),
]


def test_every_model_is_here():
    assert set(OPTIONS) == set(own_models().values())


@pytest.mark.parametrize(("model_class", "options"), VARIANTS)
def test_nothing_that_a_graph_cannot_capture(model_class, options):
    model = toy_model(model_class, dropout_prob=0.2, **options)
    model.use_fixed_shapes(True)
    assert_fixed_shapes(model, toy_batch(40))


@pytest.mark.parametrize("model_class", list(OPTIONS))
def test_fields_of_all_types(model_class):
    dataset = toy_dataset(mixed_types=True)
    model = toy_model(model_class, dataset, **SMALL, apg_rank=2)
    model.use_fixed_shapes(True)
    assert_fixed_shapes(model, toy_batch(40, dataset=dataset))


@pytest.mark.parametrize(("model_class", "options"), VARIANTS)
def test_results_are_those_of_shapes_by_data(model_class, options):
    by_data = scrambled(toy_model(model_class, dropout_prob=0.3, **options)).double()
    fixed = copy.deepcopy(by_data)
    fixed.use_fixed_shapes(True)
    for batch in BATCHES:
        assert_same_steps(by_data, fixed, batch)


@pytest.mark.parametrize("model_class", list(OPTIONS))
def test_embeddings_dropped_are_the_same(model_class):
    dropped = {"embedding_dropout": 0.4}
    options = {**SCENARIO_ONLY, "apg_rank": 2, "meta_condition": "group", **dropped}
    by_data = scrambled(toy_model(model_class, **options)).double()
    fixed = copy.deepcopy(by_data)
    fixed.use_fixed_shapes(True)
    assert_same_steps(by_data, fixed, BATCHES[0])
    assert_fixed_shapes(fixed, toy_batch(40))


@pytest.mark.parametrize("options", [SCENARIO_ONLY, {**SMALL, "mi_estimator": "infonce"}])
def test_several_scenario_fields(options):
    options = {**options, "scenario_fields": [SCENARIO, "shop_id"]}
    by_data = scrambled(toy_model(MIDPG, dropout_prob=0.3, **options)).double()
    fixed = copy.deepcopy(by_data)
    fixed.use_fixed_shapes(True)
    assert_same_steps(by_data, fixed, toy_batch(40))
    assert_same_steps(by_data, fixed, toy_batch(4))
    assert_fixed_shapes(fixed, toy_batch(40))


@pytest.mark.parametrize("model_class", [STAR, PLE, SharedBottom, MMoE, HMoE, SARNet, HAMUR, M3oE])
def test_many_scenarios(model_class):
    dataset = toy_dataset(501)
    by_data = scrambled(toy_model(model_class, dataset)).double()
    fixed = copy.deepcopy(by_data)
    fixed.use_fixed_shapes(True)
    assert_same_steps(by_data, fixed, toy_batch(64, dataset=dataset))


def assert_same_steps(by_data, fixed, batch):
    """Loss terms, gradients, statistics and scores are equal, and so are the random draws."""
    results = []
    for model in (by_data, fixed):
        torch.manual_seed(3)
        model.train().zero_grad()
        losses = model.calculate_loss(batch)
        losses = torch.stack(losses if isinstance(losses, tuple) else (losses,))
        losses.sum().backward()
        gradients = [
            torch.zeros_like(value) if value.grad is None else value.grad
            for value in model.parameters()
        ]
        scores = model.eval().predict(batch)
        results.append([losses, scores, *gradients, *model.buffers()])
    for of_data, of_fixed in zip(*results, strict=True):
        torch.testing.assert_close(of_fixed, of_data, rtol=0, atol=1e-12)


def test_what_is_asked_for_reaches_every_layer():
    model = toy_model(MIDPG, mi_estimator="infonce", **SMALL)
    parts = (model, model.backbone, model.mutual_information)
    assert not any(part.fixed_shapes for part in parts)
    model.use_fixed_shapes(True)
    assert all(part.fixed_shapes for part in parts)
    model.use_fixed_shapes(False)
    assert not any(part.fixed_shapes for part in parts)


@pytest.mark.parametrize(
    ("model_class", "options"),
    [
        (STAR, {}),
        (PLE, {}),
        (SARNet, {}),
        (DPG, SCENARIO_ONLY),
        (MIDPG, {**SMALL, "mi_estimator": "infonce"}),
    ],
)
def test_shapes_by_data_are_noticed(model_class, options):
    """The checks see what they are there for."""
    with pytest.raises(Exception, match=r"bincount|meta tensors|DynamicOutputShape|unique"):
        assert_fixed_shapes(toy_model(model_class, **options), toy_batch(40))
