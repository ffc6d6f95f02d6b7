"""From a dataset's name to its config file and its atomic files."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

import yaml

from recbole_midpg.atomic_data_scripts import CONVERTERS, Converter, find_converter, prepare
from recbole_midpg.atomic_data_scripts.conversion import read_manifest
from recbole_midpg.atomic_data_scripts.dataset_files import was_cut_off
from recbole_midpg.atomic_data_scripts.download import download
from recbole_midpg.atomic_data_scripts.raw_files import are_in
from recbole_midpg.common.errors import UsageError, did_you_mean
from recbole_midpg.common.rules import Integer
from recbole_midpg.dataset_configs import packaged_config
from recbole_midpg.generated import GENERATED, generate, read_bayes
from recbole_midpg.generated.generate import DEFAULT_SEED, FORMAT_VERSION
from recbole_midpg.integration.recbole_files import recbole_folder

RAW_FOLDER = "raw"
ATOMIC_SUFFIXES = (".inter", ".user", ".item")
_SHIPPED = recbole_folder() / "dataset_example"


def find_dataset_config(dataset: str) -> Path | None:
    """Find a dataset's config file: the user's ``./dataset_configs/`` first, then the package's.

    Args:
        dataset: the dataset's name.

    Returns:
        The file, ``None`` where there is none.
    """
    for path in (Path("dataset_configs", f"{dataset}.yaml"), packaged_config(dataset)):
        if path.is_file():
            return path
    return None


def downloadable_datasets() -> list[str]:
    """The datasets that RecBole itself downloads."""
    text = (recbole_folder() / "properties" / "dataset" / "url.yaml").read_text(encoding="utf-8")
    return sorted(yaml.safe_load(text))


def datasets_on_disk(data_path: Path) -> list[str]:
    """The datasets of which atomic files lie below ``data_path``, and the one RecBole ships."""
    return sorted(
        {
            path.parent.name
            for folder in (_SHIPPED, data_path)
            for suffix in ATOMIC_SUFFIXES
            for path in folder.glob(f"*/*{suffix}")
        }
    )


def dataset_folder(data_path: Path, name: str) -> Path:
    """The folder that RecBole reads a dataset from: its own for the one that it ships."""
    return _SHIPPED / name if (_SHIPPED / name).is_dir() else data_path / name


def atomic_files_exist(config: Any) -> bool:
    """Whether the ``.inter`` files that a config names are all there."""
    folder, name = Path(config["data_path"]), config["dataset"]
    return not missing_files(folder, name, config["benchmark_filename"])


def missing_files(folder: Path, name: str, parts: Sequence[str] | None) -> list[str]:
    """The files of a dataset that a run needs and that are not there.

    Args:
        folder: the dataset's folder.
        name: the dataset.
        parts: ``benchmark_filename``.

    Returns:
        Names of ``.inter`` files, and of all atomic files that a conversion has written.
    """
    needed = [f"{name}.inter"] if parts is None else [f"{name}.{part}.inter" for part in parts]
    manifest = conversion_manifest(folder, name)
    if manifest is not None:
        needed += [file for file in manifest["files"] if file.endswith(ATOMIC_SUFFIXES)]
    return [file for file in dict.fromkeys(needed) if not (folder / file).is_file()]


def conversion_manifest(folder: Path, name: str) -> dict[str, Any] | None:
    """What a conversion has left beside a dataset's files; ``None`` where none has.

    See :func:`~recbole_midpg.atomic_data_scripts.conversion.read_manifest`.
    """
    try:
        manifest = read_manifest(folder / f"{name}.manifest.json")
    except UsageError:  # a foreign file says nothing of this dataset
        return None
    if manifest is None or not all(isinstance(manifest[part], dict) for part in ("files", "raw")):
        return None
    return manifest


def require_unbroken_conversion(folder: Path, name: str) -> None:
    """Check that no conversion was killed while its files took their names.

    Raises:
        UsageError: one was.
    """
    if was_cut_off(folder):
        raise UsageError(
            f"dataset: {folder} is incomplete, as its conversion was killed; "
            f"the same recbole-midpg prepare {shlex.quote(name)} completes it."
        )


def require_known_dataset(name: str, data_path: Path) -> None:
    """Check a dataset's name, before there is a config.

    Args:
        name: the dataset.
        data_path: the folder of all datasets.

    Raises:
        UsageError: nothing is known of it, and it has no folder and no config file.
    """
    folder = dataset_folder(data_path, name)
    known = name in {*CONVERTERS, *GENERATED, *downloadable_datasets()}
    if not known and not folder.is_dir() and find_dataset_config(name) is None:
        raise UsageError(_unknown(name, folder))


def require_dataset(config: Any) -> None:
    """Make sure that a dataset's atomic files are there, or that RecBole can download them.

    Where they are missing and the raw file lies in ``NAME/raw/`` below ``data_path``, it is
    converted. A generated dataset is generated, anew where the config asks for another size or
    seed than lies there, or where an earlier version of the package made what lies there.

    Raises:
        UsageError: they are not there and cannot be made; says where the raw file can be had.
    """
    name, folder = config["dataset"], Path(config["data_path"])
    if name in GENERATED:
        _require_generated(config, folder)
        return
    require_unbroken_conversion(folder, name)
    missing = missing_files(folder, name, config["benchmark_filename"])
    if not missing:
        return
    if name in CONVERTERS:
        converter = CONVERTERS[name]
        raw = find_raw_file(folder / RAW_FOLDER, converter)
        if raw is None:
            raise UsageError(how_to_get(converter, folder, missing))
        report = prepare(name, raw, folder.parent)
        getLogger().warning(report.summary())
    elif folder.is_dir():
        raise UsageError(
            f"dataset: there is no {' and no '.join(missing)} in the folder {folder}, expected "
            "atomic files."
        )
    elif name not in downloadable_datasets():
        raise UsageError(_unknown(name, folder))


def _require_generated(config: Any, folder: Path) -> None:
    rows, seed = config["synthetic_rows"], config["synthetic_seed"]
    size = Integer(minimum=1)
    if rows is not None and not size.accepts(rows):
        raise UsageError(f"synthetic_rows: {rows!r} is not allowed, expected {size.allowed}.")
    if seed is not None and not Integer(minimum=0).accepts(seed):
        raise UsageError(
            f"synthetic_seed: {seed!r} is not allowed, expected {Integer(minimum=0).allowed}."
        )
    here = read_bayes(folder) or {}
    wanted = {
        "rows": here.get("rows") if rows is None else rows,
        "seed": here.get("seed", DEFAULT_SEED) if seed is None else seed,
    }
    # An earlier version of the package made other rows of the same seed.
    origin = {"version": FORMAT_VERSION, **wanted}
    if atomic_files_exist(config) and origin.items() <= here.items():
        return
    report = generate(config["dataset"], folder.parent, **wanted)
    getLogger().warning(report.summary())


def find_raw_file(folder: Path, converter: Converter) -> Path | None:
    """Find a dataset's raw file, plain or compressed; ``None`` where it is not there.

    Of a dataset of several files it is the folder itself.
    """
    if not converter.has_one_file:
        return folder if are_in(folder, converter) else None
    endings = ("", ".gz", ".zip")
    stem = converter.raw_name.rpartition(".")[0]
    candidates = [folder / f"{converter.raw_name}{ending}" for ending in endings]
    candidates.append(folder / f"{stem}.zip")
    return next((path for path in candidates if path.is_file()), None)


def fetch_raw_file(name: str, data_path: Path, show_progress: bool | None = None) -> Path:
    """Download a dataset's public raw file into ``NAME/raw/``.

    Args:
        name: the dataset, one that can be converted.
        data_path: the folder of all datasets.
        show_progress: whether progress is shown; ``None`` shows it on a terminal.

    Returns:
        The file.

    Raises:
        UsageError: there is no public file, or the download fails.
    """
    converter, folder = find_converter(name), data_path / name
    if converter.download_url is None:
        raise UsageError(
            f"--download: {name} has no file that is free for all to fetch; "
            f"see {converter.homepage or 'its generator'}."
        )
    target = folder / RAW_FOLDER / converter.raw_name
    return download(converter.download_url, target, show_progress=show_progress)


def how_to_get(converter: Converter, folder: Path, missing: Sequence[str]) -> str:
    """Say in a few lines where a dataset's raw file can be had, and what to do with it.

    Args:
        converter: the dataset's.
        folder: the dataset's folder.
        missing: the files that are not there.
    """
    raw_names = ", ".join(converter.raw_names)
    target = folder / RAW_FOLDER / raw_names
    names = " and no ".join(missing)
    lines = [f"dataset: there is no {names} in {folder}, and no raw file {target}."]
    if converter.homepage is None:
        lines.append(f"{converter.title}: there is no public file.")
    else:
        lines.append(f"{converter.title}: {raw_names}, from {converter.homepage}.")
    lines.append(f"Licence: {converter.licence}.")
    if converter.download_url is None:
        kind = "FILE" if converter.has_one_file else "FOLDER"
        lines.append(
            f"Put {'the file' if kind == 'FILE' else 'the files'} there, or run: "
            f"recbole-midpg prepare {converter.name} --raw {kind}"
        )
    else:
        lines.append(f"Run: recbole-midpg prepare {converter.name} --download")
    return "\n".join(lines)


def _unknown(name: str, folder: Path) -> str:
    downloadable = downloadable_datasets()
    on_disk = datasets_on_disk(folder.parent)
    hint = did_you_mean(name, [*on_disk, *CONVERTERS, *GENERATED, *downloadable])
    return (
        f"dataset: {name!r} is not known and there is no folder {folder}{hint or '.'}\n"
        f"On disk: {', '.join(on_disk)}.\n"
        f"From a raw file: {', '.join(CONVERTERS)}.\n"
        f"Generated: {', '.join(GENERATED)}.\n"
        f"RecBole can download: {', '.join(downloadable)}."
    )
