"""What datasets are known and what of them lies on the disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recbole_midpg.atomic_data_scripts import CONVERTERS, ConversionReport
from recbole_midpg.atomic_data_scripts.conversion import read_manifest
from recbole_midpg.data import GENERATED
from recbole_midpg.errors import UsageError
from recbole_midpg.integration.datasets import RAW_FOLDER, datasets_on_disk, find_raw_file


@dataclass(frozen=True)
class DatasetEntry:
    """A dataset of the catalogue.

    Attributes:
        name: its name.
        state: ``ready``, ``raw file`` (to be converted at the first run), ``missing``, or
            ``generated at first use``.
        rows: rows of its ``.inter`` files, ``None`` where no conversion counted them.
        scenarios: its scenarios, by the field that its conversion counted.
        about: what it is.
    """

    name: str
    state: str
    rows: int | None
    scenarios: int | None
    about: str


def list_datasets(data_path: str | Path) -> list[DatasetEntry]:
    """List the datasets that can be converted or generated, and the others on the disk.

    Args:
        data_path: the folder of all datasets.

    Returns:
        The entries: those that can be converted, those that can be generated, and the others.
    """
    folder = Path(data_path)
    on_disk = datasets_on_disk(folder)
    entries = []
    generated = {name: entry.converter for name, entry in GENERATED.items()}
    for name, converter in {**CONVERTERS, **generated}.items():
        report = _read_report(folder / name / f"{name}.manifest.json")
        if name in on_disk:
            state = "ready"
        elif name in generated:
            state = "generated at first use"
        elif find_raw_file(folder / name / RAW_FOLDER, converter) is not None:
            state = "raw file"
        else:
            state = "missing"
        rows = None if report is None else report.rows_out
        scenarios = None if report is None else len(report.scenarios)
        entries.append(DatasetEntry(name, state, rows, scenarios, converter.title))
    others = [name for name in on_disk if name not in {*CONVERTERS, *generated}]
    return entries + [DatasetEntry(name, "ready", None, None, "atomic files") for name in others]


def _read_report(manifest_path: Path) -> ConversionReport | None:
    try:
        manifest = read_manifest(manifest_path)
    except UsageError:
        # A foreign file is no reason to hide the other datasets.
        return None
    return None if manifest is None else ConversionReport.from_json(manifest["report"])
