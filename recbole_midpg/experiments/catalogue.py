"""What datasets are known and what of them lies on the disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_midpg.atomic_data_scripts import CONVERTERS, ConversionReport, Converter
from recbole_midpg.atomic_data_scripts.conversion import converter_version
from recbole_midpg.atomic_data_scripts.raw_files import RawFiles
from recbole_midpg.common.config_files import read_config_file
from recbole_midpg.common.errors import UsageError
from recbole_midpg.generated import GENERATED, read_bayes
from recbole_midpg.integration.config.config import build_config
from recbole_midpg.integration.dataset.datasets import (
    ATOMIC_SUFFIXES,
    RAW_FOLDER,
    conversion_manifest,
    dataset_folder,
    datasets_on_disk,
    find_dataset_config,
    find_raw_file,
    missing_files,
    require_unbroken_conversion,
)
from recbole_midpg.loading.readiness import require_ready

READY, STALE, REFUSED = "ready", "stale", "not ready"
_WITHOUT_SCENARIO = "DNN"
RAW, GENERATE, MISSING = "raw file", "generated at first use", "missing"


@dataclass(frozen=True)
class DatasetEntry:
    """A dataset of the catalogue.

    Attributes:
        name: its name.
        state: ``ready`` for a run; ``stale``, ready and made of something else than lies there now;
            ``not ready``, as a run would be refused; ``raw file``, to be converted at the first
            run; ``missing``; or ``generated at first use``.
        note: why it is stale or not ready, a sentence; empty otherwise.
        rows: rows of its ``.inter`` files, ``None`` where no conversion counted them.
        scenarios: its scenarios, by the field that its conversion counted.
        about: what it is.
    """

    name: str
    state: str
    note: str
    rows: int | None
    scenarios: int | None
    about: str


def list_datasets(data_path: str | Path, model: str) -> list[DatasetEntry]:
    """List the datasets that can be converted or generated, and the others on the disk.

    Of files only names, sizes and first lines are looked at; nothing is made.

    Args:
        data_path: the folder of all datasets.
        model: the model that a run is to train.

    Returns:
        The entries: those that can be converted, those that can be generated, and the others.
    """
    folder = Path(data_path)
    generated = {name: entry.converter for name, entry in GENERATED.items()}
    known = {**CONVERTERS, **generated}
    others = [name for name in datasets_on_disk(folder) if name not in known]
    return [
        *(_entry(name, folder, model, converter) for name, converter in known.items()),
        *(_entry(name, folder, model, None) for name in others),
    ]


def _entry(name: str, data_path: Path, model: str, converter: Converter | None) -> DatasetEntry:
    manifest = conversion_manifest(data_path / name, name)
    try:
        state, note = _state(name, data_path, model, converter), ""
    except UsageError as error:
        state, note = REFUSED, str(error)
    if state == READY and converter is not None and manifest is not None:
        note = " ".join(_differences(data_path / name, converter, manifest))
        state = STALE if note else READY
    counted = state in (READY, STALE) and manifest is not None
    report = ConversionReport.from_json(manifest["report"]) if counted and manifest else None
    return DatasetEntry(
        name,
        state,
        note,
        report.rows_out if report else None,
        len(report.scenarios) if report else None,
        converter.title if converter else "atomic files",
    )


def _state(name: str, data_path: Path, model: str, converter: Converter | None) -> str:
    """What a run would find of a dataset.

    Raises:
        UsageError: what it would be refused for.
    """
    folder = dataset_folder(data_path, name)
    require_unbroken_conversion(folder, name)
    config_file = find_dataset_config(name)
    values = {} if config_file is None else read_config_file(config_file)
    missing = missing_files(folder, name, values.get("benchmark_filename"))
    # Building the config would generate the files.
    if name in GENERATED and (missing or read_bayes(folder) is None):
        return GENERATE
    if missing and converter is not None:
        if find_raw_file(folder / RAW_FOLDER, converter) is not None:
            return RAW
        if not any(path.suffix in ATOMIC_SUFFIXES for path in folder.glob("*")):
            return MISSING
    if missing:
        raise UsageError(f"there is no {' and no '.join(missing)} in {folder}.")
    # Problems of the files are reported before a missing scenario field.
    for checked in (_WITHOUT_SCENARIO, model):
        require_ready(build_config(checked, name, values={"data_path": str(data_path)}))
    return READY


def _differences(folder: Path, converter: Converter, manifest: Mapping[str, Any]) -> Iterator[str]:
    """What is no longer as it was when a conversion made the files, a sentence each."""
    for name, written in manifest["files"].items():
        path = folder / name
        if path.is_file() and path.stat().st_size != written["bytes"]:
            yield f"{path} was changed after its conversion."
    if manifest["version"] != converter_version(converter):
        yield f"Another version converted it; recbole-midpg prepare {converter.name} does it anew."
    raw = find_raw_file(folder / RAW_FOLDER, converter)
    if raw is None or raw.name != manifest["raw"]["name"]:
        return
    try:
        changed = RawFiles(raw, converter).size != manifest["raw"]["bytes"]
    except UsageError as error:  # the files of today could not be converted
        yield str(error)
        return
    if changed:
        yield f"{raw} is not what was converted; recbole-midpg prepare converts it."
