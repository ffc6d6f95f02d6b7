"""Ciao and Epinions with categories: ``rating.mat`` of Tang's trust datasets to atomic files.

Run as ``python atomic_data_scripts/ciao_epinions.py --raw rating.mat``, with ``--dataset epinions``
for the other one. ``rating_with_timestamp.mat`` gives the time besides, and ``ciao.csv`` (columns
``user,item,cat,rating,help``) and ``epinions.csv`` (without ``help``) hold the same as text.

The label is left to RecBole: ``threshold: {rating: 4}`` makes a row positive where its rating is 4
or 5; rows with the rating 0 are left out. The scenario is ``category``, whose names were not
published. It stays in ``.inter``: some items stand in several. How helpful others found a review is
known only later and left out. Pairs of user and item that repeat are kept; see ``--duplicates``.
The Epinions files of some other collections are another crawl and have no category.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace

from recbole_midpg.atomic_data_scripts.columns import Column, one_of, unused, whole_number
from recbole_midpg.atomic_data_scripts.converter import Converter, Entity, LeftOut
from recbole_midpg.atomic_data_scripts.raw_file import Delimited
from recbole_midpg.atomic_data_scripts.script import run
from recbole_midpg.atomic_data_scripts.stars import is_liked
from recbole_midpg.atomic_data_scripts.times import unix_seconds


def _pair(value: str) -> str:
    return value


_COLUMNS = (
    Column("user", ("user_id:token",), whole_number),
    Column("item", ("item_id:token",), whole_number),
    Column("cat", ("category:token",), whole_number),
    Column("rating", ("rating:float",), one_of(tuple("012345"))),
)
_PAIR = Column("user and item", (), _pair, made_of=("user", "item"))
_HELP = unused("help")
_TIME = Column("timestamp", ("timestamp:float",), unix_seconds)


def _converter(
    name: str, title: str, *columns_of_text: Column, published: Mapping[str, int]
) -> Converter:
    converter = Converter(
        name=name,
        title=title,
        raw_name="rating.mat",
        form=Delimited(",", header=False),
        columns=(*_COLUMNS, *_HELP, _PAIR),
        left_out=(LeftOut("rating", "0".__eq__, "without a rating"),),
        entities=(Entity("user", "user"), Entity("item", "item")),
        label="rating",
        is_positive=is_liked,
        scenario="category",
        tallied=("rating",),
        key="user and item",
        homepage="https://www.cse.msu.edu/~tangjili/trust.html",
        licence="none is named; the authors ask to cite Tang et al., WSDM 2012",
        published=published,
    )
    with_time = replace(
        converter,
        raw_name="rating_with_timestamp.mat",
        columns=(*_COLUMNS, *_HELP, _TIME, _PAIR),
    )
    text = replace(
        converter,
        raw_name=f"{name}.csv",
        form=Delimited(","),
        columns=(*_COLUMNS, *columns_of_text, _PAIR),
    )
    return replace(converter, other_forms=(with_time, text))


CIAO = _converter(
    "ciao",
    "Ciao, with categories",
    *_HELP,
    published={
        "rows": 284_052,
        "users": 7_375,
        "scenarios": 28,
        "rating=1": 11_049,
        "rating=2": 14_317,
        "rating=3": 31_294,
        "rating=4": 88_499,
        "rating=5": 138_893,
    },
)
EPINIONS = _converter(
    "epinions", "Epinions, with categories", published={"rows": 922_267, "scenarios": 27}
)

if __name__ == "__main__":
    sys.exit(run((CIAO, EPINIONS)))
