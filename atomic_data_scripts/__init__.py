"""Raw data files to RecBole atomic files, one script a dataset."""

from __future__ import annotations

from pathlib import Path

from recbole_midpg.common.errors import UsageError, did_you_mean

from . import (
    advertising,
    ali_ccp,
    aliexpress,
    amazon_electronics,
    amazon_reviews,
    ciao_epinions,
    douban,
    iaac,
    kuairand,
    mind,
    movielens_1m,
    taobao_ad,
    tenrec,
)
from .conversion import convert
from .converter import Converter
from .report import ConversionReport

__all__ = ["CONVERTERS", "ConversionReport", "Converter", "convert", "find_converter", "prepare"]

CONVERTERS: dict[str, Converter] = {
    converter.name: converter
    for converter in (
        amazon_electronics.CONVERTER,
        iaac.CONVERTER,
        iaac.CONVERTER_BY_TIME,
        iaac.CONVERTER_BY_PROFILE,
        advertising.CONVERTER,
        movielens_1m.CONVERTER,
        movielens_1m.CONVERTER_BY_GENRE,
        ciao_epinions.CIAO,
        ciao_epinions.EPINIONS,
        kuairand.SMALL,
        kuairand.LARGE,
        taobao_ad.CONVERTER,
        amazon_reviews.CONVERTER,
        mind.SMALL,
        mind.LARGE,
        mind.BENCHMARK,
        aliexpress.CONVERTER,
        douban.CONVERTER,
        douban.RATINGS,
        tenrec.BOTH,
        tenrec.QB,
        ali_ccp.CONVERTER,
    )
}
"""The datasets that can be converted, by name."""


def find_converter(name: str) -> Converter:
    """Find the converter of a dataset.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in CONVERTERS:
        hint = did_you_mean(name, CONVERTERS) or f", expected one of {', '.join(CONVERTERS)}."
        raise UsageError(f"{name!r} is not a dataset that can be converted{hint}")
    return CONVERTERS[name]


def prepare(
    name: str,
    raw: str | Path,
    output: str | Path = "dataset",
    *,
    force: bool = False,
    on_error: str = "stop",
    duplicates: str = "keep",
    sample: float = 1.0,
    show_progress: bool | None = None,
) -> ConversionReport:
    """Convert a dataset's raw files into atomic files; see :func:`convert`.

    Args:
        name: the dataset's name, one of :data:`CONVERTERS`.
        raw: its raw file; where it has several, the folder or zip archive that holds them.
        output: the folder of all datasets.
        force: whether to convert again although nothing changed.
        on_error: ``stop`` or ``skip``.
        duplicates: ``keep``, ``drop-copies``, ``drop-repeats`` or ``stop``.
        sample: the share of the users, in (0, 1], whose rows are kept.
        show_progress: whether progress is shown; ``None`` shows it on a terminal.

    Returns:
        The counts.

    Raises:
        UsageError: the name is not known, or the file cannot be converted.
    """
    return convert(
        find_converter(name),
        raw,
        output,
        force=force,
        on_error=on_error,
        duplicates=duplicates,
        sample=sample,
        show_progress=show_progress,
    )
