"""IJCAI-18 Alimama (IAAC): ``round1_ijcai_18_train_20180301.txt`` to atomic files.

Run as ``python atomic_data_scripts/iaac.py --raw round1_ijcai_18_train_20180301.txt``; with
``--dataset iaac_time`` the last day makes the test set and the day before the validation set, with
``--dataset iaac_profile`` a user's gender, age level and star level together make the scenario.

Every raw value can be read back from the atomic files:

* A missing value, -1, stays the token ``-1``, a value of its own.
* Lists become token_seq. ``item_category_list`` also gives its second level as ``item_category``
  (the first is the same for all items) and its last as ``item_category_leaf``.
* ``predict_category_property`` keeps its elements, ``category:property,property``, and also gives
  ``predict_category`` and ``predict_property``, the categories and properties by themselves.
* Each of the four shop rates gives a float, empty where missing, which RecBole fills with the
  mean, and a token ``..._bucket``: ``k`` for rates from k/200 to (k+1)/200, or ``-1``.
* ``context_timestamp`` stays as it is and gives ``hour`` and ``day`` in UTC+8, the time of the
  competition.
* ``is_trade`` becomes ``label``.

The published file repeats 51 instance_ids, 27 of them as exact copies. They are kept by default, as
papers that quote 478,138 rows do; see ``--duplicates``.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace

from recbole_midpg.atomic_data_scripts.columns import (
    Column,
    token,
    whole_number,
    whole_number_or_missing,
)
from recbole_midpg.atomic_data_scripts.converter import Converter, Entity
from recbole_midpg.atomic_data_scripts.labels import is_one, label
from recbole_midpg.atomic_data_scripts.raw_file import Delimited
from recbole_midpg.atomic_data_scripts.script import run
from recbole_midpg.atomic_data_scripts.times import clock

MISSING = "-1"

BUCKETS = 200
"""Buckets of a rate between 0 and 1; 1 itself is the last bucket's successor."""

_NUMBERS = re.compile(r"\d+(;\d+)*", re.ASCII)
_PREDICTED = re.compile(r"(-1|\d+)(:(-1|\d+)(,(-1|\d+))*)?", re.ASCII)
_RATE = re.compile(r"\d(\.\d+)?([eE]-\d+)?", re.ASCII)


def number_list(value: str) -> str:
    """Turn ``1;2;3`` into ``1 2 3``; -1 is a missing list."""
    if value == MISSING or _NUMBERS.fullmatch(value):
        return value.replace(";", " ")
    raise ValueError("expected whole numbers separated by ';', or -1")


def category_path(value: str) -> str:
    """Turn ``root;second;leaf`` into the path, its second level and its last."""
    path = number_list(value).split(" ")
    second = path[1] if len(path) > 1 else MISSING
    return "\t".join((" ".join(path), second, path[-1]))


def predicted(value: str) -> str:
    """Turn ``a:p,q;b:-1`` into its elements ``a:p,q b:-1``, its categories and its properties."""
    elements = value.split(";")
    if not all(map(_PREDICTED.fullmatch, elements)):
        raise ValueError("expected 'category:property,property' separated by ';', or -1")
    categories, properties = [], []
    for element in elements:
        category, _, listed = element.partition(":")
        categories.append(category)
        properties += [name for name in listed.split(",") if name not in ("", MISSING)]
    return "\t".join((" ".join(elements), " ".join(categories), " ".join(properties) or MISSING))


def rate(value: str) -> str:
    """Turn a rate into itself and its bucket; -1 into nothing and the bucket of its own."""
    if value in (MISSING, "-1.0"):
        return f"\t{MISSING}"
    number = float(value) if _RATE.fullmatch(value) else -1.0
    if not 0.0 <= number <= 1.0:
        raise ValueError("expected a number from 0 to 1, or -1")
    # Decimals such as 0.985 lie a little below their bucket's bound in binary.
    return f"{value}\t{int(number * BUCKETS + 1e-9)}"


def _rate(name: str) -> Column:
    return Column(name, (f"{name}:float", f"{name}_bucket:token"), rate, "item")


def _levels(describes: str, *names: str) -> tuple[Column, ...]:
    return tuple(token(name, whole_number_or_missing, describes) for name in names)


CONVERTER = Converter(
    name="iaac",
    title="IJCAI-18 Alimama International Advertising Algorithm Competition (IAAC), round 1",
    raw_name="round1_ijcai_18_train_20180301.txt",
    form=Delimited(" "),
    columns=(
        token("instance_id", whole_number),
        token("item_id", whole_number),
        Column(
            "item_category_list",
            ("item_category_list:token_seq", "item_category:token", "item_category_leaf:token"),
            category_path,
            "item",
        ),
        Column("item_property_list", ("item_property_list:token_seq",), number_list, "item"),
        *_levels(
            "item",
            "item_brand_id",
            "item_city_id",
            "item_price_level",
            "item_sales_level",
            "item_collected_level",
            "item_pv_level",
        ),
        token("user_id", whole_number),
        *_levels(
            "user", "user_gender_id", "user_age_level", "user_occupation_id", "user_star_level"
        ),
        token("context_id", whole_number_or_missing),
        Column(
            "context_timestamp", ("context_timestamp:float", "hour:token", "day:token"), clock(8)
        ),
        token("context_page_id", whole_number_or_missing),
        Column(
            "predict_category_property",
            (
                "predict_category_property:token_seq",
                "predict_category:token_seq",
                "predict_property:token_seq",
            ),
            predicted,
        ),
        *_levels("item", "shop_id", "shop_review_num_level"),
        _rate("shop_review_positive_rate"),
        *_levels("item", "shop_star_level"),
        _rate("shop_score_service"),
        _rate("shop_score_delivery"),
        _rate("shop_score_description"),
        label("is_trade"),
    ),
    entities=(
        Entity("user", "user_id"),
        Entity("item", "item_id"),
        Entity("shop", "shop_id", has_file=False),
    ),
    label="is_trade",
    is_positive=is_one,
    scenario="user_gender_id",
    tallied=(
        "user_age_level",
        "user_occupation_id",
        "user_star_level",
        "context_page_id",
        "item_category",
        "item_category_leaf",
        "day",
        "hour",
    ),
    key="instance_id",
    homepage="https://tianchi.aliyun.com/dataset/147588",
    licence="for research, by the terms of the Tianchi page, which asks for an account",
    published={
        "rows": 478_138,
        "users": 197_694,
        "items": 10_075,
        "shops": 3_959,
        "scenarios": 4,
        "positives": 9_021,
        "exact copies": 27,
        "repeated keys": 24,
        "user_gender_id=0": 360_817,
        "user_gender_id=1": 94_070,
        "user_gender_id=2": 10_349,
        "user_gender_id=-1": 12_902,
        "user_age_level=-1": 964,
        "user_occupation_id=-1": 964,
        "user_star_level=-1": 964,
        "day=2018-09-18": 78_268,
        "day=2018-09-19": 70_931,
        "day=2018-09-20": 68_387,
        "day=2018-09-21": 71_199,
        "day=2018-09-22": 68_318,
        "day=2018-09-23": 63_614,
        "day=2018-09-24": 57_421,
    },
)

CONVERTER_BY_TIME = replace(CONVERTER, name="iaac_time", split_by="day")


def profile(value: str) -> str:
    """Join the values of some columns, as ``0_1003_3006``."""
    return value.replace("\t", "_")


CONVERTER_BY_PROFILE = replace(
    CONVERTER,
    name="iaac_profile",
    columns=(
        *CONVERTER.columns,
        Column(
            "user_profile",
            ("user_profile:token",),
            profile,
            "user",
            made_of=("user_gender_id", "user_age_level", "user_star_level"),
        ),
    ),
    scenario="user_profile",
    published={
        name: count
        for name, count in CONVERTER.published.items()
        if name != "scenarios" and "gender" not in name
    },
)

if __name__ == "__main__":
    sys.exit(run((CONVERTER, CONVERTER_BY_TIME, CONVERTER_BY_PROFILE)))
