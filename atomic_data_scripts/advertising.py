"""A raw file of the shape of the paper's closed Advertising set to atomic files.

Run as ``python atomic_data_scripts/advertising.py --raw advertising.csv``.

The paper's data is not public. The raw format is this project's own: comma-separated, with the
header ``user_id,scenario,trade,advertiser,group,ad,hour,day,label`` and one row an impression.

==============================  =============================================================
user_id, advertiser, group, ad  whole numbers, kept as they are written
scenario, trade                 words of letters, digits and ``_ . : -``
hour                            0 to 23
day                             a whole number
label                           1 where the ad was clicked, else 0
==============================  =============================================================

The item is the ad. ``group``, ``advertiser`` and ``trade`` go to ``.item`` where each ad's rows
agree on them.
"""

from __future__ import annotations

import sys

from recbole_midpg.atomic_data_scripts.columns import (
    token,
    whole_number,
    whole_number_between,
    word,
)
from recbole_midpg.atomic_data_scripts.converter import Converter, Entity
from recbole_midpg.atomic_data_scripts.labels import is_one, label
from recbole_midpg.atomic_data_scripts.raw_file import Delimited
from recbole_midpg.atomic_data_scripts.script import run

CONVERTER = Converter(
    name="advertising",
    title="Advertising-shaped impressions",
    raw_name="advertising.csv",
    form=Delimited(",", quoted=True),
    columns=(
        token("user_id", whole_number),
        token("scenario", word),
        token("trade", word, "item"),
        token("advertiser", whole_number, "item"),
        token("group", whole_number, "item"),
        token("ad", whole_number),
        token("hour", whole_number_between(0, 23)),
        token("day", whole_number),
        label("label"),
    ),
    entities=(
        Entity("user", "user_id"),
        Entity("item", "ad"),
        Entity("trade", "trade", has_file=False),
        Entity("advertiser", "advertiser", has_file=False),
        Entity("group", "group", has_file=False),
    ),
    label="label",
    is_positive=is_one,
    scenario="scenario",
    tallied=("trade", "hour"),
    homepage=None,
    licence="the paper's data is not public; generated files are free of rights",
    published={
        "rows": 108_649_408,
        "users": 43_397_838,
        "items": 13_571,
        "trades": 10,
        "advertisers": 300,
        "groups": 6_203,
        "scenarios": 3,
    },
)

if __name__ == "__main__":
    sys.exit(run((CONVERTER,)))
