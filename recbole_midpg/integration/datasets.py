"""From a dataset's name to its config file and its folder."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import recbole
import yaml

from recbole_midpg.errors import UsageError, did_you_mean

_RECBOLE_FOLDER = Path(recbole.__file__).parent


def find_dataset_config(dataset: str) -> Path | None:
    """Find a dataset's config file: the user's ``./dataset_configs/`` first, then the package's.

    Args:
        dataset: the dataset's name.

    Returns:
        The file, ``None`` where there is none.
    """
    packaged = Path(str(resources.files("recbole_midpg.dataset_configs")))
    for folder in (Path("dataset_configs"), packaged):
        path = folder / f"{dataset}.yaml"
        if path.is_file():
            return path
    return None


def downloadable_datasets() -> list[str]:
    """The datasets that RecBole itself downloads."""
    text = (_RECBOLE_FOLDER / "properties" / "dataset" / "url.yaml").read_text(encoding="utf-8")
    return sorted(yaml.safe_load(text))


def datasets_on_disk(data_path: Path) -> list[str]:
    """The datasets whose atomic files lie below ``data_path``, and the one that RecBole ships."""
    shipped = {path.parent.name for path in _RECBOLE_FOLDER.glob("dataset_example/*/*.inter")}
    found = {path.parent.name for path in data_path.glob("*/*.inter")}
    return sorted(shipped | found)


def require_dataset(config: Any) -> None:
    """Check that a dataset's files are there or that RecBole can download them.

    Raises:
        UsageError: neither is the case.
    """
    name, folder = config["dataset"], Path(config["data_path"])
    downloadable = downloadable_datasets()
    if folder.is_dir():
        if not any(folder.glob(f"{name}*.inter")):
            raise UsageError(
                f"dataset: there is no {name}.inter in the folder {folder}, expected atomic files."
            )
        return
    if name in downloadable:
        return
    on_disk = datasets_on_disk(folder.parent)
    hint = did_you_mean(name, [*on_disk, *downloadable])
    raise UsageError(
        f"dataset: {name!r} is not known and there is no folder {folder}{hint or '.'}\n"
        f"On disk: {', '.join(on_disk)}.\n"
        f"RecBole can download: {', '.join(downloadable)}."
    )
