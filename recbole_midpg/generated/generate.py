"""From a seed to a dataset's folder: raw file, atomic files, and the best possible scores."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from recbole_midpg.atomic_data_scripts import ConversionReport, convert
from recbole_midpg.atomic_data_scripts.progress_bar import ProgressBar
from recbole_midpg.common.errors import UsageError, did_you_mean
from recbole_midpg.generated.bayes import (
    BAYES_FILE,
    DIGITS,
    TRUTH,
    BayesScores,
    bayes_of_split,
    read_bayes,
    truth_file,
    write_bayes,
)
from recbole_midpg.generated.generated_set import GeneratedRows, GeneratedSet

from . import advertising_synth, amazon_electronics_synth, iaac_synth, teacher_synth

GENERATED: dict[str, GeneratedSet] = {
    generated.converter.name: generated
    for generated in (
        amazon_electronics_synth.GENERATED_SET,
        iaac_synth.GENERATED_SET,
        advertising_synth.GENERATED_SET,
        *teacher_synth.GENERATED_SETS,
    )
}
"""The datasets that can be generated, by name."""

FORMAT_VERSION = 3
"""To be raised when the same seed makes other rows than before."""

DEFAULT_SEED = 2023
SPLIT_SEED = 2020
SPLIT_RATIOS = (0.8, 0.1, 0.1)
"""The split whose scores ``bayes.json`` holds: that of the dataset's config and RecBole's seed."""


def generate(
    name: str,
    output: str | Path = "dataset",
    rows: int | None = None,
    seed: int = DEFAULT_SEED,
    show_progress: bool | None = None,
) -> ConversionReport:
    """Generate a dataset, in the raw file's format and then through the real set's converter.

    ``output/NAME/`` then holds ``raw/`` with the raw file, the atomic files, ``NAME.truth.npy``
    with each row's true probability and label, and ``bayes.json``, written last, with the planted
    similarity of scenarios and the best possible scores. A second call with the same rows and seed
    changes nothing.

    Args:
        name: the dataset's name, one of :data:`GENERATED`.
        output: the folder of all datasets, RecBole's ``data_path``.
        rows: how many; ``None`` for as many as the real set has.
        seed: the same seed makes the same files.
        show_progress: whether progress is shown on stderr; ``None`` shows it on a terminal.

    Returns:
        The counts of the conversion; ``changed`` is False where the files were there already.

    Raises:
        UsageError: the name is not known, so many rows cannot be made, or the folder cannot be
            written.
    """
    if name not in GENERATED:
        hint = did_you_mean(name, GENERATED) or f", expected one of {', '.join(GENERATED)}."
        raise UsageError(f"{name!r} is not a dataset that can be generated{hint}")
    if seed < 0:
        raise UsageError(f"seed: {seed} is not allowed, expected a whole number of at least 0.")
    generated = GENERATED[name]
    rows = generated.check_rows(rows)
    converter = generated.converter
    if rows != generated.published_rows:
        converter = replace(converter, published={})
    folder = Path(output) / name
    raw = folder / "raw" / converter.raw_name
    origin = {"name": name, "version": FORMAT_VERSION, "rows": rows, "seed": seed}
    if _is_generated(folder, raw, origin):
        return convert(converter, raw, output, show_progress=show_progress)
    try:
        (folder / BAYES_FILE).unlink(missing_ok=True)
        raw.parent.mkdir(parents=True, exist_ok=True)
        made = generated.make(rows, seed)
        scores = _write_rows(generated, made, rows, folder, raw, show_progress)
        report = convert(converter, raw, output, show_progress=show_progress)
        write_bayes(
            folder,
            {
                **origin,
                "scenario_field": made.model.scenario_field,
                "scenarios": list(made.scenarios),
                "similarity": np.round(made.model.similarity, DIGITS).tolist(),
                "overall": scores.result(),
                "split": {"seed": SPLIT_SEED, "ratios": list(SPLIT_RATIOS)},
                "splits": bayes_of_split(folder, SPLIT_RATIOS, SPLIT_SEED),
            },
        )
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: {error.strerror or error}.") from error
    return report


def _is_generated(folder: Path, raw: Path, origin: dict[str, Any]) -> bool:
    """Whether an earlier call made the raw file and the scores from the same numbers."""
    bayes = read_bayes(folder)
    return (
        bayes is not None
        and origin.items() <= bayes.items()
        and raw.is_file()
        and truth_file(folder).is_file()
    )


def _write_rows(
    generated: GeneratedSet,
    made: GeneratedRows,
    rows: int,
    folder: Path,
    raw: Path,
    show_progress: bool | None,
) -> BayesScores:
    """Write the raw file and the true probabilities; returns the scores over all rows."""
    converter = generated.converter
    scores = BayesScores()
    done = 0
    with ExitStack() as stack:
        raw_part = stack.enter_context(_renamed_when_complete(raw))
        truth_part = stack.enter_context(_renamed_when_complete(truth_file(folder)))
        truth = np.lib.format.open_memmap(truth_part, mode="w+", dtype=TRUTH, shape=(rows,))
        progress = ProgressBar(f"{converter.name}, generating", show_progress)
        stack.callback(progress.close)
        with raw_part.open("w", encoding="utf-8", newline="\n") as file:
            file.write(converter.splitter(converter.columns).header_line())
            for chunk in made.chunks:
                file.write("\n".join(chunk.lines))
                file.write("\n")
                places = slice(done, done + len(chunk.lines))
                truth["probability"][places] = chunk.probability
                truth["label"][places] = chunk.label
                scores.add(truth["probability"][places], chunk.label)
                done += len(chunk.lines)
                progress.update(done / rows, done)
        truth.flush()
    return scores


@contextmanager
def _renamed_when_complete(path: Path) -> Iterator[Path]:
    """A file beside ``path`` that takes its name at the end, or is removed after an error."""
    with tempfile.TemporaryDirectory(prefix=".generating-", dir=path.parent) as folder:
        part = Path(folder) / path.name
        yield part
        part.replace(path)
