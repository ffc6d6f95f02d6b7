"""What trials are made of beside their settings: the dataset's own config file, and its files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_midpg.common.config_files import read_config_file
from recbole_midpg.integration.dataset.datasets import find_dataset_config
from recbole_midpg.loading.atomic_header import files_to_load
from recbole_midpg.loading.dataset_cache import DatasetCache, default_folder

KEPT_LATER = {
    "config_file_values": "what stands in the config files",
    "dataset_config": "what stands in the dataset's config file",
    "files": "the dataset's files",
}
"""What a record says of its data, in words; those of earlier versions do not say it."""


def dataset_config(dataset: str) -> dict[str, Any]:
    """What stands in a dataset's config file; nothing where it has none."""
    path = find_dataset_config(dataset)
    return {} if path is None else read_config_file(path)


def file_digests(config: Any) -> dict[str, str]:
    """The files that a config loads, by name, each with the SHA-256 of what it holds.

    A copied folder has the same ones. Where a file lies as it did before, it is not read again.

    Args:
        config: RecBole's ``Config``.

    Returns:
        Nothing where the files are not there yet, as before a download.
    """
    cache = DatasetCache(config["dataset_cache_dir"] or default_folder())
    return cache.content_keys(files_to_load(config))


def changed_files(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The names of the files that are not as they were; none where one side is not known."""
    if not before or not now:
        return []
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
