"""A compiled loss is the loss; where it cannot be compiled, one sentence says so."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from recbole_midpg.errors import UsageError
from recbole_midpg.layers.row_wise_embedding import make_row_wise, tables_of
from recbole_midpg.models.dnn import DNN
from recbole_midpg.training.compilation import compiled_loss
from recbole_midpg.training.row_wise_adam import RowWiseAdam
from tests.toy import toy_batch, toy_model


def compile_by(monkeypatch: pytest.MonkeyPatch, backend: Any) -> None:
    """Trace as torch.compile does, without a C++ compiler, which not every machine has."""
    stock = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function: stock(function, backend=backend))


@pytest.mark.parametrize("row_wise", [False, True])
def test_compiled_training_is_the_plain_one(
    row_wise: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_by(monkeypatch, "aot_eager")
    results = {}
    for compiled in (False, True):
        model = toy_model(DNN)
        tables = make_row_wise(model, tables_of(model)) if row_wise else []
        optimizer = RowWiseAdam(model.parameters(), tables)
        loss_function = compiled_loss(model) if compiled else model.calculate_loss
        losses = []
        for seed in range(4):
            optimizer.zero_grad()
            loss = loss_function(toy_batch(16, seed=seed))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        results[compiled] = losses
    assert results[True] == pytest.approx(results[False], rel=1e-5)


def test_failure_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no compiler\n\nlong advice")

    model = toy_model(DNN)
    compile_by(monkeypatch, broken)
    with pytest.raises(UsageError) as refused:
        compiled_loss(model)(toy_batch(4))
    sentence = str(refused.value)
    assert sentence.startswith("compile_model: True is not possible for DNN here, expected False")
    assert "no compiler" in sentence and "\n" not in sentence
