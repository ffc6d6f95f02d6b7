"""Checkpoints of plain values: written whole or not at all, read without running what they hold.

Cause: RecBole pickles its ``Config`` into every checkpoint and reads it with a bare
``torch.load``, which refuses such a file since torch 2.6 and runs whatever it holds before. Here
the config is written as plain values, so that ``weights_only=True`` reads the file on every torch;
a file written by RecBole itself is read with an explicit list of allowed classes.
"""

from __future__ import annotations

import os
import pickle
from enum import Enum
from importlib import import_module
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import recbole.quick_start
import torch
import yaml
from recbole.config import Config
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.quick_start import quick_start
from recbole.trainer import trainer as recbole_trainer
from recbole.utils import (
    EvaluatorType,
    InputType,
    ModelType,
    get_model,
    init_logger,
    init_seed,
    set_color,
)

from recbole_midpg.errors import UsageError

_ENUMS: dict[str, type[Enum]] = {
    enum.__name__: enum for enum in (ModelType, EvaluatorType, InputType)
}
# Made anew from the machine that reads the checkpoint.
_DEVICE_KEYS = frozenset({"device", "local_rank", "single_spec"})
# Classes that RecBole's own checkpoints refer to, beside model classes.
_ALLOWED_CLASSES = (Config, *_ENUMS.values(), yaml.FullLoader, torch.device)
_ALLOWED_NUMPY = (
    "numpy.core.multiarray.",
    "numpy._core.multiarray.",
    "numpy.dtype",
    "numpy.dtypes.",
)


def install() -> None:
    """Make RecBole's trainers and ``load_data_and_model`` use this module's reading and writing."""
    trainer_class = recbole_trainer.Trainer
    if trainer_class._save_checkpoint is _save_checkpoint:
        return
    trainer_class._save_checkpoint = _save_checkpoint
    trainer_class.resume_checkpoint = _resume_checkpoint
    trainer_class.evaluate = _with_safe_loading(trainer_class.evaluate)
    recbole_trainer.PretrainTrainer.save_pretrained_model = _save_pretrained_model
    for module in (quick_start, recbole.quick_start):
        module.load_data_and_model = load_data_and_model


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
        key: _to_plain(value)
        for key, value in config.final_config_dict.items()
        if key not in _DEVICE_KEYS
    }
    return {"model": config["model"], "dataset": config["dataset"], "values": values}


def config_from_plain(plain: dict[str, Any]) -> Config:
    """Rebuild a config from :func:`config_to_plain`'s values, on this machine's device.

    Raises:
        UsageError: the model is not known here.
    """
    config = Config.__new__(Config)
    config.compatibility_settings()
    config._init_parameters_category()
    config.yaml_loader = config._build_yaml_loader()
    config.model, config.dataset = plain["model"], plain["dataset"]
    config.model_class = get_model(config.model)
    config.final_config_dict = {key: _from_plain(value) for key, value in plain["values"].items()}
    config._init_device()
    return config


def _to_plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return {"enum": type(value).__name__, "member": value.name}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: _to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return type(value)(_to_plain(item) for item in value)
    if value is None or isinstance(value, (bool, int, float, str, torch.Tensor)):
        return value
    return str(value)


def _from_plain(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"enum", "member"}:
            return _ENUMS[value["enum"]][value["member"]]
        return {key: _from_plain(item) for key, item in value.items()}
    return value


# --------------------------------------------------------------------------------------------------
# Files


def write_atomically(state: Any, path: str | os.PathLike[str]) -> None:
    """Write with ``torch.save`` to a temporary name beside ``path``, then rename."""
    temporary = Path(f"{os.fspath(path)}.part")
    try:
        torch.save(state, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: str | os.PathLike[str], map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint without running anything that it holds.

    Args:
        path: a file written by a trainer, ours or RecBole's own.
        map_location: where tensors go, as in ``torch.load``.

    Returns:
        The checkpoint; its ``config`` is a ``Config``.

    Raises:
        UsageError: there is no such file, it is damaged, it is no checkpoint, or it needs classes
            that are not allowed.
    """
    if not Path(path).is_file():
        raise UsageError(f"checkpoint {os.fspath(path)!r}: there is no such file.")
    checkpoint = load_plain(path, map_location, "checkpoint")
    if not isinstance(checkpoint, dict) or not {"config", "state_dict"} <= checkpoint.keys():
        raise UsageError(f"checkpoint {os.fspath(path)!r}: the file holds no model of RecBole.")
    if not isinstance(checkpoint["config"], Config):
        checkpoint["config"] = config_from_plain(checkpoint["config"])
    return checkpoint


def load_plain(path: str | os.PathLike[str], map_location: Any, kind: str) -> Any:
    """Read a torch file of plain values and RecBole's own harmless classes.

    Args:
        path: an existing file.
        map_location: where tensors go.
        kind: what the file should be, for the error's sentence.

    Raises:
        UsageError: the file is damaged or needs classes that are not allowed.
    """
    place = f"{kind} {os.fspath(path)!r}"
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError:
        return _load_with_allowed_classes(path, map_location, place)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UsageError(f"{place}: the file is damaged ({error}).") from error


def _load_with_allowed_classes(path: str | os.PathLike[str], map_location: Any, place: str) -> Any:
    list_globals = getattr(torch.serialization, "get_unsafe_globals_in_checkpoint", None)
    if list_globals is None:
        raise UsageError(
            f"{place}: the file holds more than plain values, which torch {torch.__version__} "
            "cannot read safely; torch 2.6 or newer can."
        )
    try:
        needed = list_globals(path)
        allowed = [_allowed_class(name) for name in needed]
        forbidden = [name for name, found in zip(needed, allowed, strict=True) if found is None]
        if not forbidden:
            with torch.serialization.safe_globals(allowed):
                return torch.load(path, map_location=map_location, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise UsageError(
            f"{place}: the file is no torch file of plain values and is not unpickled."
        ) from error
    raise UsageError(
        f"{place}: the file needs {', '.join(forbidden)}, which is not allowed; "
        "it is not unpickled."
    )


def _allowed_class(name: str) -> Any:
    """Find a class of the allow-list by its full name; ``None`` where it is not on the list."""
    for known in _ALLOWED_CLASSES:
        if name == f"{known.__module__}.{known.__qualname__}":
            return known
    module_name, _, attribute = name.rpartition(".")
    if name.startswith(_ALLOWED_NUMPY):
        return getattr(import_module(module_name), attribute)
    if module_name.startswith(("recbole.model.", "recbole_midpg.models.")):
        found = getattr(import_module(module_name), attribute, None)
        if isinstance(found, type) and issubclass(found, AbstractRecommender):
            return found
    return None


# --------------------------------------------------------------------------------------------------
# RecBole's methods, with these files


def _save_checkpoint(self: Any, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
    """Stand in for ``Trainer._save_checkpoint``."""
    if not self.config["single_spec"] and self.config["local_rank"] != 0:
        return
    path = kwargs.pop("saved_model_file", self.saved_model_file)
    state = {
        "config": config_to_plain(self.config),
        "epoch": epoch,
        "cur_step": self.cur_step,
        "best_valid_score": float(self.best_valid_score),
        "state_dict": self.model.state_dict(),
        "other_parameter": self.model.other_parameter(),
        "optimizer": self.optimizer.state_dict(),
    }
    write_atomically(state, path)
    if verbose:
        self.logger.info(set_color("Saving current", "blue") + f": {path}")


def _save_pretrained_model(self: Any, epoch: int, saved_model_file: str) -> None:
    """Stand in for ``PretrainTrainer.save_pretrained_model``."""
    state = {
        "config": config_to_plain(self.config),
        "epoch": epoch,
        "state_dict": self.model.state_dict(),
        "optimizer": self.optimizer.state_dict(),
        "other_parameter": self.model.other_parameter(),
    }
    write_atomically(state, saved_model_file)
    self.saved_model_file = saved_model_file


def _load_weights(model: Any, checkpoint: dict[str, Any], path: str) -> None:
    try:
        model.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        name = checkpoint["config"]["model"]
        raise UsageError(
            f"checkpoint {path!r}: its weights, of model {name} on dataset "
            f"{checkpoint['config']['dataset']}, do not fit this {type(model).__name__} ({error})."
        ) from error
    model.load_other_parameter(checkpoint.get("other_parameter"))


def _resume_checkpoint(self: Any, resume_file: str) -> None:
    """Stand in for ``Trainer.resume_checkpoint``."""
    path = str(resume_file)
    checkpoint = load_checkpoint(path, self.device)
    saved_model = checkpoint["config"]["model"]
    if saved_model.lower() != self.config["model"].lower():
        raise UsageError(
            f"checkpoint {path!r}: it holds a {saved_model}, expected a {self.config['model']}."
        )
    _load_weights(self.model, checkpoint, path)
    self.optimizer.load_state_dict(checkpoint["optimizer"])
    self.saved_model_file = path
    self.start_epoch = checkpoint["epoch"] + 1
    self.cur_step = checkpoint["cur_step"]
    self.best_valid_score = checkpoint["best_valid_score"]
    self.logger.info(f"Checkpoint loaded. Resume training from epoch {self.start_epoch}")


def _with_safe_loading(stock_evaluate: Any) -> Any:
    """Wrap ``Trainer.evaluate`` so that the best model is read by :func:`load_checkpoint`."""

    def evaluate(
        self: Any,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
    ) -> Any:
        if eval_data and load_best_model:
            path = str(model_file or self.saved_model_file)
            _load_weights(self.model, load_checkpoint(path, self.device), path)
            self.logger.info(f"Loading model structure and parameters from {path}")
        return stock_evaluate(self, eval_data, load_best_model=False, show_progress=show_progress)

    return evaluate


def load_data_and_model(model_file: str) -> tuple[Any, Any, Any, Any, Any, Any]:
    """Stand in for ``recbole.quick_start.load_data_and_model``: a checkpoint's model and its data.

    Args:
        model_file: a checkpoint.

    Returns:
        config, model, dataset, train_data, valid_data, test_data.

    Raises:
        UsageError: see :func:`load_checkpoint`.
    """
    checkpoint = load_checkpoint(model_file)
    config = checkpoint["config"]
    init_seed(config["seed"], config["reproducibility"])
    init_logger(config)
    logger = getLogger()
    logger.info(config)

    dataset = quick_start.create_dataset(config)
    logger.info(dataset)
    train_data, valid_data, test_data = quick_start.data_preparation(config, dataset)

    init_seed(config["seed"], config["reproducibility"])
    model = get_model(config["model"])(config, train_data._dataset).to(config["device"])
    _load_weights(model, checkpoint, model_file)
    return config, model, dataset, train_data, valid_data, test_data
