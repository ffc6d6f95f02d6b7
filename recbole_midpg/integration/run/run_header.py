"""What a run is about, in a few lines for the terminal.

Of RecBole's it touches ``Dataset.inter_num``, ``Dataset.field2type``, ``Dataset.uid_field``,
``Dataset.iid_field`` and ``Config.external_config_dict``.
"""

from __future__ import annotations

import logging
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from recbole_midpg.integration.run.process_group import n_processes
from recbole_midpg.models.base import count_parameters

if TYPE_CHECKING:
    from recbole_midpg.integration.run.run import Run

_WIDTH, _LABEL_WIDTH = 100, 12
# Which say where and how to run, not what.
_PLACE = ("nproc", "world_size", "ip", "port", "group_offset", "offset", "local_rank")
_UNTOLD_KEYS = frozenset(("model", "dataset", "config_files", *_PLACE))


def header(run: Run, report: Path | None) -> str:
    """The data, the model's size, the place and the settings of a run that is to be trained.

    Args:
        run: the run.
        report: where its report will be; ``None`` where none is kept.

    Returns:
        At most 19 lines, however many fields and settings there are.
    """
    config, dataset = run.config, run.dataset
    parameters, without_embeddings = count_parameters(run.model)
    lines = [
        f"{config['model']} on {config['dataset']}",
        _entry("rows", f"{dataset.inter_num:,}{''.join(_ids(dataset))}"),
        _entry("fields", f"{len(dataset.field2type)}: {', '.join(dataset.field2type)}", most=4),
        _entry("scenarios", ", ".join(_scenarios(config, dataset)), most=2),
        _entry("splits", ", ".join(_splits(run))),
        _entry("device", _device(config)),
        _entry("parameters", f"{parameters:,}, {without_embeddings:,} without embeddings"),
        _entry("set", ", ".join(_settings(config)), most=6),
        _entry("log", ", ".join(_log_files())),
        _entry("report", f"{report}, the checkpoint beside it" if report else ""),
    ]
    return "\n".join(line for line in lines if line)


def _entry(label: str, text: str, most: int = 1) -> str:
    """A label and a text behind it, of so many lines at most; nothing where there is no text."""
    if not text:
        return ""
    if most == 1:
        return f"{label:{_LABEL_WIDTH}}{text}"
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=f"{label:{_LABEL_WIDTH}}",
        subsequent_indent=" " * _LABEL_WIDTH,
        max_lines=most,
        placeholder=" …",
        break_on_hyphens=False,
    )


def _ids(dataset: Any) -> Iterator[str]:
    for name, field in (("users", dataset.uid_field), ("items", dataset.iid_field)):
        if field in dataset.field2type:
            yield f", {dataset.num(field) - 1:,} {name}"  # the first one stands for none


def _scenarios(config: Any, dataset: Any) -> Iterator[str]:
    names = dict.fromkeys([config["scenario_id_field"], *(config["scenario_fields"] or ())])
    for field in names:
        if field in dataset.field2type:
            yield f"{dataset.num(field) - 1:,} of {field}"


def _splits(run: Run) -> Iterator[str]:
    loaders = {"train": run.train_data, "valid": run.valid_data, "test": run.test_data}
    for name, loader in loaders.items():
        if loader is not None:
            yield f"{name} {len(loader._dataset):,}"


def _device(config: Any) -> str:
    device = torch.device(config["device"])
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    threads = torch.get_num_threads()
    shared = "" if n_processes() == 1 else f", {n_processes()} processes with"
    return f"{device}{name}{shared or ','} {threads} thread{'' if threads == 1 else 's'}"


def _settings(config: Any) -> Iterator[str]:
    """What the user's files, arguments and command line set."""
    for key, value in config.external_config_dict.items():
        if key not in _UNTOLD_KEYS:
            yield f"{key}: {value}"


def _log_files() -> Iterator[str]:
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            yield os.path.relpath(handler.baseFilename)
