"""Checkpoints of models that have not learned, and what they predict in RecBole's own way."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataset.dataset import Dataset
from recbole.utils import FeatureType, get_model

from recbole_midpg.training.trainer import ScenarioTrainer
from tests.support.recbole_data import dataset_of, gaps_config, loaders_of
from tests.support.toy import scrambled


@dataclass(frozen=True)
class Checkpoint:
    config: Config
    path: str
    model: Any
    test_data: Any


def checkpoint_of(config: Config) -> Checkpoint:
    train_data, _, test_data = loaders_of(config)
    model = scrambled(get_model(config["model"])(config, train_data.dataset))
    trainer = ScenarioTrainer(config, model)
    trainer._save_checkpoint(0, verbose=False)
    return Checkpoint(config, trainer.saved_model_file, model.eval(), test_data)


def gaps_checkpoint(folder: Path, model: str = "MIDPG", **values: Any) -> Checkpoint:
    small = {"mlp_hidden_size": [16, 12, 8], "embedding_size": 4}
    return checkpoint_of(gaps_config(model, checkpoint_dir=str(folder), **{**small, **values}))


def ml_100k_checkpoint(folder: Path, model: str = "MIDPG", **values: Any) -> Checkpoint:
    settings = {"checkpoint_dir": str(folder), "show_progress": False, **values}
    return checkpoint_of(Config(model=model, dataset="ml-100k", config_dict=settings))


@torch.no_grad()
def predictions_in_file_order(checkpoint: Checkpoint, stock: bool = False) -> np.ndarray:
    """What the model predicts for the rows of ``.inter``, as RecBole encodes and joins them."""
    dataset = Dataset(checkpoint.config) if stock else dataset_of(checkpoint.config)
    dataset._change_feat_format()
    size = checkpoint.config["eval_batch_size"]
    starts = range(0, len(dataset), size)
    batches = [dataset[list(range(i, min(i + size, len(dataset))))] for i in starts]
    return np.concatenate([checkpoint.model.predict(batch).numpy() for batch in batches])


@torch.no_grad()
def predictions_of_test_data(checkpoint: Checkpoint) -> np.ndarray:
    """What the model predicts for the batches of RecBole's loader."""
    parts = [checkpoint.model.predict(batch).numpy() for batch, *_ in checkpoint.test_data]
    return np.concatenate(parts)


def tokens_of_test_data(checkpoint: Checkpoint) -> dict[str, list[str]]:
    """The test rows as original tokens, those of users and items as well; 0 is an empty text."""
    dataset = checkpoint.test_data.dataset
    columns: dict[str, list[str]] = {}
    for batch, *_ in checkpoint.test_data:
        for name in batch.columns:
            if dataset.field2type[name] is FeatureType.TOKEN:
                texts = ["", *dataset.field2id_token[name][1:]]
                columns.setdefault(name, []).extend(texts[i] for i in batch[name].tolist())
            elif dataset.field2type[name] is FeatureType.TOKEN_SEQ:
                texts = dataset.field2id_token[name]
                rows = [" ".join(texts[i] for i in row if i) for row in batch[name].tolist()]
                columns.setdefault(name, []).extend(rows)
    return columns
