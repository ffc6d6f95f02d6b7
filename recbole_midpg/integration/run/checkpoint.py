"""Checkpoints of plain values: written whole or not at all, read without running what they hold.

Cause: RecBole pickles its ``Config`` into every checkpoint and reads it with a bare
``torch.load``, which refuses such a file since torch 2.6 and runs whatever it holds before. Here
the config is written as plain values, so that ``weights_only=True`` reads the file on every torch;
nothing is allowed beside torch's own tensors. A file that needs more, as RecBole's own checkpoints
do, is refused.
"""

from __future__ import annotations

import functools
import os
import pickle
import struct
import warnings
import zipfile
import zlib
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch
from recbole.config import Config
from recbole.quick_start import quick_start
from recbole.utils import (
    EvaluatorType,
    InputType,
    ModelType,
    init_seed,
    set_color,
)

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.file_names import require_file_name
from recbole_midpg.common.plain_values import (
    NOT_ENCODED,
    Codec,
    Kind,
    NotPlainError,
    enum_kind,
)
from recbole_midpg.common.whole_files import written_whole
from recbole_midpg.integration.dataset.dataset_download import MAY_DOWNLOAD
from recbole_midpg.integration.dataset.number_scaling import (
    check_scalers,
    scalers_from_plain,
    scalers_to_plain,
)
from recbole_midpg.integration.dataset.rare_tokens import (
    check_rare_tokens,
    rare_tokens_from_plain,
    rare_tokens_to_plain,
)
from recbole_midpg.integration.dataset.vocabulary import check_vocabulary, vocabulary_of
from recbole_midpg.integration.models.registry import get_model
from recbole_midpg.integration.run.log_file import init_logger
from recbole_midpg.integration.run.process_group import rank

# What torch's reader meets in bytes that are not what was written.
_DAMAGE = (
    *(RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, TypeError),
    *(AttributeError, AssertionError, OverflowError, MemoryError, struct.error),
)
# Made anew from the machine that reads the checkpoint. With a rank, RecBole would join the
# processes of whatever machine the file names.
_DEVICE_KEYS = frozenset({"device", "local_rank", "single_spec"})

CONFIG_VALUES = Codec(
    enum_kind(ModelType, EvaluatorType, InputType), leaves=(torch.Tensor,), otherwise=str
)
"""Encodes a config's values and a run's state; what is of no known kind is written as its text."""


# --------------------------------------------------------------------------------------------------
# Config <-> plain values


def config_to_plain(config: Config) -> dict[str, Any]:
    """Turn a config into plain values.

    Args:
        config: RecBole's ``Config``.

    Returns:
        The model's and the dataset's name and every final value, enums by name; without what
        depends on the machine.
    """
    values = {
        key: CONFIG_VALUES.encode(value)
        for key, value in config.final_config_dict.items()
        if key not in _DEVICE_KEYS
    }
    return {"model": config["model"], "dataset": config["dataset"], "values": values}


def config_from_plain(plain: dict[str, Any], place: str) -> Config:
    """Rebuild a config from :func:`config_to_plain`'s values, on this machine's device.

    The values may be a stranger's: the model and the dataset are names, and what would let RecBole
    write files or talk to another machine is dropped.

    Args:
        plain: the values.
        place: where they were read, for the error.

    Raises:
        UsageError: the model is not known here, or the values are not a config's.
    """
    try:
        return _rebuilt(plain["model"], plain["dataset"], plain["values"], place)
    except UsageError:
        raise
    except NOT_ENCODED as error:
        raise UsageError(f"{place}: its config is not one of recbole-midpg ({error!r}).") from error


def _rebuilt(model: Any, dataset: Any, values: Any, place: str) -> Config:
    config = Config.__new__(Config)
    config.compatibility_settings()
    config._init_parameters_category()
    config.yaml_loader = config._build_yaml_loader()
    config.model = require_file_name(f"{place}: its model", model)
    config.dataset = require_file_name(f"{place}: its dataset", dataset)
    config.model_class = get_model(config.model)
    config.final_config_dict = {
        **{
            key: CONFIG_VALUES.decode(value)
            for key, value in values.items()
            if key not in _DEVICE_KEYS
        },
        "model": config.model,
        "dataset": config.dataset,
    }
    config._init_device()
    return config


# --------------------------------------------------------------------------------------------------
# What some of RecBole's models keep beside their parameters


def _coordinates(matrix: scipy.sparse.coo_matrix) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(array) for array in (matrix.row, matrix.col, matrix.data))


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.cpu().numpy()


_OTHER_VALUES = Codec(
    Kind(
        ("sparse", "shape", "row", "column", "data"),
        scipy.sparse.issparse,
        lambda matrix: (matrix.format, list(matrix.shape), *_coordinates(matrix.tocoo())),
        lambda form, shape, row, column, data: scipy.sparse.coo_matrix(
            (_array(data), (_array(row), _array(column))), shape=shape
        ).asformat(form),
    ),
    Kind(
        ("array",),
        lambda value: isinstance(value, np.ndarray) and value.dtype.kind in "biuf",
        lambda array: (torch.from_numpy(np.ascontiguousarray(array)),),
        _array,
    ),
    leaves=(torch.Tensor,),
)


def other_to_plain(model: Any) -> dict[str, Any]:
    """Turn a model's ``other_parameter()`` into plain values.

    Parts of the model that are modules, as DIN names them, are left out: their weights are in the
    ``state_dict``. Arrays of numpy become tensors, sparse matrices of scipy their coordinates.

    Args:
        model: a model of RecBole.

    Returns:
        The values that :func:`load_checkpoint` can read.

    Raises:
        UsageError: the model keeps something else.
    """
    plain = {}
    for name, value in model.other_parameter().items():
        if isinstance(value, torch.nn.Module):
            continue
        try:
            plain[name] = _OTHER_VALUES.encode(value)
        except NotPlainError as error:
            raise UsageError(
                f"checkpoint: {type(model).__name__}.{name} holds a {error.type_name}, "
                "which could only be pickled; expected plain values, arrays or tensors."
            ) from error
    return plain


# --------------------------------------------------------------------------------------------------
# Files


def write_atomically(state: Any, path: str | os.PathLike[str]) -> None:
    """Write with ``torch.save``, whole or not at all.

    Raises:
        UsageError: the disk is full or the folder cannot be written.
    """
    # Where torch opens the file itself, its error does not say why writing failed.
    with written_whole([Path(path)]) as (part,), part.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            # After a write that failed, or that Ctrl-C broke off, torch still writes the archive's
            # end, and reports that this fails instead.
            if isinstance(error.__context__, (OSError, KeyboardInterrupt)):
                raise error.__context__ from None
            raise


def load_checkpoint(path: str | os.PathLike[str], map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint without running anything that it holds.

    Args:
        path: a file written by a trainer.
        map_location: where tensors go, as in ``torch.load``.

    Returns:
        The checkpoint; its ``config`` is a ``Config``.

    Raises:
        UsageError: there is no such file, it is damaged, it is no checkpoint, or it holds more than
            plain values.
    """
    if not Path(path).is_file():
        raise UsageError(f"checkpoint {os.fspath(path)!r}: there is no such file.")
    checkpoint = load_plain(path, map_location, "checkpoint")
    if not isinstance(checkpoint, dict) or not {"config", "state_dict"} <= checkpoint.keys():
        raise UsageError(f"checkpoint {os.fspath(path)!r}: the file holds no model of RecBole.")
    place = f"checkpoint {os.fspath(path)!r}"
    checkpoint["config"] = config_from_plain(checkpoint["config"], place)
    return checkpoint


def load_plain(path: str | os.PathLike[str], map_location: Any, kind: str) -> Any:
    """Read a torch file of plain values.

    Args:
        path: an existing file.
        map_location: where tensors go.
        kind: what the file should be, for the error's sentence.

    Raises:
        UsageError: the file is damaged or holds more than plain values.
    """
    place = f"{kind} {os.fspath(path)!r}"
    if Path(path).suffix == ".json":
        raise UsageError(f"{place}: it is the report of a run, expected the .pth file beside it.")
    try:
        _check_archive(path)
        # Of a foreign pickle torch also warns, in two lines beside the sentence.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(
                os.fspath(path),
                map_location=map_location,
                weights_only=True,
                # Mapped, so that a part nobody reads, as the optimizer's in evaluation, takes no
                # memory.
                mmap=torch.device(map_location).type == "cpu",
            )
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{place}: the file holds more than plain values and is not unpickled "
            "(RecBole without recbole-midpg writes such files)."
        ) from error
    except _DAMAGE as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{place}: the file is damaged ({first_line}).") from error


def _check_archive(path: str | os.PathLike[str]) -> None:
    """Check that a file is in torch's present format, a zip archive, and every byte of it.

    torch does not check what it maps. Of its older formats, which nothing here writes, torch before
    2.6 runs what a crafted file says even with ``weights_only`` (CVE-2025-32434).

    Raises:
        OSError: it is in another format, a part of it is not what was written, or a part is
            compressed: torch compresses nothing, and who does may have packed more than fits the
            memory.
    """
    try:
        if not zipfile.is_zipfile(path):
            raise OSError("it is cut off, or no archive as torch writes it")
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.compress_type != zipfile.ZIP_STORED:
                    raise OSError(f"its part {info.filename} is compressed")
            damaged = archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, zlib.error) as error:
        raise OSError(str(error)) from error
    if damaged is not None:
        raise OSError(f"its part {damaged} is not what was written")


# --------------------------------------------------------------------------------------------------
# RecBole's methods, with these files


def checkpoint_of(trainer: Any, epoch: int, best_epoch: int | None) -> dict[str, Any]:
    """The content of a checkpoint.

    Args:
        trainer: RecBole's ``Trainer`` after an epoch.
        epoch: its number.
        best_epoch: the epoch that is the best so far, if there is one.

    Returns:
        RecBole's own entries as plain values; the vocabulary of the dataset that embeddings belong
        to, ``None`` where the trainer has none; how numbers were scaled and which tokens were rare;
        and, for a run that can go on, its state.
    """
    content = {
        "config": config_to_plain(trainer.config),
        "epoch": epoch,
        "cur_step": trainer.cur_step,
        "best_valid_score": float(trainer.best_valid_score),
        "state_dict": trainer.model.state_dict(),
        "other_parameter": other_to_plain(trainer.model),
        "optimizer": trainer.optimizer.state_dict(),
        "vocabulary": trainer.vocabulary,
        "number_scalers": scalers_to_plain(getattr(trainer.model, "number_scalers", {})),
        "rare_tokens": rare_tokens_to_plain(getattr(trainer.model, "rare_tokens", {})),
    }
    if trainer.run_state is not None:
        content["run_state"] = CONFIG_VALUES.encode(trainer.run_state(best_epoch))
    return content


def save_checkpoint(self: Any, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
    """Stand in for ``Trainer._save_checkpoint``."""
    path = kwargs.pop("saved_model_file", self.saved_model_file)
    # Made by every process: rows of tables are brought up to date, and random states gathered.
    content = checkpoint_of(self, epoch, best_epoch=epoch)
    self.saved_epoch = epoch
    if rank() != 0:
        return
    write_atomically(content, path)
    if verbose:
        self.logger.info(set_color("Saving current", "blue") + f": {path}")


def save_pretrained_model(self: Any, epoch: int, saved_model_file: str) -> None:
    """Stand in for ``PretrainTrainer.save_pretrained_model``."""
    state = {
        "config": config_to_plain(self.config),
        "epoch": epoch,
        "state_dict": self.model.state_dict(),
        "optimizer": self.optimizer.state_dict(),
        "other_parameter": other_to_plain(self.model),
    }
    write_atomically(state, saved_model_file)
    self.saved_model_file = saved_model_file


def load_weights(model: Any, checkpoint: dict[str, Any], path: str) -> None:
    """Give a model the weights of a checkpoint.

    Args:
        model: the model.
        checkpoint: what :func:`load_checkpoint` gave.
        path: where it was read, for the error.

    Raises:
        UsageError: they do not fit, or were trained on numbers that were scaled otherwise, or with
            other rare tokens.
    """
    place = f"checkpoint {path!r}"
    saved_scalers = scalers_from_plain(checkpoint.get("number_scalers"), place)
    check_scalers(saved_scalers, getattr(model, "number_scalers", {}), place)
    saved_rare = rare_tokens_from_plain(checkpoint.get("rare_tokens"), place)
    check_rare_tokens(saved_rare, getattr(model, "rare_tokens", {}), place)
    try:
        model.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        name = checkpoint["config"]["model"]
        raise UsageError(
            f"checkpoint {path!r}: its weights, of model {name} on dataset "
            f"{checkpoint['config']['dataset']}, do not fit this {type(model).__name__} ({error})."
        ) from error
    _load_other_values(model, checkpoint.get("other_parameter"), place)


def _load_other_values(model: Any, plain: Any, place: str) -> None:
    """Give a model what it keeps beside its parameters, as :func:`other_to_plain` wrote it."""
    try:
        others = dict(_OTHER_VALUES.decode(plain) or {})
    except NOT_ENCODED as error:
        raise UsageError(
            f"{place}: what its model keeps beside its parameters is damaged ({error!r})."
        ) from error
    unknown = sorted(others.keys() - model.other_parameter().keys())
    if unknown:
        raise UsageError(
            f"{place}: it sets {', '.join(map(str, unknown))}, which "
            f"{type(model).__name__} does not keep in a checkpoint."
        )
    model.load_other_parameter(others)


def resume_checkpoint(self: Any, resume_file: str) -> None:
    """Stand in for ``Trainer.resume_checkpoint``."""
    path = str(resume_file)
    checkpoint = load_checkpoint(path, self.device)
    saved_model = checkpoint["config"]["model"]
    if saved_model.lower() != self.config["model"].lower():
        raise UsageError(
            f"checkpoint {path!r}: it holds a {saved_model}, expected a {self.config['model']}."
        )
    load_weights(self.model, checkpoint, path)
    self.optimizer.load_state_dict(checkpoint["optimizer"])
    self.saved_model_file = path
    self.start_epoch = checkpoint["epoch"] + 1
    self.cur_step = checkpoint["cur_step"]
    self.best_valid_score = checkpoint["best_valid_score"]
    self.logger.info(f"Checkpoint loaded. Resume training from epoch {self.start_epoch}")


def with_safe_loading(stock: Any) -> Any:
    """Wrap ``Trainer.evaluate`` so that the best model is read by :func:`load_checkpoint`."""

    @functools.wraps(stock)
    def evaluate(
        self: Any,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
    ) -> Any:
        if eval_data and load_best_model:
            load_best(self, model_file)
        return stock(self, eval_data, load_best_model=False, show_progress=show_progress)

    return evaluate


def load_best(trainer: Any, model_file: str | None = None) -> None:
    """Give a trainer's model the weights of a checkpoint, of its best epoch by default."""
    path = str(model_file or trainer.saved_model_file)
    load_weights(trainer.model, load_checkpoint(path, trainer.device), path)
    trainer.logger.info(f"Loading model structure and parameters from {path}")


def _for_reading(config: Config) -> Config:
    """Let a checkpoint's config decide which dataset is read, and nothing that is written."""
    config[MAY_DOWNLOAD] = config["save_dataset"] = False
    if config["dataset_cache_dir"] is not None:
        config["dataset_cache"] = False
    return config


def load_data_and_model(model_file: str) -> tuple[Any, Any, Any, Any, Any, Any]:
    """Stand in for ``recbole.quick_start.load_data_and_model``: a checkpoint's model and its data.

    Args:
        model_file: a checkpoint.

    Nothing is downloaded for it, and no data is written but to the user's own cache.

    Returns:
        config, model, dataset, train_data, valid_data, test_data.

    Raises:
        UsageError: see :func:`load_checkpoint`; or the dataset is not there.
    """
    checkpoint = load_checkpoint(model_file)
    config = checkpoint["config"]
    init_seed(config["seed"], config["reproducibility"])
    init_logger(config)
    getLogger().info(config)
    return restore(checkpoint, model_file)


def restore(checkpoint: dict[str, Any], path: str) -> tuple[Any, Any, Any, Any, Any, Any]:
    """Build a checkpoint's model and load its data; see :func:`load_data_and_model`.

    Args:
        checkpoint: what :func:`load_checkpoint` gave.
        path: where it was read, for errors.
    """
    config = _for_reading(checkpoint["config"])
    init_seed(config["seed"], config["reproducibility"])
    dataset = quick_start.create_dataset(config)
    getLogger().info(dataset)
    place = f"checkpoint {path!r}"
    # The same split would give the same numbers, but its values may have changed since.
    dataset.number_scalers = scalers_from_plain(checkpoint.get("number_scalers"), place)
    dataset.fitted_rare_tokens = rare_tokens_from_plain(checkpoint.get("rare_tokens"), place)
    if checkpoint.get("vocabulary") is not None:
        check_vocabulary(checkpoint["vocabulary"], vocabulary_of(dataset), place)
    train_data, valid_data, test_data = quick_start.data_preparation(config, dataset)

    init_seed(config["seed"], config["reproducibility"])
    model = get_model(config["model"])(config, train_data._dataset).to(config["device"])
    load_weights(model, checkpoint, path)
    return config, model, dataset, train_data, valid_data, test_data
