"""Filtered datasets saved without a pickle.

Cause: ``Dataset.save`` pickles the whole object and ``create_dataset`` unpickles whatever file lies
at that name. Here the file is an entry as the cache has them, with what the dataset was made of.
Split dataloaders, which RecBole pickles too, are refused: a split follows from the dataset and the
seed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from logging import getLogger
from pathlib import Path
from typing import Any

import recbole.data.dataset as recbole_datasets
from recbole.data.dataset.dataset import Dataset
from recbole.utils import ModelType, set_color

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.plain_values import NotPlainError
from recbole_midpg.common.whole_files import written_whole
from recbole_midpg.integration.dataset.dataset_state import (
    STATE_KEYS,
    content_of,
    entry_of,
    take_over,
)
from recbole_midpg.integration.dataset.fast_dataset import FastDataset
from recbole_midpg.integration.dataset.row_filters import report_left_out
from recbole_midpg.integration.models.model_types import OF_ROWS
from recbole_midpg.loading.array_file import Damaged, read_entry, write_entry
from recbole_midpg.loading.atomic_header import files_to_load
from recbole_midpg.loading.atomic_problem import find_problem
from recbole_midpg.loading.dataset_cache import sha256_of


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
        dataset, made_of = load_dataset(path, dataset_class, config)
        if made_of.get("config") == _deciding_values(config):
            change = _change_of_files(made_of["files"], _digests_of_files(config))
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


def _deciding_values(config: Any) -> dict[str, Any]:
    return {key: config[key] for key in STATE_KEYS}


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
    made_of = {"config": _deciding_values(self.config), "files": _digests_of_files(self.config)}
    try:
        entry = entry_of(self, made_of)
    except NotPlainError as error:
        raise UsageError(
            f"save_dataset: True is not allowed for this dataset, which holds a {error.type_name}, "
            "expected plain values only."
        ) from error
    with written_whole([path]) as (part,), part.open("wb") as file:
        write_entry(file, entry)


def load_dataset(
    path: str | os.PathLike[str], dataset_class: type[Dataset], config: Any
) -> tuple[Dataset, dict[str, Any]]:
    """Rebuild a dataset from :func:`save_dataset`'s file.

    Args:
        path: an existing file.
        dataset_class: the class of the dataset.
        config: RecBole's ``Config``, which the dataset takes for its own.

    Returns:
        The dataset, and what it was made of: ``config``, the values of :data:`STATE_KEYS`, and
        ``files``, the SHA-256 of each atomic file by its name.

    Raises:
        UsageError: the file is damaged, or is no saved dataset of this version.
    """
    dataset = dataset_class.__new__(dataset_class)  # type: ignore[call-overload]
    try:
        made_of, state = content_of(read_entry(Path(path)))
        take_over(dataset, config, state)
    except (Damaged, OSError) as error:
        raise UsageError(
            f"saved dataset {os.fspath(path)!r}: the file holds no dataset of this version "
            f"({error}), expected one that save_dataset: True has written; remove it."
        ) from error
    return dataset, made_of


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
