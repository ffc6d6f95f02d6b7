"""MIND, the Microsoft news dataset: behaviors and news of the train and dev parts.

Run as ``python atomic_data_scripts/mind.py --raw FOLDER`` with a folder of ``MINDsmall_train`` and
``MINDsmall_dev``, unpacked or as the zip archives; ``--dataset mind_large`` for the large ones. The
test part has no labels and must not be there.

An impression shows several news: each is a row, its label whether it was clicked. The scenario is
the news' ``category``. The dev part is the last day, 2019-11-15: it is the test set, the day before
the validation set. Times are written as if in UTC, as no zone is stated. ``history``, the last 50
news that a user clicked before, goes to ``.user``, the first where a user's lines differ.
``mind_large_4`` is the set of public multi-scenario benchmarks: four categories, in one file.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone

from recbole_midpg.atomic_data_scripts.columns import (
    FILE,
    MISSING,
    Column,
    text_or_missing,
    token,
    unused,
    word,
)
from recbole_midpg.atomic_data_scripts.converter import Converter, Entity, LeftOut, SideTable
from recbole_midpg.atomic_data_scripts.labels import is_one
from recbole_midpg.atomic_data_scripts.raw_file import Delimited
from recbole_midpg.atomic_data_scripts.script import run
from recbole_midpg.atomic_data_scripts.times import CLOCK_FIELDS, clock

BENCHMARK_CATEGORIES = frozenset(("news", "lifestyle", "sports", "finance"))

HISTORY_LENGTH = 50

_TSV = Delimited("\t", header=False)
_PART = re.compile(r".*(train|dev)[^/]*/behaviors\.tsv", re.IGNORECASE)
_SHOWN = re.compile(r"(N\d+)-([01])", re.ASCII)
_HISTORY = re.compile(r"(N\d+( N\d+)*)?", re.ASCII)


def impression(value: str) -> str:
    """Turn the file's name and the impression's number in it into ``train_17`` or ``dev_17``."""
    name, _, number = value.partition("\t")
    part = _PART.fullmatch(name)
    if part is None:
        raise ValueError(
            "expected behaviors.tsv below a folder named after the train or dev part; the test "
            "part has no labels"
        )
    return f"{part[1].lower()}_{word(number)}"


def _shown(value: str) -> tuple[str, str]:
    found = _SHOWN.fullmatch(value)
    if found is None:
        raise ValueError("expected shown news as 'N123-1 N456-0'")
    return found[1], found[2]


def shown_news(value: str) -> str:
    """Turn ``N123-1`` into ``N123``."""
    return _shown(value)[0]


def clicked(value: str) -> str:
    """Turn ``N123-1`` into ``1``."""
    return _shown(value)[1]


def seconds(value: str) -> str:
    """Turn ``11/12/2019 2:14:46 PM`` into Unix seconds, as if it were UTC."""
    try:
        moment = datetime.strptime(value, "%m/%d/%Y %I:%M:%S %p")
    except ValueError:
        raise ValueError("expected a moment as 11/12/2019 2:14:46 PM") from None
    return str(int(moment.replace(tzinfo=timezone.utc).timestamp()))


def history(value: str) -> str:
    """The last clicked news; nothing is a missing list."""
    if _HISTORY.fullmatch(value) is None:
        raise ValueError("expected news as 'N123 N456', or nothing")
    return " ".join(value.split(" ")[-HISTORY_LENGTH:]) or MISSING


NEWS = SideTable(
    "news.tsv",
    _TSV,
    (
        Column("news", (), word),
        token("category", text_or_missing),
        token("subcategory", text_or_missing),
        Column("title", ("title:token_seq",), text_or_missing),
        *unused("abstract", "url", "title_entities", "abstract_entities"),
    ),
    key="news",
    of="impressions",
    describes="item",
    complete=True,
)
HISTORIES = SideTable(
    "behaviors.tsv",
    _TSV,
    (
        *unused("impression"),
        Column("user", (), word),
        *unused("time"),
        Column("history", ("history:token_seq",), history),
        *unused("impressions"),
    ),
    key="user",
    of="user",
    describes="user",
)


def _converter(size: str, published: Mapping[str, int]) -> Converter:
    return Converter(
        name=f"mind_{size}",
        title=f"MIND-{size}, train and dev",
        raw_name="behaviors.tsv",
        form=_TSV,
        columns=(
            Column("impression_id", ("impression_id:token",), impression, None, (FILE, "number")),
            *unused("number"),
            Column("user", ("user_id:token",), word),
            Column("time", CLOCK_FIELDS, clock(0, seconds)),
            *unused("history"),
            Column("impressions", ("item_id:token",), shown_news),
            Column("click", ("label:float",), clicked, made_of=("impressions",)),
        ),
        row_for_each="impressions",
        several_files=True,
        side_tables=(NEWS, HISTORIES),
        entities=(Entity("user", "user"), Entity("item", "impressions")),
        label="click",
        is_positive=is_one,
        scenario="category",
        tallied=("day",),
        split_by="day",
        homepage="https://msnews.github.io",
        licence="Microsoft Research License Terms, for research; cite Wu et al., ACL 2020",
        published=published,
    )


SMALL = _converter("small", {"rows": 8_584_442})
LARGE = _converter("large", {"rows": 97_592_931, "users": 750_434, "items": 29_309})
BENCHMARK = replace(
    LARGE,
    name="mind_large_4",
    title="MIND-large, train and dev, four categories",
    left_out=(
        LeftOut("category", lambda name: name not in BENCHMARK_CATEGORIES, "of other categories"),
    ),
    split_by=None,
    published={
        "rows": 56_728_044,
        "scenarios": 4,
        "category=news": 26_057_579,
        "category=lifestyle": 11_206_494,
        "category=sports": 10_237_589,
        "category=finance": 9_226_382,
    },
)

if __name__ == "__main__":
    sys.exit(run((SMALL, LARGE, BENCHMARK)))
