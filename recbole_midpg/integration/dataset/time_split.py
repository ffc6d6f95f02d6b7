"""Rows split by their time, as ``time_split`` says.

Cause: RecBole orders rows by time and cuts them by shares, so that a split begins in the middle of
a day; and its tensors keep times in float32, which rounds them to two minutes. Here rows are split
before tensors are made of them, by the times of the file.
"""

from __future__ import annotations

import functools
from logging import getLogger
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.config.time_split import TimeSplit
from recbole_midpg.integration.run.terminal import FOR_TERMINAL

_NAMES = ("training", "validation", "test")
# Seconds since 1970 have ten digits until the year 2286: longer numbers count smaller units.
_UNITS = (
    (1e11, 1.0, "seconds"),
    (1e14, 1e3, "milliseconds"),
    (1e17, 1e6, "microseconds"),
    (np.inf, 1e9, "nanoseconds"),
)


def by_time(stock: Any) -> Any:
    """Wrap ``Dataset.build``: with ``time_split`` its days decide, in place of ``eval_args``."""

    @functools.wraps(stock)
    def build(self: Any) -> list[Any]:
        split = TimeSplit.of(self.config)
        if split is None:
            return stock(self)
        rows = _rows_of_splits(self, split)
        self._change_feat_format()
        self._drop_unused_col()
        return [self.copy(self.inter_feat[index]) for index in rows]

    return build


def report_random_split(config: Any, dataset: Any) -> None:
    """Log that rows with a time are split at random.

    Args:
        config: RecBole's ``Config``.
        dataset: RecBole's ``Dataset``, loaded.
    """
    by_other_means = config["time_split"] or config["benchmark_filename"]
    time_field = config["TIME_FIELD"]
    if (
        by_other_means
        or config["eval_args"]["order"] != "RO"
        or time_field not in dataset.field2type
    ):
        return
    getLogger().info(
        f"Rows are split at random, though {time_field!r} has their time: training sees rows from "
        "after those of the test (time_split: last_day tests on the last day).",
        extra=FOR_TERMINAL,
    )


def seconds_of(times: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
    """Times in seconds since 1970, and the unit in which they were: by the size of the largest.

    Args:
        times: at least one, all finite.
    """
    largest = float(np.abs(times).max())
    per_second, unit = next((count, name) for least, count, name in _UNITS if largest < least)
    return (times if per_second == 1 else times / per_second), unit


def _rows_of_splits(dataset: Any, split: TimeSplit) -> list[NDArray[np.int64]]:
    """The rows of training, validation and test, in the order of the file.

    Raises:
        UsageError: rows have no time, or a split has no row.
    """
    field = split.field
    times = dataset.inter_feat[field].to_numpy()
    _check_times(times, dataset, field)
    seconds, unit = seconds_of(times)
    try:
        moments = [split.moment(float(bound)) for bound in (seconds.min(), seconds.max())]
        valid, test = split.bounds(float(seconds.max()))
    except OverflowError as error:
        raise UsageError(
            f"time_split: field: {field!r} has values up to {np.abs(times).max():g}, expected "
            "seconds since 1970 (or milliseconds)."
        ) from error
    parts = [
        np.flatnonzero(seconds < (test if valid is None else valid)),
        np.flatnonzero((seconds >= (test if valid is None else valid)) & (seconds < test)),
        np.flatnonzero(seconds >= test),
    ]
    for name, rows in zip(_NAMES, parts, strict=True):
        if not len(rows) and not (name == "validation" and valid is None):
            begins = ", ".join(
                f"{part} from {_said(split.moment(bound))}"
                for part, bound in (("validation", valid), ("test", test))
                if bound is not None
            )
            raise UsageError(
                f"time_split: the {name} split is empty ({begins}), as {field!r} goes from "
                f"{_said(moments[0])} to {_said(moments[1])} in {split.zone_name}, expected "
                "rows in every split."
            )
    spans = [
        f"{name} {len(rows):,} rows from {_said(split.moment(float(seconds[rows].min())))} to "
        f"{_said(split.moment(float(seconds[rows].max())))}"
        for name, rows in zip(_NAMES, parts, strict=True)
        if len(rows)
    ]
    getLogger().info(
        f"Split by {field} ({unit}) in {split.zone_name}: {'; '.join(spans)}.", extra=FOR_TERMINAL
    )
    return parts


def _check_times(times: NDArray[np.float64], dataset: Any, field: str) -> None:
    if dataset.missing_numbers is None:
        raise UsageError(
            "time_split: the saved dataset does not say which rows have no time, as an earlier "
            "version has saved it; remove it."
        )
    without = dataset.missing_numbers.get(field, 0) or int((~np.isfinite(times)).sum())
    if without:
        raise UsageError(
            f"time_split: {without:,} of the {len(times):,} rows have no time in {field!r}, "
            "expected one in each, or no such rows in the file."
        )


def _said(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
