"""AliExpress searching system: shown products of one or more countries to one set.

Run as ``python atomic_data_scripts/aliexpress.py --raw FOLDER`` with a folder of each country's
four files, as ``nl_item_train.csv``, ``nl_user_train.csv``, ``nl_item_test.csv`` and
``nl_user_test.csv``, plain, gzip or zip.

A line of an item file is a shown product, a line of a user file a search, which the products name;
what the 79 columns mean is not published. ``label`` is a click or a purchase, ``conversion`` a
purchase. The scenario is the country. The test files are the test set, a tenth of the searches of
the train files, drawn by their number, the validation set. ``search_id`` names a search over all
files, for metrics within a search.
"""

from __future__ import annotations

import re
import sys

from recbole_midpg.atomic_data_scripts.columns import (
    FILE,
    Column,
    number,
    text_or_missing,
    token,
    unused,
    whole_number,
)
from recbole_midpg.atomic_data_scripts.converter import Converter, Entity, SideTable
from recbole_midpg.atomic_data_scripts.hashing import share
from recbole_midpg.atomic_data_scripts.raw_file import Delimited
from recbole_midpg.atomic_data_scripts.script import run

VALIDATION_SHARE = 0.1

ITEM_COLUMNS, USER_COLUMNS = range(2, 49), range(2, 34)
"""The columns of features, by their places in a file from 1."""

ITEM_TOKENS = frozenset((19, 34, 35, 36, 40, 41, 42))
USER_TOKENS = frozenset((*range(2, 9), 32, 33))
"""Those of categories; the others hold numbers."""

_CSV = Delimited(",", header=False)
_NAME = re.compile(r"(?:.*/)?([A-Za-z]{2})_(?:item|user)_(train|test)\.csv")
_OUTCOMES = {"0": "0\t0", "1": "1\t0", "2": "1\t1"}


def _country_and_part(name: str) -> tuple[str, str]:
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError("expected a file's name as nl_item_train.csv")
    return found[1].lower(), found[2]


def country(name: str) -> str:
    """Turn ``NL_item_train.csv`` into ``nl``."""
    return _country_and_part(name)[0]


def search(value: str) -> str:
    """Turn a file's name and a search's number in it into ``nl_train_17``."""
    name, _, place = value.partition("\t")
    return "_".join((*_country_and_part(name), whole_number(place)))


def part(value: str) -> str:
    """The part of a search: ``test`` by its file, ``valid`` by chance or ``train``."""
    name = search(value)
    if "_test_" in name:
        return "test"
    return "valid" if share(name) < VALIDATION_SHARE else "train"


def outcome(value: str) -> str:
    """Turn 0 shown, 1 clicked and 2 bought into the labels of a click and of a purchase."""
    if value not in _OUTCOMES:
        raise ValueError("expected 0, 1 or 2")
    return _OUTCOMES[value]


def is_clicked(text: str) -> bool:
    """Whether an outcome is a click or a purchase."""
    return text.startswith("1")


def _features(prefix: str, places: range, tokens: frozenset[int]) -> tuple[Column, ...]:
    return tuple(
        token(f"{prefix}_c{place}", text_or_missing)
        if place in tokens
        else Column(f"{prefix}_n{place}", (f"{prefix}_n{place}:float",), number)
        for place in places
    )


CONVERTER = Converter(
    name="aliexpress",
    title="AliExpress searching system",
    raw_name="*_item_t*.csv",
    form=_CSV,
    columns=(
        Column("search", ("search_id:token",), search, made_of=(FILE, "number")),
        Column("country", ("country:token",), country, made_of=(FILE,)),
        Column("part", ("part:token",), part, made_of=(FILE, "number")),
        *unused("number"),
        *_features("item", ITEM_COLUMNS, ITEM_TOKENS),
        Column("outcome", ("label:float", "conversion:float"), outcome),
    ),
    side_tables=(
        SideTable(
            "*_user_t*.csv",
            _CSV,
            (
                Column("search", (), search, made_of=(FILE, "number")),
                *unused("number"),
                *_features("user", USER_COLUMNS, USER_TOKENS),
            ),
            key="search",
            of="search",
            describes=None,
            complete=True,
        ),
    ),
    entities=(Entity("search page", "search", has_file=False),),
    label="outcome",
    is_positive=is_clicked,
    scenario="country",
    split_by="part",
    sampled_by="search",
    parts={"train": "train", "valid": "valid", "test": "test"},
    homepage="https://tianchi.aliyun.com/dataset/74690",
    licence="for research, by the terms of the Tianchi page, which asks for an account; cite Li et "
    "al., CIKM 2020",
)

if __name__ == "__main__":
    sys.exit(run((CONVERTER,)))
