"""MarketBias Electronics: ``df_electronics.csv`` to atomic files.

Run as ``python atomic_data_scripts/amazon_electronics.py --raw df_electronics.csv``.

The label is left to RecBole: ``threshold: {rating: 4}`` makes a row positive where its rating is 4
or 5. The scenario is ``category``; :data:`CATEGORIES` gives the paper's two-letter names. The file
has no key: a user may rate an item twice.

``model_attr``, ``category``, ``brand`` and ``year`` go to ``.item`` and ``user_attr`` to ``.user``
where each item's or user's rows agree on them. A value that is missing in some of the rows and
present in others is a difference, so that no row gains or loses one.
"""

from __future__ import annotations

import re
import sys
from datetime import datetime, timezone

from recbole_midpg.atomic_data_scripts.columns import (
    MISSING,
    Column,
    free_text,
    one_of,
    token,
    whole_number,
    whole_number_between,
)
from recbole_midpg.atomic_data_scripts.converter import Converter, Entity
from recbole_midpg.atomic_data_scripts.raw_file import Delimited
from recbole_midpg.atomic_data_scripts.script import run
from recbole_midpg.atomic_data_scripts.stars import is_liked, rating

CATEGORIES = {
    "Portable Audio & Video": "PV",
    "Computers & Accessories": "CA",
    "Headphones": "HP",
    "Camera & Photo": "CP",
    "Television & Video": "TV",
    "Home Audio": "HA",
    "Accessories & Supplies": "AS",
    "Car Electronics & GPS": "CG",
    "Security & Surveillance": "SS",
    "Wearable Technology": "WT",
}
"""The ten categories and what the MI-DPG paper's figure 2 calls them."""

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def unix_seconds(value: str) -> str:
    """Turn a date YYYY-MM-DD into the Unix seconds of its midnight in UTC."""
    if _DATE.fullmatch(value):
        try:
            date = datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=timezone.utc)
        except ValueError:
            date = None
        if date is not None:
            return str(int(date.timestamp()))
    raise ValueError("expected a date as 2018-10-01")


CONVERTER = Converter(
    name="amazon_electronics",
    title="MarketBias Electronics (Amazon)",
    raw_name="df_electronics.csv",
    form=Delimited(",", quoted=True),
    columns=(
        token("item_id", whole_number),
        token("user_id", whole_number),
        Column("rating", ("rating:float",), rating),
        Column("timestamp", ("timestamp:float",), unix_seconds),
        token("model_attr", one_of(("Female", "Female&Male", "Male")), "item"),
        token("category", one_of(tuple(CATEGORIES)), "item"),
        token("brand", free_text(MISSING), "item"),
        token("year", whole_number_between(1900, 2100), "item"),
        token("user_attr", one_of(("Female", "Male"), missing=MISSING), "user"),
        token("split", one_of(("0", "1", "2"))),
    ),
    entities=(Entity("user", "user_id"), Entity("item", "item_id")),
    label="rating",
    is_positive=is_liked,
    scenario="category",
    tallied=("user_attr", "brand", "rating"),
    homepage="https://github.com/MengtingWan/marketBias",
    download_url=(
        "https://raw.githubusercontent.com/MengtingWan/marketBias/master/data/df_electronics.csv"
    ),
    licence="none is named; the authors ask to cite Wan et al., WSDM 2020",
    published={
        "rows": 1_292_954,
        "users": 1_157_633,
        "items": 9_560,
        "scenarios": 10,
        "brand=unk": 961_834,
        "user_attr=unk": 1_118_830,
    },
)

if __name__ == "__main__":
    sys.exit(run((CONVERTER,)))
