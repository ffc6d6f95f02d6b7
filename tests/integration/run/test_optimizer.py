"""Which optimizer RecBole's trainer gets, and that the choice does not change what is learned."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.trainer import Trainer
from recbole.utils import get_model, get_trainer, init_seed

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.run import optimizer as integration
from recbole_midpg.training.adam import Adam
from recbole_midpg.training.row_wise_adam import RowWiseAdam
from recbole_midpg.training.trainer import ScenarioTrainer


@pytest.fixture
def trainer_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("sys.argv", ["test"])
    monkeypatch.chdir(tmp_path)

    def make(model: str, **settings: Any) -> Any:
        settings = {
            "epochs": 1,
            "train_batch_size": 4096,
            "learning_rate": 0.001,
            "embedding_prior": 0.0,  # or RecBole's models would have this package's trainer
            "show_progress": False,
        } | settings
        config = Config(model=model, dataset="ml-100k", config_dict=settings)
        init_seed(config["seed"], config["reproducibility"])
        train, valid, _ = data_preparation(config, create_dataset(config))
        init_seed(config["seed"], config["reproducibility"])
        recommender = get_model(config["model"])(config, train._dataset)
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, recommender)
        return trainer, train, valid

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("DNN", {}),
        ("MIDPG", {}),
        ("DeepFM", {}),
        # Reads a whole table in its loss.
        ("xDeepFM", {"cin_layer_size": [4, 4], "mlp_hidden_size": [16]}),
    ],
)
def test_learns_what_dense_adam_learns(
    trainer_of: Any, model: str, settings: dict[str, Any]
) -> None:
    results, weights = {}, {}
    for switch in ("off", "on"):
        trainer, train, valid = trainer_of(model, sparse_updates=switch, epochs=2, **settings)
        assert isinstance(trainer.optimizer, RowWiseAdam) == (switch == "on" or "FM" not in model)
        _, results[switch] = trainer.fit(train, valid, verbose=False, saved=False)
        weights[switch] = trainer.model.state_dict()
    for metric, value in results["off"].items():
        assert results["on"][metric] == pytest.approx(value, abs=5e-4)
    for name, dense in weights["off"].items():
        if dense.dtype.is_floating_point:
            # Rounding decides where a gradient is near 0: a few weights differ by some steps.
            difference = (weights["on"][name] - dense).abs()
            assert difference.median() < 5e-5, name
            assert difference.mean() < 5e-4, name


def test_auto_takes_large_tables_only(
    trainer_of: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    trainer, *_ = trainer_of("DeepFM")
    assert type(trainer.optimizer) is torch.optim.Adam
    trainer, *_ = trainer_of("DNN")
    assert trainer.optimizer.row_wise_tables() == []
    assert "by the row" not in caplog.text

    monkeypatch.setitem(integration.LARGE_TABLE, "cpu", 5)
    trainer, *_ = trainer_of("DNN", train_batch_size=500)
    (table,) = trainer.optimizer.row_wise_tables()
    rows = table.num_embeddings
    assert 5 * 500 <= rows < 5 * 600
    assert (
        f"Adam updates tables by the row: token_embedding_table.embedding ({rows} x 10)."
        in caplog.text
    )
    trainer, *_ = trainer_of("DNN", train_batch_size=600)
    assert trainer.optimizer.row_wise_tables() == []


@pytest.mark.parametrize("samples", [512, 8192, 65536])
def test_the_table_of_43_million_users_is_updated_by_the_row_on_a_gpu(samples: int) -> None:
    assert integration.rows_of_a_large_table("cuda", samples, False) < 43_000_000
    assert integration.rows_of_a_large_table("cuda", samples, True) < 43_000_000


def test_auto_decides_by_the_device(trainer_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(integration.LARGE_TABLE, "cuda", 5)
    trainer, *_ = trainer_of("DNN", train_batch_size=500)
    assert trainer.optimizer.row_wise_tables() == []


class TestTrainerThatCaptures:
    """Its optimizer's step can be captured, and on a CPU takes the same steps."""

    @pytest.fixture(autouse=True)
    def captures(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Trainer, "captures", True, raising=False)
        monkeypatch.setattr(ScenarioTrainer, "_can_capture", lambda *_: Trainer.captures)

    def weights_after(self, trainer: Any, train: Any, optimizer: Any) -> dict[str, torch.Tensor]:
        for _, batch in zip(range(10), train, strict=False):
            optimizer.zero_grad()
            trainer.model.calculate_loss(batch).backward()
            optimizer.step()
            if trainer.captures:
                optimizer.between_steps()
        return trainer.model.state_dict()

    def test_tables_by_the_row(self, trainer_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        weights = []
        for captures in (True, False):
            monkeypatch.setattr(Trainer, "captures", captures)
            trainer, train, _ = trainer_of("DNN", sparse_updates="on")
            assert isinstance(trainer.optimizer, RowWiseAdam)
            assert trainer.optimizer.capturable == captures
            weights.append(self.weights_after(trainer, train, trainer.optimizer))
        torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize(
        ("model", "settings"),
        [
            ("DeepFM", {}),
            ("DeepFM", {"weight_decay": 0.01}),
            ("DNN", {"clip_grad_norm": {"max_norm": 1.0}}),
        ],
    )
    def test_whole_tables(self, trainer_of: Any, model: str, settings: dict[str, Any]) -> None:
        trainer, train, _ = trainer_of(model, **settings)
        ours = trainer.optimizer
        assert type(ours) is Adam
        assert ours.capturable
        weights = self.weights_after(trainer, train, ours)

        trainer, train, _ = trainer_of(model, **settings)
        theirs = torch.optim.Adam(
            trainer.model.parameters(),
            lr=trainer.learning_rate,
            weight_decay=settings.get("weight_decay", 0.0),
            fused=ours.param_groups[0]["fused"],
        )
        theirs.between_steps = lambda: None  # type: ignore[attr-defined]
        expected = self.weights_after(trainer, train, theirs)
        torch.testing.assert_close(weights, expected, rtol=1e-4, atol=1e-6)

    def test_several_processes_exchange_rows_that_another_has_looked_up(
        self, trainer_of: Any
    ) -> None:
        trainer, *_ = trainer_of("DNN", sparse_updates="on")
        trainer.config["single_spec"] = False
        assert not trainer._build_optimizer().capturable

    def test_other_learners_stay_with_recbole(self, trainer_of: Any) -> None:
        trainer, *_ = trainer_of("DNN", learner="sgd")
        assert type(trainer.optimizer) is torch.optim.SGD


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"weight_decay": 0.01}, "as weight_decay: 0.01 needs it"),
        ({"clip_grad_norm": {"max_norm": 1.0}}, "as clip_grad_norm: {'max_norm': 1.0} needs it"),
    ],
)
def test_what_needs_whole_gradients_is_updated_as_a_whole(
    trainer_of: Any, caplog: pytest.LogCaptureFixture, settings: dict[str, Any], words: str
) -> None:
    caplog.set_level(logging.INFO)
    # A table of 100 rows is large beside a batch of one.
    trainer, *_ = trainer_of("DNN", train_batch_size=1, **settings)
    assert type(trainer.optimizer) is torch.optim.Adam
    assert trainer.optimizer.param_groups[0]["weight_decay"] == settings.get("weight_decay", 0)
    assert words in caplog.text


def test_lazy_adam_is_a_learner(trainer_of: Any) -> None:
    trainer, train, valid = trainer_of("MIDPG", learner="lazy_adam", sparse_updates="on")
    best, _ = trainer.fit(train, valid, verbose=False, saved=False)
    assert isinstance(trainer.optimizer, RowWiseAdam)
    assert len(trainer.optimizer.row_wise_tables()) > 0
    assert best > 0.55


def test_lazy_adam_without_a_large_table_is_adam(
    trainer_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    trainer, *_ = trainer_of("DeepFM", learner="lazy_adam")
    assert type(trainer.optimizer) is torch.optim.Adam
    assert "unrecognized" not in caplog.text


def test_other_learners_stay_with_recbole(trainer_of: Any) -> None:
    trainer, *_ = trainer_of("DNN", learner="sgd")
    assert type(trainer.optimizer) is torch.optim.SGD


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"sparse_updates": "always"},
            "sparse_updates: 'always' is not allowed, expected one of auto, on, off.",
        ),
        (
            {"learner": "lazy_adam", "sparse_updates": False},
            "learner: 'lazy_adam' does not go with sparse_updates: off, expected 'adam'.",
        ),
        (
            {"learner": "Lazy_Adam", "weight_decay": 0.1},
            "learner: 'lazy_adam' does not go with weight_decay: 0.1, expected 'adam'.",
        ),
        (
            {"sparse_updates": True, "learner": "AdamW"},
            "sparse_updates: on does not go with learner: adamw, which walks over whole tables, "
            "expected auto or off.",
        ),
        (
            {"sparse_updates": "on", "weight_decay": 0.1},
            "sparse_updates: on does not go with weight_decay: 0.1, which walks over whole "
            "tables, expected auto or off.",
        ),
    ],
)
def test_settings_that_contradict_are_refused(
    trainer_of: Any, settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError) as refused:
        trainer_of("DNN", **settings)
    assert str(refused.value) == sentence


def test_resumes_as_if_never_stopped(trainer_of: Any) -> None:
    """Two epochs, and one epoch, a checkpoint and another epoch, end with the same bits."""
    whole, train, _ = trainer_of("DNN", sparse_updates="on", epochs=2)
    whole.fit(train, verbose=False)
    first, train, _ = trainer_of("DNN", sparse_updates="on", epochs=1)
    first.fit(train, verbose=False)
    second, again, _ = trainer_of("DNN", sparse_updates="on", epochs=2)
    second.resume_checkpoint(first.saved_model_file)
    again.generator.set_state(train.generator.get_state())
    second.fit(again, verbose=False)
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], weight), name
