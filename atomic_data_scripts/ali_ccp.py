r"""Ali-CCP: the skeletons of train and test samples, and the features that samples share.

Run as ``python atomic_data_scripts/ali_ccp.py --raw FOLDER`` with the folder of
``sample_skeleton_train.csv``, ``common_features_train.csv`` and the two files of the test.

A line's features are ``field \x02 feature \x03 value``, joined by ``\x01``. The 23 fields and the
eight values of public benchmarks are taken; of a field that a line has several times the last one,
as there, and ``0`` of a field that it lacks. The label is ``click``; samples with a purchase and no
click are left out. The scenario is field 301, the position. The train file is the training set;
test samples are halved, by chance, into validation and test set. The features that samples share
are held in memory, only those that are taken. ``--sample 0.01`` keeps the samples of a hundredth of
these, and so a user's together.
"""

from __future__ import annotations

import re
import sys

from recbole_midpg.atomic_data_scripts.columns import (
    FILE,
    Column,
    ParseValue,
    number,
    unused,
    whole_number,
    word,
)
from recbole_midpg.atomic_data_scripts.converter import Converter, Entity, LeftOut, SideTable
from recbole_midpg.atomic_data_scripts.hashing import share
from recbole_midpg.atomic_data_scripts.labels import is_one, label
from recbole_midpg.atomic_data_scripts.raw_file import Delimited
from recbole_midpg.atomic_data_scripts.script import run

ABSENT = "0"

COMMON_TOKENS = (
    *("121", "122", "124", "125", "126", "127", "128", "129"),
    *("109_14", "110_14", "127_14", "150_14"),
)
COMMON_NUMBERS = ("109_14", "110_14", "127_14", "150_14")
SAMPLE_TOKENS = ("206", "207", "210", "216", "508", "509", "702", "853")
SAMPLE_NUMBERS = ("508", "509", "702", "853")
"""The fields that are taken beside user (101), item (205) and position (301)."""

_CSV = Delimited(",", header=False)
_PART = re.compile(r"(?:.*/)?(?:sample_skeleton|common_features)_(train|test)\.csv")


def picked(tokens: tuple[str, ...], numbers: tuple[str, ...] = ()) -> ParseValue:
    """Take features and values of some fields out of a line's features.

    Args:
        tokens: the fields whose feature is taken.
        numbers: the fields whose value is taken.
    """

    def parse(features: str) -> str:
        found: dict[str, tuple[str, str]] = {}
        for part in features.split("\x01") if features else ():
            field, field_end, rest = part.partition("\x02")
            feature, feature_end, value = rest.partition("\x03")
            if not (field_end and feature_end):
                raise ValueError(r"expected 'field \x02 feature \x03 value', joined by \x01")
            found[field] = feature, value
        absent = (ABSENT, ABSENT)
        return "\t".join(
            [
                *(whole_number(found.get(field, absent)[0]) for field in tokens),
                *(number(found.get(field, absent)[1]) for field in numbers),
            ]
        )

    return parse


def _part(name: str) -> str:
    found = _PART.fullmatch(name)
    if found is None:
        raise ValueError("expected a file's name as sample_skeleton_train.csv")
    return found[1]


def common_index(value: str) -> str:
    """Turn a file's name and an index in it into ``train_17``."""
    name, _, index = value.partition("\t")
    return f"{_part(name)}_{word(index)}"


def part(value: str) -> str:
    """The part of a sample: ``train`` by its file, ``valid`` or ``test`` by chance."""
    name, _, sample = value.partition("\t")
    if _part(name) == "train":
        return "train"
    return "valid" if share(sample) < 1 / 2 else "test"


def outcome(value: str) -> str:
    """Click and purchase together."""
    return value


def _fields(tokens: tuple[str, ...], numbers: tuple[str, ...]) -> tuple[str, ...]:
    return (*(f"f{name}:token" for name in tokens), *(f"d{name}:float" for name in numbers))


CONVERTER = Converter(
    name="ali_ccp",
    title="Alibaba Click and Conversion Prediction (Ali-CCP)",
    raw_name="sample_skeleton_t*.csv",
    form=_CSV,
    columns=(
        Column("part", ("part:token",), part, made_of=(FILE, "sample")),
        *unused("sample"),
        label("click"),
        label("conversion", "conversion"),
        Column("common", (), common_index, made_of=(FILE, "index")),
        *unused("index", "count"),
        Column("item", ("item_id:token",), picked(("205",)), made_of=("features",)),
        Column("domain", ("domain_301:token",), picked(("301",)), made_of=("features",)),
        Column(
            "features",
            _fields(SAMPLE_TOKENS, SAMPLE_NUMBERS),
            picked(SAMPLE_TOKENS, SAMPLE_NUMBERS),
        ),
        Column("outcome", (), outcome, made_of=("click", "conversion")),
    ),
    side_tables=(
        SideTable(
            "common_features_t*.csv",
            _CSV,
            (
                Column("common", (), common_index, made_of=(FILE, "index")),
                *unused("index", "count"),
                Column(
                    "features",
                    ("user_id:token", *_fields(COMMON_TOKENS, COMMON_NUMBERS)),
                    picked(("101", *COMMON_TOKENS), COMMON_NUMBERS),
                ),
            ),
            key="common",
            of="common",
            describes=None,
            complete=True,
        ),
    ),
    left_out=(LeftOut("outcome", "0\t1".__eq__, "with a purchase and no click"),),
    entities=(Entity("item", "item", has_file=False),),
    label="click",
    is_positive=is_one,
    scenario="domain_301",
    tallied=("conversion",),
    split_by="part",
    sampled_by="common",
    parts={"train": "train", "valid": "valid", "test": "test"},
    homepage="https://tianchi.aliyun.com/dataset/408",
    licence="for research, by the terms of the Tianchi page, which asks for an account; cite Ma et "
    "al., SIGIR 2018",
    published={"rows": 85_316_519, "scenarios": 3, "part=train": 42_299_905},
)

if __name__ == "__main__":
    sys.exit(run((CONVERTER,)))
