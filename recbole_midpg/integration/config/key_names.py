"""The names of config keys, of this package's and of RecBole's, known without importing RecBole."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from recbole_midpg.common.errors import UsageError, nearest
from recbole_midpg.integration.recbole_files import recbole_folder

_PROPERTIES = Path(__file__).parents[2] / "properties"
MODEL_PROPERTIES = _PROPERTIES / "model"
RECBOLE_PROPERTIES = recbole_folder() / "properties"
COMMON_DEFAULTS = tuple(
    _PROPERTIES / f"{name}.yaml"
    for name in ("scenario", "generated", "loading", "training", "evaluation")
)
# Keys that earlier versions of this package read, and why they are gone.
REMOVED_KEYS = {
    "compile_model": "torch.compile made training hardly faster, and failed on some models",
}
# Keys that RecBole reads and none of its property files names.
_UNLISTED_KEYS = """
    model dataset config_files nproc ip port world_size group_offset offset local_rank
    encoding double_tower reg_weight discretization
"""
# Other names of keys, as other programs and papers give them to RecBole's.
_OTHER_NAMES = {
    "lr": "learning_rate",
    "batch_size": "train_batch_size",
    "bs": "train_batch_size",
    "test_batch_size": "eval_batch_size",
    "num_epochs": "epochs",
    "n_epochs": "epochs",
    "max_epochs": "epochs",
    "patience": "stopping_step",
    "early_stopping": "stopping_step",
    "optimizer": "learner",
    "l2": "weight_decay",
    "l2_reg": "weight_decay",
    "dropout": "dropout_prob",
    "dropout_rate": "dropout_prob",
    "hidden_size": "mlp_hidden_size",
    "hidden_units": "mlp_hidden_size",
    "embedding_dim": "embedding_size",
    "emb_size": "embedding_size",
    "emb_dim": "embedding_size",
    "num_workers": "worker",
    "random_seed": "seed",
    "gpu": "gpu_id",
    "device": "use_gpu",
    "cuda": "use_gpu",
    "amp": "enable_amp",
    "data": "dataset",
    "data_dir": "data_path",
    "output": "checkpoint_dir",
    "output_dir": "checkpoint_dir",
    "save_dir": "checkpoint_dir",
    "config": "config_files",
    "config_file": "config_files",
    "metric": "metrics",
    "eval_metric": "valid_metric",
    "eval_metrics": "metrics",
    "label": "LABEL_FIELD",
    "split": "eval_args",
    # Names that RecBole's own keys had in its earlier releases.
    "neg_sampling": "train_neg_sample_args",
    "training_neg_sample_num": "train_neg_sample_args",
    "training_neg_sample_distribution": "train_neg_sample_args",
    "eval_setting": "eval_args",
    "group_by_user": "eval_args",
    "split_ratio": "eval_args",
    "leave_one_num": "eval_args",
    "min_user_inter_num": "user_inter_num_interval",
    "max_user_inter_num": "user_inter_num_interval",
    "min_item_inter_num": "item_inter_num_interval",
    "max_item_inter_num": "item_inter_num_interval",
    "lowest_val": "val_interval",
    "highest_val": "val_interval",
    "equal_val": "val_interval",
    "not_equal_val": "val_interval",
    "fields_in_same_space": "alias_of_user_id",
    # Names that keys of this package had in earlier versions.
    "pruning_steps": "pruning_epochs",
}


@functools.cache
def own_keys() -> frozenset[str]:
    """The config keys that this package adds."""
    files = [*COMMON_DEFAULTS, *MODEL_PROPERTIES.glob("*.yaml")]
    return frozenset(keys_of(files))


@functools.cache
def recbole_keys() -> frozenset[str]:
    """The config keys that RecBole's property files name."""
    return general_recbole_keys() | frozenset(keys_of((RECBOLE_PROPERTIES / "model").glob("*")))


@functools.cache
def general_recbole_keys() -> frozenset[str]:
    """The config keys of RecBole that are no single model's."""
    files = [
        path
        for path in RECBOLE_PROPERTIES.rglob("*.yaml")
        if path.parent.name != "model" and path.stem not in {"url", "kg_url"}
    ]
    return frozenset(keys_of(files)).union(_UNLISTED_KEYS.split())


def keys_of(files: Iterable[Path]) -> set[str]:
    """The keys of YAML files."""
    keys: set[str] = set()
    for path in files:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        keys.update(content or {})
    return keys


def require_known_keys(given: Mapping[str, Any], files: Sequence[Path]) -> None:
    """Check that no key is a misspelt one.

    Args:
        given: what the user sets, with ``extra_keys``.
        files: those of the model's defaults; none where it is one of RecBole's.

    Raises:
        UsageError: nothing reads a key, and it is near one that is read or another name of one.
    """
    known = own_keys() | recbole_keys() | _keys_read(files)
    for key in keys_not_read(given, files):
        meant = _OTHER_NAMES.get(key.replace("-", "_").lower())
        if meant is None and key not in known:
            meant = nearest(key, known, cutoff=0.8)
        if meant:
            raise UsageError(
                f"{key}: unknown config key (value {given[key]!r}); did you mean {meant!r}? "
                f"(extra_keys: [{key}] lets it pass.)"
            )


def keys_not_read(given: Mapping[str, Any], files: Sequence[Path]) -> list[str]:
    """The keys that a model does not read and the user does not mean for code of their own.

    Args:
        given: what the user sets, with ``extra_keys``.
        files: those of the model's defaults; none where it is one of RecBole's.
    """
    passed = {*_keys_read(files), *REMOVED_KEYS, *(given.get("extra_keys") or ())}
    return [key for key in given if key not in passed]


def _keys_read(files: Sequence[Path]) -> frozenset[str]:
    """The keys that a model with files of defaults reads; of others, all that RecBole's read."""
    keys = frozenset(keys_of([*files, *COMMON_DEFAULTS]))
    return keys | (general_recbole_keys() if files else recbole_keys())
