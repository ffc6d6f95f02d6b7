"""What a GPU trains is what the CPU trains."""

import functools

import pytest
import torch
from recbole.config import Config
from recbole.data.dataloader.general_dataloader import TrainDataLoader
from recbole.data.interaction import Interaction
from torch import nn

from recbole_midpg.integration.dataset.batches import BlockTrainDataLoader
from recbole_midpg.integration.run.run import Run
from recbole_midpg.layers.row_wise_embedding import RowWiseEmbedding
from recbole_midpg.training.row_wise_adam import RowWiseAdam
from tests.gpu import runs
from tests.gpu.runs import MODELS
from tests.integration.dataset.test_batches import Rows, assert_same_batches, plain_config
from tests.training.test_row_wise_adam import differences, gappy_batches, start_weight

DEVICE = torch.device(runs.gpu_tests_device() or "cpu")


def auc_of_test(**values):
    settings = {"epochs": 1, "train_batch_size": 1024, "show_progress": False, "state": "WARNING"}
    run = Run.prepare(Config(values.pop("model"), "ml-100k", config_dict={**settings, **values}))
    run.train(saved=False, verbose=False)
    run.test(saved=False)
    return run.config["device"], run.test_results["auc"]


@functools.cache
def auc_of_cpu(model):
    device, auc = auc_of_test(model=model, gpu_id="")
    assert device.type == "cpu"
    return auc


@pytest.mark.parametrize("keys", [(), ("cuda_graph", "data_on_device", "metrics_on_device")])
@pytest.mark.parametrize("model", MODELS)
def test_an_epoch_ends_at_the_cpus_auc(model, keys):
    device, auc = auc_of_test(model=model, **runs.off(*keys))
    assert device.type == DEVICE.type
    expected = auc_of_cpu(model)
    assert expected > 0.6
    assert auc == pytest.approx(expected, abs=1e-3)


def test_batches_arrive_on_the_device():
    ours = BlockTrainDataLoader(plain_config(device=DEVICE), Rows(20), None, shuffle=True)
    stock = TrainDataLoader(plain_config(), Rows(20, Interaction), None, shuffle=True)
    arrived = list(ours)
    assert all(batch.to(DEVICE) is batch for batch in arrived)
    assert all(batch["user"].device.type == DEVICE.type for batch in arrived)
    assert_same_batches([batch.cpu() for batch in arrived], stock)


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_row_wise_updates_are_the_cpus(scale):
    weights = {}
    for device in (torch.device("cpu"), DEVICE):
        table = RowWiseEmbedding(nn.Parameter(start_weight().detach().to(device)))
        optimizer = RowWiseAdam([table.weight], [table])
        for rows, gradient in gappy_batches(scale):
            optimizer.zero_grad()
            repeated = torch.cat([rows, rows]).to(device)
            table(repeated).backward(torch.cat([gradient, gradient]).to(device) / 2)
            optimizer.step()
        weights[device.type] = table.state_dict()["weight"].cpu().double()
    assert differences(weights[DEVICE.type], weights["cpu"]).max() < 2e-5
