"""RecBole's context-aware models: the same to the bit, without a copy from the host in a batch."""

import importlib
import pkgutil
import sys
from contextlib import contextmanager

import pytest
import torch
from recbole.model import abstract_recommender, context_aware_recommender
from recbole.utils import get_model

from tests.support.fixed_shapes import assert_fixed_shapes
from tests.support.recbole_data import gaps_config, loaders_of

NAMES = (
    *("AFM", "AutoInt", "DCN", "DCNV2", "DeepFM", "DSSM", "EulerNet", "FFM", "FiGNN", "FM"),
    *("FNN", "FwFM", "KD_DAGFM", "LR", "NFM", "PNN", "WideDeep", "xDeepFM"),
)
OPTIONS = {
    "PNN": {"use_inner": True, "use_outer": True},
    "DCNV2": {"mixed": True},
    # What these two cannot take as they are in RecBole's files: sequences of numbers, and numbers.
    "FwFM": {"numerical_features": ["price", "age"]},
    "FFM": {"numerical_features": ["sizes"]},
}


def built(name, model_class=None):
    """A model and a batch of every type of field."""
    config = gaps_config(name, **OPTIONS.get(name, {}))
    train_data, *_ = loaders_of(config)
    torch.manual_seed(0)
    model = (model_class or get_model(name))(config, train_data.dataset)
    return model, next(iter(train_data))


@contextmanager
def stock_classes():
    """Import RecBole's models a second time, as they are in its files."""
    ours = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_model(name)}
    try:
        yield lambda name: getattr(
            importlib.import_module(f"recbole.model.context_aware_recommender.{name.lower()}"), name
        )
    finally:
        for name in list(sys.modules):
            if _is_model(name):
                del sys.modules[name]
        sys.modules.update(ours)
        for name, module in ours.items():
            package, _, attribute = name.rpartition(".")
            if package in sys.modules:
                setattr(sys.modules[package], attribute, module)


def _is_model(name):
    return name == "recbole.model" or name.startswith("recbole.model.")


def test_every_model_is_here():
    files = {info.name for info in pkgutil.iter_modules(context_aware_recommender.__path__)}
    assert files == {name.lower() for name in NAMES}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_a_graph_cannot_capture(name):
    assert_fixed_shapes(*built(name))


@pytest.mark.parametrize("name", NAMES)
def test_results_are_recbole_s_to_the_bit(name):
    ours, batch = built(name)
    with stock_classes() as stock_class:
        stock, _ = built(name, stock_class(name))
    assert type(stock) is not type(ours)
    assert list(stock.state_dict()) == list(ours.state_dict())
    stock.load_state_dict(ours.state_dict())
    results = []
    for model in (stock, ours):
        torch.manual_seed(1)
        loss = model.calculate_loss(batch)
        loss.backward()
        gradients = [value.grad for value in model.parameters() if value.grad is not None]
        results.append([loss, *gradients, model.eval().predict(batch)])
    for of_stock, of_ours in zip(*results, strict=True):
        assert torch.equal(of_stock, of_ours)


def test_the_stock_models_are_noticed():
    """The check sees what the seam is there for."""
    with stock_classes() as stock_class:
        stock, batch = built("DeepFM", stock_class("DeepFM"))
    with pytest.raises(AssertionError, match="new_tensor copies from the host"):
        assert_fixed_shapes(stock, batch)


def test_one_number_alone_is_made_on_a_device():
    made = abstract_recommender.torch.FloatTensor([1e-8]).to("cpu")
    assert torch.equal(made, torch.FloatTensor([1e-8]))
    with pytest.raises(ValueError, match="too many values"):
        abstract_recommender.torch.FloatTensor([1.0, 2.0])
