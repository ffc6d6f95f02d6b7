"""Filtered datasets saved as plain values, in place of RecBole's pickles.

Cause: ``Dataset.save`` pickles the whole object and ``create_dataset`` unpickles whatever file lies
at that name. Here the object's state is written as plain values and tensors, and read with
``weights_only=True``. Split dataloaders, which RecBole pickles too, are refused: a split follows
from the dataset and the seed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import Enum
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import recbole.data.dataset as recbole_datasets
import torch
from recbole.data.dataset.dataset import Dataset
from recbole.utils import ModelType, set_color

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.dataset.dataset_state import ENUMS
from recbole_midpg.integration.dataset.fast_dataset import DATASET_KEYS, FastDataset
from recbole_midpg.integration.dataset.row_filters import report_left_out
from recbole_midpg.integration.models.model_types import OF_ROWS
from recbole_midpg.integration.run.checkpoint import (
    config_from_plain,
    config_to_plain,
    load_plain,
    write_atomically,
)
from recbole_midpg.loading.atomic_header import files_to_load
from recbole_midpg.loading.atomic_problem import find_problem
from recbole_midpg.loading.dataset_cache import sha256_of

_ATOMS = (bool, int, float, str, type(None))
# Keys that decide what a saved dataset holds.
_SAVED_KEYS = (*DATASET_KEYS, "seed", "repeatable", "synthetic_rows", "synthetic_seed")
_PARTS = frozenset({"config", "files", "dataset"})
_NOT_SAVED = frozenset({"config", "logger"})


def dataset_class_of(config: Any) -> type[Dataset]:
    """The dataset class of a config's model, chosen as RecBole chooses it."""
    own_class = getattr(recbole_datasets, f"{config['model']}Dataset", None)
    if own_class is not None:
        return own_class
    if config["MODEL_TYPE"] in OF_ROWS:
        return FastDataset
    by_type = {
        ModelType.SEQUENTIAL: "SequentialDataset",
        ModelType.KNOWLEDGE: "KnowledgeBasedDataset",
    }
    return getattr(recbole_datasets, by_type.get(config["MODEL_TYPE"], "Dataset"))


def saved_dataset_path(config: Any, dataset_class: type[Dataset]) -> Path:
    """Where the dataset of a config is saved: RecBole's own name in ``checkpoint_dir``."""
    recbole_class = next(
        parent for parent in dataset_class.__mro__ if parent.__module__.startswith("recbole.")
    )
    return Path(config["checkpoint_dir"]) / f"{config['dataset']}-{recbole_class.__name__}.pth"


def create_dataset(config: Any) -> Dataset:
    """Stand in for ``recbole.data.create_dataset``: load the saved dataset or build it.

    Raises:
        UsageError: a file lies at the saved dataset's name that cannot be read safely, or an atomic
            file cannot be loaded.
    """
    dataset_class = dataset_class_of(config)
    named = config["dataset_save_path"]
    path = Path(named) if named else saved_dataset_path(config, dataset_class)
    if path.is_file():
        dataset, files = load_dataset(path, dataset_class)
        if all(config[key] == dataset.config[key] for key in _SAVED_KEYS):
            change = _change_of_files(files, _digests_of_files(config))
            if change is None:
                getLogger().info(set_color("Load filtered dataset from", "pink") + f": [{path}]")
                report_left_out(dataset, config)
                return dataset
            getLogger().warning(
                f"The saved dataset {str(path)!r} is not used, as {change} since it was saved."
            )
    dataset = build_dataset(dataset_class, config)
    report_left_out(dataset, config)
    if config["save_dataset"]:
        dataset.save()
    return dataset


def _digests_of_files(config: Any) -> dict[str, str]:
    """The SHA-256 of each file that a dataset is made of, by the file's name."""
    digests = {}
    for path in files_to_load(config):
        with path.open("rb") as file:
            digests[path.name] = sha256_of(file)
    return digests


def _change_of_files(saved: dict[str, str], here: dict[str, str]) -> str | None:
    """Say how the files differ from those that a saved dataset was made of, if they do.

    Where none of them is left, the saved dataset is all there is.
    """
    if not here:
        return None
    for name in sorted({*saved, *here}):
        if saved.get(name) != here.get(name):
            how = "was removed" if name not in here else "was added" if name not in saved else None
            return f"{name} {how or 'has changed'}"
    return None


def build_dataset(dataset_class: Callable[[Any], Any], config: Any) -> Any:
    """Build a dataset of atomic files.

    Raises:
        UsageError: they cannot be loaded; names the file and line where one is wrong.
    """
    try:
        return dataset_class(config)
    except UsageError:
        raise
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        problem = find_problem(config)
        raise UsageError(
            problem
            or f"dataset {config['dataset']}: its files cannot be loaded with this config "
            f"({type(error).__name__}: {error})."
        ) from error


def save_dataset(self: Dataset) -> None:
    """Stand in for ``Dataset.save``: write the dataset's state into ``checkpoint_dir``."""
    path = saved_dataset_path(self.config, type(self))
    path.parent.mkdir(parents=True, exist_ok=True)
    self.logger.info(set_color("Saving filtered dataset into ", "pink") + f"[{path}]")
    state = {key: value for key, value in vars(self).items() if key not in _NOT_SAVED}
    saved = {
        "config": config_to_plain(self.config),
        "files": _digests_of_files(self.config),
        "dataset": _to_plain(state),
    }
    write_atomically(saved, path)


def load_dataset(
    path: str | os.PathLike[str], dataset_class: type[Dataset]
) -> tuple[Dataset, dict[str, str]]:
    """Rebuild a dataset from :func:`save_dataset`'s file.

    Returns:
        The dataset, and the SHA-256 of each atomic file that it was made of, by the file's name.

    Raises:
        UsageError: the file is damaged, is no saved dataset, or needs more than plain values.
    """
    saved = load_plain(path, "cpu", "saved dataset")
    if not isinstance(saved, dict) or saved.keys() != _PARTS:
        raise UsageError(
            f"saved dataset {os.fspath(path)!r}: the file holds no dataset of this version, "
            "expected one that save_dataset: True has written; remove it."
        )
    dataset = dataset_class.__new__(dataset_class)  # type: ignore[call-overload]
    try:
        vars(dataset).update(_from_plain(saved["dataset"]))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UsageError(
            f"saved dataset {os.fspath(path)!r}: it is not one of recbole-midpg ({error!r})."
        ) from error
    dataset.config = config_from_plain(saved["config"], f"saved dataset {os.fspath(path)!r}")
    dataset.logger = getLogger()
    return dataset, saved["files"]


def refuse_split_dataloaders(config: Any) -> None:
    """Stand in for ``load_split_dataloaders``: there is never one to load.

    Raises:
        UsageError: the config names a file of dataloaders.
    """
    if config["dataloaders_save_path"]:
        raise UsageError(
            f"dataloaders_save_path: {config['dataloaders_save_path']!r} is a pickle, which is not "
            "loaded; leave the key out, the same seed makes the same split."
        )


def refuse_to_save_dataloaders(config: Any, dataloaders: Any) -> None:
    """Stand in for ``save_split_dataloaders``.

    Raises:
        UsageError: always.
    """
    raise UsageError(
        "save_dataloaders: True is not allowed, expected False; dataloaders could only be "
        "pickled, and the same seed makes the same split. save_dataset: True saves the dataset."
    )


def _to_plain(value: Any) -> Any:  # noqa: PLR0911 - one return a kind of value
    """Encode a dataset's attribute; whatever is not a plain value becomes ``[tag, content]``."""
    if isinstance(value, Enum):
        return ["enum", type(value).__name__, value.name]
    if isinstance(value, np.generic):
        return _to_plain(value.item())
    if isinstance(value, (torch.Tensor, *_ATOMS)):
        return value
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biuf":
            return ["array", torch.from_numpy(np.require(value, requirements=["C", "W"]))]
        return ["objects", value.dtype.str, [_to_plain(item) for item in value]]
    if isinstance(value, pd.DataFrame):
        columns = [[name, _to_plain(value[name].to_numpy())] for name in value.columns]
        return ["frame", columns]
    if isinstance(value, dict):
        return ["dict", [[_to_plain(key), _to_plain(item)] for key, item in value.items()]]
    if isinstance(value, (list, tuple, set)):
        return [type(value).__name__, [_to_plain(item) for item in value]]
    raise UsageError(
        f"save_dataset: True is not allowed for this dataset, which holds a "
        f"{type(value).__module__}.{type(value).__qualname__}, expected plain values only."
    )


def _from_plain(value: Any) -> Any:
    """Decode :func:`_to_plain`'s encoding."""
    if not isinstance(value, list):
        return value
    tag, *content = value
    return _DECODERS[tag](*content)


def _decode_objects(dtype: str, items: list[Any]) -> np.ndarray:
    array = np.empty(len(items), dtype=np.dtype(dtype))
    for position, item in enumerate(items):
        array[position] = _from_plain(item)
    return array


def _decode_frame(columns: list[Any]) -> pd.DataFrame:
    # RecBole's own idea of a frame: on pandas 3 the one that fills in place.
    frame_class = recbole_datasets.dataset.pd.DataFrame
    return frame_class({name: _from_plain(column) for name, column in columns})


_DECODERS: dict[str, Callable[..., Any]] = {
    "enum": lambda name, member: ENUMS[name][member],
    "array": lambda tensor: tensor.numpy(),
    "objects": _decode_objects,
    "frame": _decode_frame,
    "dict": lambda items: {_from_plain(key): _from_plain(item) for key, item in items},
    "list": lambda items: [_from_plain(item) for item in items],
    "tuple": lambda items: tuple(_from_plain(item) for item in items),
    "set": lambda items: {_from_plain(item) for item in items},
}
