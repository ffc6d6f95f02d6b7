"""MIDPG: DPG with the mutual information regularisation, and what that does."""

import functools
import math

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_midpg.layers.mutual_information import (
    MI_ESTIMATORS,
    InfoNCELoss,
    ShuffledPairsLoss,
)
from recbole_midpg.models.base import count_parameters, flatten_matrices
from recbole_midpg.models.dpg import DPG
from recbole_midpg.models.midpg import MIDPG
from tests.reference.mutual_information import infonce_loss, shuffled_pairs_loss
from tests.support.toy import LABEL, SCENARIO, toy_batch, toy_dataset, toy_model, train_step

SMALL = {"n": 2, "m": 3, "k": 2}
OF_MIDPG_ALONE = "mutual_information."
ESTIMATOR_AND_MASK = [(name, mask) for name in MI_ESTIMATORS for mask in (True, False)]


def make(model_class, dataset=None, seed=0, **overrides):
    return toy_model(model_class, dataset, seed, **{**SMALL, **overrides})


def gradients_of(model, loss):
    """The gradient of each parameter, zeros where the loss does not reach it."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for name, parameter, gradient in zip(names, parameters, found, strict=True)
    }


# --- lower precision -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("estimator", MI_ESTIMATORS)
def test_the_regularisation_sees_gates_that_differ_in_lower_precision(estimator, dtype):
    """Embeddings of a large table start small, so that the gates start next to a half."""
    dataset = toy_dataset(sizes={"user_id": 500_000, "item_id": 9, "shop_id": 5})
    model = make(MIDPG, dataset, mi_estimator=estimator, mi_standardize=True)
    batch = toy_batch(200, dataset=dataset)
    with torch.autocast("cpu", dtype=dtype):
        matrices = flatten_matrices(model.weighting_matrices(batch))
        terms = model.calculate_loss(batch)
    assert (matrices != matrices[:1]).any(dim=0).all()
    sum(terms).backward()
    assert all(term.isfinite() for term in terms)
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


# --- beside DPG ------------------------------------------------------------------------------


@pytest.mark.parametrize("weighting", ["non", "rc", "r", "c"])
def test_it_is_dpg_and_a_discriminator(weighting):
    dpg = make(DPG, seed=5, weighting=weighting).eval()
    midpg = make(MIDPG, seed=6, weighting=weighting).eval()
    batch = toy_batch(9)
    assert not torch.equal(dpg(batch), midpg(batch))
    keys = midpg.load_state_dict(dpg.state_dict(), strict=False)
    assert not keys.unexpected_keys
    assert keys.missing_keys
    assert all(key.startswith(OF_MIDPG_ALONE) for key in keys.missing_keys)
    assert torch.equal(dpg(batch), midpg(batch))
    assert torch.equal(dpg.predict(batch), midpg.predict(batch))


def test_the_same_seed_starts_both_from_the_same_weights():
    dpg, midpg = make(DPG, seed=5), make(MIDPG, seed=5)
    for name, value in dpg.state_dict().items():
        assert torch.equal(value, midpg.state_dict()[name]), name


def test_beta_zero_has_the_gradients_of_dpg():
    dpg, midpg = make(DPG).double(), make(MIDPG, beta=0.0).double()
    batch = toy_batch(16)
    expected = gradients_of(dpg, dpg.calculate_loss(batch))
    gradients = gradients_of(midpg, sum(midpg.calculate_loss(batch)))
    for name, gradient in gradients.items():
        if name.startswith(OF_MIDPG_ALONE):
            assert gradient.eq(0).all(), name
        else:
            torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-10)


def test_loss_terms_are_named_and_scaled():
    batch = toy_batch(16)
    model = make(MIDPG, alpha=1.0, beta=1.0)
    torch.manual_seed(3)
    cross_entropy, regularisation = model.calculate_loss(batch)
    assert model.loss_names == ("alpha*bce", "beta*mir")
    torch.testing.assert_close(cross_entropy, make(DPG).calculate_loss(batch))
    scaled = make(MIDPG, alpha=3.0, beta=0.25)
    torch.manual_seed(3)
    terms = scaled.calculate_loss(batch)
    assert isinstance(terms, tuple)
    assert len(terms) == len(model.loss_names)
    assert all(term.shape == () for term in terms)
    torch.testing.assert_close(terms[0], 3.0 * cross_entropy)
    torch.testing.assert_close(terms[1], 0.25 * regularisation)


@pytest.mark.parametrize(("estimator", "mask"), ESTIMATOR_AND_MASK)
def test_regularisation_equals_the_loops(estimator, mask):
    model = make(
        MIDPG,
        beta=1.0,
        mi_estimator=estimator,
        mi_mask_same_scenario=mask,
        mi_standardize=False,  # the loops score row by row
        scenario_fields=["shop_id", SCENARIO],
    ).double()
    batch = toy_batch(12)
    torch.manual_seed(3)
    _, regularisation = model.calculate_loss(batch)

    inputs, scenario = model.embed(batch)
    compact = torch.cat([m.flatten(1) for m in model.backbone(inputs, scenario)[1]], dim=1)
    ids = torch.stack([batch["shop_id"], batch[SCENARIO]], dim=1)
    discriminator = model.mutual_information.discriminator
    if estimator == "infonce":
        expected = infonce_loss(discriminator, scenario, compact, ids, mask)
    else:
        torch.manual_seed(3)
        shuffled = torch.randperm(12).tolist()
        expected = shuffled_pairs_loss(
            discriminator, estimator, scenario, compact, ids, shuffled, mask
        )
    assert regularisation.item() == pytest.approx(expected, rel=0, abs=1e-10)


@pytest.mark.parametrize("estimator", MI_ESTIMATORS)
def test_keys_reach_the_regularisation(estimator):
    model = make(
        MIDPG,
        mi_estimator=estimator,
        mi_mask_same_scenario=False,
        discriminator_hidden_size=[9, 5],
        weight_output_layer=True,
    )
    module = model.mutual_information
    assert isinstance(module, InfoNCELoss if estimator == "infonce" else ShuffledPairsLoss)
    assert module.mask_same_scenario is False
    discriminator = module.discriminator
    assert discriminator.matrix_map.in_features == 3 * (2 * 3) + 2 * 1
    assert discriminator.scenario_map.in_features == 4
    assert discriminator.scenario_map.out_features == 9
    assert [layer.out_features for layer in discriminator.head.layers[::3]] == [5, 1]


# --- where the regularisation's gradient goes ------------------------------------------------


def regularisation_gradients(**overrides):
    model = make(MIDPG, **overrides).double()
    torch.manual_seed(3)
    return model, gradients_of(model, model.calculate_loss(toy_batch(24))[1])


@pytest.mark.parametrize("estimator", MI_ESTIMATORS)
def test_regularisation_trains_generators_and_discriminator_and_not_the_logit(estimator):
    _, gradients = regularisation_gradients(mi_estimator=estimator)
    # The last hidden layer's outputs meet no further generator.
    untouched = {f"backbone.{name}" for name in ("layers.2.weight", "layers.2.bias")}
    untouched |= {f"backbone.output.{name}" for name in ("weight", "bias")}
    assert untouched < set(gradients)
    # A constant added to all scores changes none of their differences.
    constant = "mutual_information.discriminator.head.layers.0.bias"
    for name, gradient in gradients.items():
        if name in untouched:
            assert gradient.eq(0).all(), name
        elif name == constant and estimator in ("dv", "infonce"):
            assert gradient.abs().max() < 1e-12, name
        else:
            assert gradient.abs().sum() > 0, name


def test_detached_scenario_loses_the_direct_path_and_keeps_the_one_through_the_matrices():
    table = "token_embedding_table.embedding.weight"
    scenarios = slice(-toy_dataset().sizes[SCENARIO], None)
    _, through = regularisation_gradients(mi_detach_scenario=False)
    model, cut = regularisation_gradients(mi_detach_scenario=True)
    for name in through:
        if name != table:
            torch.testing.assert_close(cut[name], through[name], rtol=0, atol=1e-12)
    assert not torch.allclose(cut[table][scenarios], through[table][scenarios])

    batch = toy_batch(24)
    inputs, scenario = model.embed(batch)
    compact = flatten_matrices(model.backbone(inputs, scenario)[1])
    torch.manual_seed(3)
    loss = model.mutual_information(scenario.detach(), compact, batch[SCENARIO].view(-1, 1))
    expected = gradients_of(model, model.beta * loss)[table]
    torch.testing.assert_close(cut[table], expected, rtol=0, atol=1e-12)
    assert cut[table][scenarios].abs().sum() > 0


# --- edges -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "scenarios"),
    [(0, None), (1, None), (6, [2])],
    ids=["no row", "one row", "one scenario"],
)
@pytest.mark.parametrize(("estimator", "mask"), ESTIMATOR_AND_MASK)
def test_batch_of_one_scenario_only_is_not_regularised(estimator, mask, rows, scenarios):
    model = make(MIDPG, mi_estimator=estimator, mi_mask_same_scenario=mask)
    batch = toy_batch(rows, scenarios=scenarios)
    cross_entropy, regularisation = model.calculate_loss(batch)
    assert regularisation.item() == 0.0
    torch.testing.assert_close(cross_entropy, make(DPG).calculate_loss(batch))
    assert model.predict(batch).shape == (rows,)
    (cross_entropy + regularisation).backward()
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        assert gradient is None or torch.isfinite(gradient).all(), name
        if name.startswith(OF_MIDPG_ALONE):
            assert gradient is None or gradient.eq(0).all(), name


def test_rows_do_not_touch_each_other_s_prediction():
    model = make(MIDPG).double().eval()
    batch = toy_batch(6)
    alone = torch.cat([model.predict(batch[row : row + 1]) for row in range(6)])
    torch.testing.assert_close(model.predict(batch), alone, rtol=0, atol=1e-10)


@pytest.mark.parametrize("estimator", MI_ESTIMATORS)
def test_every_parameter_and_every_type_of_field_is_trained(estimator):
    dataset = toy_dataset(mixed_types=True)
    model = make(MIDPG, dataset, mi_estimator=estimator, activation="tanh")
    sum(model.calculate_loss(toy_batch(64, dataset=dataset))).backward()
    for name, parameter in model.named_parameters():
        constant = name.endswith("head.layers.0.bias") and estimator in ("dv", "infonce")
        assert constant or parameter.grad.abs().sum() > 0, name


def test_parameters_by_hand():
    widths = {"embedding_size": 10, "mlp_hidden_size": [128, 64, 32], "n": 8, "m": 8, "k": 4}
    dpg = make(DPG, **widths)
    midpg = make(MIDPG, **widths, discriminator_hidden_size=[64, 16])
    # s (10, with a bias) and three matrices of 8 x 8 to 64, 64 to 16, 16 to 1
    discriminator = (10 + 1) * 64 + 3 * 8 * 8 * 64 + (64 + 1) * 16 + (16 + 1)
    assert count_parameters(dpg)[1] == 24193
    assert count_parameters(midpg)[1] == 24193 + discriminator
    assert count_parameters(midpg)[0] - count_parameters(midpg)[1] == 10 * 30  # 30 tokens


@pytest.mark.parametrize("estimator", ["jsd", "infonce"])
def test_same_seed_same_result(estimator):
    def train_twenty_steps(seed):
        model = make(MIDPG, seed=seed, dropout_prob=0.1, mi_estimator=estimator)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        losses = [train_step(model, toy_batch(32, seed=step), optimizer) for step in range(20)]
        return losses, model.eval()(toy_batch(16, seed=99))

    losses, logits = train_twenty_steps(seed=1)
    again_losses, again_logits = train_twenty_steps(seed=1)
    assert losses == again_losses
    assert torch.equal(logits, again_logits)
    assert losses != train_twenty_steps(seed=2)[0]


# --- MI does something -----------------------------------------------------------------------
# Users with a rate, items that each of four scenarios likes in its own way. The same start, the
# same batches, with and without MIR; judged on rows that were not trained on.

WORLD = {"user_id": 40, "item_id": 30}
SCENARIOS = range(1, 5)
TRAINING_ROWS = 4096


def draw_rows(rows, seed):
    world = torch.Generator().manual_seed(99)
    rate = torch.randn(WORLD["user_id"], generator=world)
    taste = torch.randn(len(SCENARIOS) + 1, WORLD["item_id"], generator=world)
    draw = torch.Generator().manual_seed(seed)
    user, item, scenario = (
        torch.randint(1, size, (rows,), generator=draw)
        for size in (WORLD["user_id"], WORLD["item_id"], len(SCENARIOS) + 1)
    )
    likely = torch.sigmoid(rate[user] + 1.5 * taste[scenario, item])
    label = (torch.rand(rows, generator=draw) < likely).float()
    return Interaction({"user_id": user, "item_id": item, SCENARIO: scenario, LABEL: label})


# Over ten seeds and all estimators the share of pairs told was 0.83 at least (jsd: 1.0), and the
# ratio of variances 4.9 times that of DPG at least; the bounds below leave room for other machines.
every_estimator_and_some_seeds = pytest.mark.parametrize(
    ("estimator", "seed"), [("jsd", 0), ("jsd", 1), ("kl", 2), ("dv", 2), ("infonce", 2)]
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """So small products gain nothing from threads, and lose much where cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@functools.cache
def trained(model_class, seed, **overrides):
    dataset = toy_dataset(scenarios=len(SCENARIOS) + 1, sizes=WORLD)
    model = make(model_class, dataset, seed, n=4, m=4, **overrides)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    rows = draw_rows(TRAINING_ROWS, seed=1000)
    order = torch.Generator().manual_seed(seed)
    for _ in range(200):
        chosen = torch.randint(0, TRAINING_ROWS, (256,), generator=order)
        train_step(model, rows[chosen], optimizer)
    return model.eval()


@torch.no_grad()
def between_to_within_scenarios(model, batch):
    """Variance of the scenarios' mean matrices over the mean variance within a scenario."""
    matrices = flatten_matrices(model.weighting_matrices(batch))
    groups = [matrices[batch[SCENARIO] == scenario] for scenario in SCENARIOS]
    between = torch.stack([group.mean(0) for group in groups]).var(0, unbiased=False).sum()
    within = torch.stack([group.var(0, unbiased=False).sum() for group in groups]).mean()
    return (between / within).item()


@torch.no_grad()
def matched_scored_higher(model, batch):
    """How often matrices score higher with their own scenario than with another row's."""
    inputs, scenario = model.embed(batch)
    compact = flatten_matrices(model.backbone(inputs, scenario)[1])
    shuffled = torch.randperm(len(scenario), generator=torch.Generator().manual_seed(0))
    differs = batch[SCENARIO] != batch[SCENARIO][shuffled]
    discriminator = model.mutual_information.discriminator
    matched = discriminator(scenario, compact)[differs]
    mismatched = discriminator(scenario[shuffled], compact)[differs]
    higher = (matched > mismatched).float() + 0.5 * (matched == mismatched).float()
    return higher.mean().item()


@pytest.mark.slow
@every_estimator_and_some_seeds
def test_discriminator_tells_matched_from_shuffled_pairs(estimator, seed):
    unseen = draw_rows(1024, seed=2000)
    untrained = make(MIDPG, toy_dataset(scenarios=len(SCENARIOS) + 1, sizes=WORLD), seed, n=4, m=4)
    assert matched_scored_higher(untrained.eval(), unseen) < 0.65
    model = trained(MIDPG, seed, mi_estimator=estimator)
    assert matched_scored_higher(model, unseen) > 0.8


# A discriminator that sees its inputs standardized tells scenarios by smaller differences.
@pytest.mark.slow
@pytest.mark.parametrize(("standardize", "factor"), [(False, 3.0), (True, 1.5)])
@every_estimator_and_some_seeds
def test_matrices_differ_more_between_scenarios_with_the_regularisation(
    estimator, seed, standardize, factor
):
    unseen = draw_rows(1024, seed=2000)
    without = between_to_within_scenarios(trained(DPG, seed), unseen)
    model = trained(MIDPG, seed, mi_estimator=estimator, mi_standardize=standardize)
    assert between_to_within_scenarios(model, unseen) > factor * without


@pytest.mark.slow
def test_the_regularisation_leaves_the_task_learnable():
    unseen = draw_rows(1024, seed=2000)
    base_rate = unseen[LABEL].mean().item()
    entropy = -base_rate * math.log(base_rate) - (1 - base_rate) * math.log(1 - base_rate)
    for model_class in (DPG, MIDPG):
        model = trained(model_class, seed=0)
        loss = model.cross_entropy(model(unseen), unseen).item()
        assert loss < 0.9 * entropy


@pytest.mark.parametrize(
    ("estimator", "term", "is_idle"),
    [("jsd", 0.004, True), ("infonce", 0.004, True), ("jsd", 0.006, False), ("dv", -0.2, False)],
)
def test_a_term_that_has_nothing_left_to_teach_is_told(estimator, term, is_idle):
    model = toy_model(MIDPG, **SMALL, beta=0.1, mi_estimator=estimator)
    remarks = model.remarks_on_loss({"alpha*bce": 0.5, "beta*mir": term})
    assert len(remarks) == is_idle
    for remark in remarks:
        assert remark.startswith("MIDPG: the mutual information loss ended at 0.04 (beta*mir over")


def test_without_its_weight_the_term_is_not_judged():
    model = toy_model(MIDPG, **SMALL, beta=0.0)
    assert model.remarks_on_loss({"alpha*bce": 0.5, "beta*mir": 0.0}) == []
