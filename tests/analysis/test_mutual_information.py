"""The estimates, with the losses that training takes."""

from math import log

import pytest
import torch
from torch import nn

from recbole_midpg.analysis.mutual_information import entropy_of_counts, estimate_information
from recbole_midpg.analysis.reports import read_run
from recbole_midpg.common.errors import UsageError
from recbole_midpg.layers.mutual_information import InfoNCELoss, ShuffledPairsLoss
from tests.analysis.reports import run_report, written

BETA = 0.1


class Knowing(nn.Module):
    """A discriminator of matrices that are the scenario's number: as sure as it is told to be."""

    def __init__(self, sureness):
        super().__init__()
        self.map_matrices = nn.Identity()
        self.sureness = sureness

    def map_scenario(self, scenario, kept=None):
        return scenario

    def score(self, scenario, matrices):
        return self.sureness * torch.where((scenario == matrices).squeeze(-1), 1.0, -1.0)


def loss_of(estimator, masked, sureness, counts):
    """The loss in a batch of scenarios that are there ``counts`` times."""
    discriminator = Knowing(sureness)
    if estimator == "infonce":
        loss = InfoNCELoss(discriminator, masked)
    else:
        loss = ShuffledPairsLoss(discriminator, estimator, masked)
    ids = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).view(-1, 1)
    torch.manual_seed(0)
    return float(loss(ids.float(), ids.float(), ids))


def estimate(estimator, masked, sureness, counts=(128, 128, 128, 128), **config):
    report = run_report(
        config={
            "beta": BETA,
            "mi_estimator": estimator,
            "mi_mask_same_scenario": masked,
            "train_batch_size": sum(counts),
            **config,
        },
        scenarios=[{"name": str(place), "rows": count} for place, count in enumerate(counts)],
    )
    for epoch in report["epochs"]:
        epoch["loss"]["beta*mir"] = BETA * loss_of(estimator, masked, sureness, counts)
    return estimate_information(read_run(written(report)))


@pytest.mark.parametrize("masked", [True, False])
def test_nothing_is_estimated_where_the_discriminator_tells_nothing(masked):
    for estimator in ("jsd", "dv"):
        assert estimate(estimator, masked, 0.0).values == pytest.approx([0.0] * 3, abs=1e-6)
    # kl takes e^(T - 1), which is best at T = 1 there.
    assert estimate("kl", masked, 0.0).values == pytest.approx([-1 / torch.e] * 3)
    assert estimate("infonce", False, 0.0).values == pytest.approx([0.0] * 3, abs=1e-6)
    assert max(estimate("infonce", True, 0.0).values) < 0


def test_a_sure_discriminator_reaches_the_most_that_can_be():
    jsd = estimate("jsd", True, 40.0)
    assert jsd.largest == pytest.approx(log(2))
    assert jsd.values == pytest.approx([log(2)] * 3)
    # Unmasked, a quarter of the shuffled pairs are matched ones.
    assert max(estimate("jsd", False, 40.0).values) < 0


@pytest.mark.parametrize("counts", [(128, 128, 128, 128), (300, 150, 50, 12)])
@pytest.mark.parametrize("masked", [True, False])
def test_infonce_gives_the_entropy_of_scenarios_that_the_matrices_reveal(masked, counts):
    found = estimate("infonce", masked, 40.0, counts)
    assert found.quantity == "mutual information"
    assert found.values == pytest.approx([entropy_of_counts(counts)] * 3, rel=1e-5)
    assert found.values[0] <= found.largest + 1e-6


@pytest.mark.parametrize("sureness", [0.5, 1.0, 3.0])
def test_masked_infonce_is_the_lower_bound(sureness):
    counts = (300, 150, 50, 12)
    masked, whole = (estimate("infonce", mask, sureness, counts).values[0] for mask in (1, 0))
    assert masked <= whole + 1e-6 <= entropy_of_counts(counts) + 2e-6


def test_quantities_are_named():
    assert estimate("kl", False, 0.0).quantity == "mutual information"
    assert "other scenarios" in estimate("dv", True, 0.0).quantity
    assert estimate("dv", True, 0.0).largest is None


def test_runs_without_a_regularisation_have_no_estimate():
    report = run_report()
    report["config"]["beta"] = 0.0
    assert estimate_information(read_run(written(report))) is None
    for epoch in report["epochs"]:
        epoch["loss"] = {"bce": 0.5}
    assert estimate_information(read_run(written(report))) is None


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"beta": None}, "lacks beta"),
        ({"mi_estimator": "mine"}, "'mine' is not allowed, expected one of jsd"),
    ],
)
def test_reports_that_cannot_be_read_that_way(config, words):
    report = run_report()
    report["config"].update(config)
    with pytest.raises(UsageError, match=words):
        estimate_information(read_run(written(report)))


def test_masked_infonce_needs_the_scenarios():
    report = run_report(scenarios=[])
    report["config"]["mi_estimator"] = "infonce"
    with pytest.raises(UsageError, match="no rows by scenario"):
        estimate_information(read_run(written(report)))


def test_entropy_by_hand():
    assert entropy_of_counts([3, 3]) == pytest.approx(log(2))
    assert entropy_of_counts([4, 0]) == 0
    assert entropy_of_counts([]) is None
