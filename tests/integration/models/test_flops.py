import copy

import pytest
import torch
from recbole.data.transform import construct_transform
from recbole.utils import get_flops
from recbole.utils.utils import get_model

from recbole_midpg.integration.models import registry
from recbole_midpg.integration.models.flops import copies_share_data
from recbole_midpg.models.base import count_parameters
from tests.support.recbole_data import dataset_of, gaps_config

E_ = 10  # embedding size


def report(model_name, **values):
    config = gaps_config(model_name, numerical_features=[], threshold=None, **values)
    dataset = dataset_of(config)
    dataset._change_feat_format()
    model = get_model(model_name)(config, dataset)
    transform = construct_transform(config)
    return model, get_flops(model, dataset, torch.device("cpu"), None, transform)


def test_dnn_counts_what_its_layers_multiply():
    # Fields: user, item, coupon, job, and genres of up to two tokens.
    model, flops = report("DNN")
    inputs = 5 * E_
    embeddings = (4 + 2) * E_
    assert flops == embeddings + inputs * 128 + 128 * 64 + 64 * 32 + 32
    assert count_parameters(model)[1] == 128 * inputs + 10_497


def test_dpg_counts_generator_factors_and_weighted_product():
    _, flops = report("DPG", n=4, m=8, k=2)
    inputs, total = 5 * E_, 6 * E_
    for fan_in, fan_out in ((inputs, 128), (128, 64), (64, 32)):
        generator = (E_ + fan_in) * 4 * 2
        factors = 4 * 2 * 8
        product = fan_in * fan_out + min(4 * fan_out, 8 * fan_in)
        total += generator + factors + product
    assert flops == total + 32


def test_the_model_is_left_as_it_was():
    config = gaps_config("MIDPG")
    dataset = dataset_of(config)
    dataset._change_feat_format()
    model = get_model("MIDPG")(config, dataset).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    get_flops(model, dataset, torch.device("cpu"), None, construct_transform(config))
    assert model.training
    assert model.state_dict().keys() == before.keys()
    assert not any(module._forward_hooks for module in model.modules())


def test_recboles_models_are_counted_by_recbole():
    _, flops = report("DeepFM")
    assert flops > 0


def test_the_report_tells_parameters_without_embeddings():
    model, _ = report("DNN")
    total, without = count_parameters(model)
    # user 5, item 4, coupon 3, job 3 and genres 3 tokens, padding included.
    assert total - without == (5 + 4 + 3 + 3 + 3) * E_
    assert str(model).endswith(f": {without}")
    assert f": {total}" in str(model)


@pytest.mark.parametrize("model_name", ["DeepFM", "WideDeep", "DCNV2", "FM"])
def test_recboles_count_is_the_same_without_a_copy_of_the_parameters(model_name, monkeypatch):
    config = gaps_config(model_name, threshold=None)
    dataset = dataset_of(config)
    dataset._change_feat_format()
    model = get_model(model_name)(config, dataset).train()
    arguments = (model, dataset, torch.device("cpu"), None, construct_transform(config))
    expected = registry._stock_get_flops(*arguments)

    counted = []
    predict = type(model).predict
    monkeypatch.setattr(
        type(model), "predict", lambda self, batch: counted.append(self) or predict(self, batch)
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    attributes = set(vars(model))
    with copies_share_data(model):
        assert registry._stock_get_flops(*arguments) == expected > 0

    (copied,) = counted
    assert copied is not model
    for own, shared in zip(model.parameters(), copied.parameters(), strict=True):
        assert own is shared
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())
    assert set(vars(model)) == attributes
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)


def test_data_is_shared_by_one_copy_only():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    model[0].cached = model[0](torch.ones(1, 2))  # a tensor that cannot be deep-copied
    model.dataset = dataset_of(gaps_config())  # as RecBole's embeddings of sequences do
    with copies_share_data(model):
        copied = copy.deepcopy(model)
    assert copied.dataset is model.dataset
    assert copied[0] is not model[0]
    assert copied[0].weight is model[0].weight
    assert copied[1].running_mean is model[1].running_mean
    assert copied[0].cached is model[0].cached
    del model[0].cached, model.dataset
    assert copy.deepcopy(model)[0].weight is not model[0].weight
    with copies_share_data(model):
        pass
    assert copy.deepcopy(model)[0].weight is not model[0].weight
