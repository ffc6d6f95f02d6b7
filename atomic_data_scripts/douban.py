"""Douban books, music and films: reviews of three domains by the same users to one set.

Run as ``python atomic_data_scripts/douban.py --raw FOLDER`` with the folder of the raw text release
(``bookreviews_cleaned.txt``, ``musicreviews_cleaned.txt``, ``moviereviews_cleaned.txt`` and
``users_cleaned.txt``); with ``--dataset douban_ratings`` for the smaller one of ids alone, a
``ratings.dat`` below a folder for each domain, as ``douban_book``.

The label is left to RecBole: ``threshold: {rating: 4}`` makes a row positive where its rating is 4
or 5; rows without a rating are left out, which the public benchmark takes for negative. Items are
numbered anew in each domain: their ids begin ``b_``, ``u_`` or ``m_`` for books, music and films.
The scenario is the domain. What users wrote is not read.
"""

from __future__ import annotations

import re
import sys
from datetime import datetime, timedelta, timezone

from recbole_midpg.atomic_data_scripts.columns import (
    FILE,
    MISSING,
    MISSING_WORDS,
    Column,
    identifier,
    text_or_missing,
    token,
    whole_number,
)
from recbole_midpg.atomic_data_scripts.converter import Converter, Entity, LeftOut, SideTable
from recbole_midpg.atomic_data_scripts.named_columns import NamedColumns
from recbole_midpg.atomic_data_scripts.raw_file import Delimited
from recbole_midpg.atomic_data_scripts.script import run
from recbole_midpg.atomic_data_scripts.stars import is_liked, rating

PREFIXES = {"book": "b", "music": "u", "movie": "m"}
"""The domains, and what the ids of their items begin with."""

_TEXT = NamedColumns("\t")
_DOMAIN = re.compile("|".join(PREFIXES), re.IGNORECASE)
_MONTH = re.compile(r"(\d{4}-\d{2})(-\d{2})?\D*.*", re.ASCII)
_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})(?: (\d{2}:\d{2}:\d{2}))?", re.ASCII)
_ZONE = timezone(timedelta(hours=8))


def domain(file_name: str) -> str:
    """The domain of a file: the last one that its name, with its folders, names."""
    found = _DOMAIN.findall(file_name)
    if not found:
        raise ValueError(f"expected a file or folder named after one of {', '.join(PREFIXES)}")
    return str(found[-1].lower())


def item(value: str) -> str:
    """Turn a file's name and an item's id in its domain into ``b_17``."""
    name, _, identity = value.partition("\t")
    return f"{PREFIXES[domain(name)]}_{identifier(identity)}"


def rating_or_none(value: str) -> str:
    """Accept whole stars, or nothing."""
    return "" if value in MISSING_WORDS else rating(value)


def moment(value: str) -> str:
    """Turn ``2016-05-01`` or ``2016-05-01 13:30:00``, in UTC+8, into Unix seconds."""
    if value in MISSING_WORDS:
        return ""
    found = _DAY.fullmatch(value)
    try:
        text = f"{found[1]} {found[2] or '00:00:00'}" if found else ""
        day = datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=_ZONE)
    except ValueError:
        raise ValueError("expected a day as 2016-05-01, with or without a time") from None
    return str(int(day.timestamp()))


def month(value: str) -> str:
    """Turn ``2010-05-04`` into ``2010-05``."""
    if value in MISSING_WORDS:
        return MISSING
    found = _MONTH.fullmatch(value)
    if found is None:
        raise ValueError("expected a day as 2010-05-04")
    return found[1]


_DOMAIN_COLUMN = Column("domain", ("domain:token",), domain, made_of=(FILE,))
_RATING = Column("rating", ("rating:float",), rating_or_none)

CONVERTER = Converter(
    name="douban",
    title="Douban books, music and films",
    raw_name="*reviews_cleaned.txt",
    form=_TEXT,
    columns=(
        token("user_id", identifier),
        Column("item_id", ("item_id:token",), item, made_of=(FILE, "book_id|music_id|movie_id")),
        Column("book_id|music_id|movie_id", (), identifier),
        _RATING,
        Column("time", ("timestamp:float",), moment),
        _DOMAIN_COLUMN,
    ),
    side_tables=(
        SideTable(
            "users_cleaned.txt",
            _TEXT,
            (
                Column("UID", (), identifier),
                token("living_place", text_or_missing),
                Column("join_time", ("join_month:token",), month),
            ),
            key="UID",
            of="user_id",
            describes="user",
        ),
    ),
    left_out=(LeftOut("rating", "".__eq__, "without a rating"),),
    entities=(Entity("user", "user_id"), Entity("item", "item_id")),
    label="rating",
    is_positive=is_liked,
    scenario="domain",
    tallied=("rating",),
    homepage="https://www.kaggle.com/datasets/fengzhujoey/douban-datasetratingreviewside-information",
    licence="none is named; the author asks to cite Zhu et al., CIKM 2019 and IJCAI 2020",
    published={"domain=book": 227_251, "domain=music": 179_847, "domain=movie": 1_278_401},
)
RATINGS = Converter(
    name="douban_ratings",
    title="Douban books, music and films, ids and ratings (GA-DTCDR)",
    raw_name="ratings.dat",
    form=Delimited("\t", header=False),
    columns=(
        token("user_id", whole_number),
        Column("item_id", ("item_id:token",), item, made_of=(FILE, "item")),
        Column("item", (), whole_number),
        _RATING,
        _DOMAIN_COLUMN,
    ),
    left_out=CONVERTER.left_out,
    entities=CONVERTER.entities,
    label="rating",
    is_positive=is_liked,
    scenario="domain",
    tallied=("rating",),
    several_files=True,
    homepage="https://github.com/FengZhu-Joey/GA-DTCDR",
    licence=CONVERTER.licence,
    published={"domain=book": 96_041, "domain=music": 69_709, "domain=movie": 1_278_401},
)

if __name__ == "__main__":
    sys.exit(run((CONVERTER, RATINGS)))
