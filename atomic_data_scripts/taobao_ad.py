"""Taobao display advertising (Ali_Display_Ad_Click): three of its files to atomic files.

Run as ``python atomic_data_scripts/taobao_ad.py --raw FOLDER``, the folder or zip archive with
``raw_sample.csv``, ``ad_feature.csv`` and ``user_profile.csv``; ``behavior_log.csv`` is not read.

The label is ``clk``, the scenario ``pid``, the place of the ad. ``hour`` and ``day`` are those of
UTC+8: the last of the eight days is the test set, the day before the validation set. Users without
a profile and values that are missing, written ``NULL`` or not at all, have the token ``unk``.
"""

from __future__ import annotations

import sys

from recbole_midpg.atomic_data_scripts.columns import (
    Column,
    number,
    text_or_missing,
    token,
    unused,
    whole_number,
    word,
)
from recbole_midpg.atomic_data_scripts.converter import Converter, Entity, SideTable
from recbole_midpg.atomic_data_scripts.labels import is_one, label
from recbole_midpg.atomic_data_scripts.raw_file import Delimited
from recbole_midpg.atomic_data_scripts.script import run
from recbole_midpg.atomic_data_scripts.times import CLOCK_FIELDS, clock

_CSV = Delimited(",")

ADS = SideTable(
    "ad_feature.csv",
    _CSV,
    (
        Column("adgroup_id", (), whole_number),
        *(token(name, text_or_missing) for name in ("cate_id", "campaign_id", "customer", "brand")),
        Column("price", ("price:float",), number),
    ),
    key="adgroup_id",
    of="adgroup_id",
    describes="item",
)
USERS = SideTable(
    "user_profile.csv",
    _CSV,
    (
        Column("userid", (), whole_number),
        *(
            token(name, text_or_missing)
            for name in (
                *("cms_segid", "cms_group_id", "final_gender_code", "age_level"),
                *("pvalue_level", "shopping_level", "occupation"),
            )
        ),
        # The file has a blank at the end of this name.
        Column("new_user_class_level ", ("new_user_class_level:token",), text_or_missing),
    ),
    key="userid",
    of="user",
    describes="user",
)

CONVERTER = Converter(
    name="taobao_ad",
    title="Taobao display advertising (Ali_Display_Ad_Click)",
    raw_name="raw_sample.csv",
    form=_CSV,
    columns=(
        Column("user", ("user_id:token",), whole_number),
        Column("time_stamp", CLOCK_FIELDS, clock(8)),
        Column("adgroup_id", ("item_id:token",), whole_number),
        token("pid", word),
        *unused("nonclk"),
        label("clk"),
    ),
    side_tables=(ADS, USERS),
    entities=(Entity("user", "user"), Entity("item", "adgroup_id")),
    label="clk",
    is_positive=is_one,
    scenario="pid",
    tallied=("day", "hour", "final_gender_code", "age_level"),
    split_by="day",
    homepage="https://tianchi.aliyun.com/dataset/56",
    licence="for research, by the terms of the Tianchi page, which asks for an account",
    published={
        "rows": 26_557_961,
        "scenarios": 2,
        "positives": 1_366_056,
        "pid=430548_1007": 16_472_898,
        "pid=430539_1007": 10_085_063,
    },
)

if __name__ == "__main__":
    sys.exit(run((CONVERTER,)))
