import pytest
import torch
from torch import nn

from recbole_midpg.layers.across_processes import SharedBatch, shared
from recbole_midpg.layers.shared_batch_norm import SharedBatchNorm, share_batch_norms
from tests.support.forked import in_group

COUNTS = (4, 0, 3)
GENERATOR = torch.Generator().manual_seed(0)
ROWS = 5 + 3 * torch.randn(2, 7, 4, generator=GENERATOR, dtype=torch.float64)
WEIGHTS = torch.randn(7, 4, generator=GENERATOR, dtype=torch.float64)


def network(**options):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, **options), nn.Tanh()).double()
    if model[1].weight is not None:
        nn.init.normal_(model[1].weight)
    return model


def trained_on(model, batches, weights, share=1.0):
    """The last outputs and all gradients and statistics."""
    for rows in batches:
        model.zero_grad()
        outputs = model(rows)
        (share * (outputs * weights).sum() / max(len(rows), 1)).backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    return outputs.detach(), gradients, list(model.buffers())


def trained_in_process(rank, options):
    model = network(**options)
    assert share_batch_norms(model)
    batch = SharedBatch(COUNTS, rank)
    with shared(batch):
        rows = [rows.split(COUNTS)[rank] for rows in ROWS]
        return trained_on(model, rows, WEIGHTS.split(COUNTS)[rank], batch.share)


@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False, "eps": 0.1}],
)
def test_it_is_the_batch_normalisation_of_all_rows(options):
    outputs, gradients, buffers = trained_on(network(**options), list(ROWS), WEIGHTS)
    found = in_group(3, trained_in_process, options)
    torch.testing.assert_close(torch.cat([result[0] for result in found]), outputs)
    for place, expected in enumerate(gradients):
        summed = sum(of_process[place] for _, of_process, _ in found)
        torch.testing.assert_close(summed, expected)
    for _, _, found_buffers in found:
        for mine, expected in zip(found_buffers, buffers, strict=True):
            torch.testing.assert_close(mine, expected)


def test_a_models_norms_are_replaced_in_place():
    model = nn.Sequential(network(), nn.Linear(4, 1).double())
    before = dict(model.named_parameters()), model.state_dict()
    assert share_batch_norms(model)
    assert isinstance(model[0][1], SharedBatchNorm)
    assert all(before[0][name] is value for name, value in model.named_parameters())
    assert model.state_dict().keys() == before[1].keys()
    assert not share_batch_norms(nn.Linear(1, 1))


@pytest.mark.parametrize("training", [True, False])
def test_alone_it_is_torchs(training):
    ours, stock = network().train(training), network().train(training)
    share_batch_norms(ours)
    assert torch.equal(ours(ROWS[0]), stock(ROWS[0]))
    assert torch.equal(ours[1].running_var, stock[1].running_var)


def test_what_it_does_not_normalise_is_refused():
    with shared(SharedBatch((2,), 0)), pytest.raises(ValueError, match="3 dimensions"):
        SharedBatchNorm(4)(torch.zeros(2, 4, 4))
