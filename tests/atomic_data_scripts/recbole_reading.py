"""What RecBole makes of a converted dataset, in the words of the raw file."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import FeatureType

import recbole_midpg.dataset_configs

CONFIGS = Path(recbole_midpg.dataset_configs.__path__[0])
ALL_FIELDS = {"load_col": None, "seq_len": None}


def config_of(name: str, output: Path, model: str = "DeepFM", **values: Any) -> Config:
    settings = {"data_path": str(output), "show_progress": False, "use_gpu": False, **values}
    return Config(
        model=model,
        dataset=name,
        config_file_list=[str(CONFIGS / f"{name}.yaml")],
        config_dict=settings,
    )


def load(config: Config, caplog: Any) -> Any:
    """Load a dataset, without a warning."""
    with caplog.at_level(logging.WARNING):
        dataset = create_dataset(config)
    assert [record.message for record in caplog.records] == []
    return dataset


def built(config: Config) -> tuple[Any, Any, Any]:
    return data_preparation(config, create_dataset(config))


def column(dataset: Any, field: str) -> list[Any]:
    """A field's values for every row of ``.inter``, as tokens, lists of tokens or numbers."""
    if field in dataset.inter_feat:
        values = dataset.inter_feat[field]
    else:
        entity, features = (
            (dataset.uid_field, dataset.user_feat)
            if dataset.user_feat is not None and field in dataset.user_feat
            else (dataset.iid_field, dataset.item_feat)
        )
        values = [features[field][place] for place in np.asarray(dataset.inter_feat[entity])]
    kind = dataset.field2type[field]
    if kind == FeatureType.TOKEN:
        return [str(dataset.field2id_token[field][int(value)]) for value in values]
    if kind == FeatureType.TOKEN_SEQ:
        tokens = dataset.field2id_token[field]
        return [[str(tokens[int(place)]) for place in value if int(place)] for value in values]
    return [float(value) for value in values]
