r"""Tenrec: the videos shown on two platforms, ``QK-video.csv`` and ``QB-video.csv``.

Run as ``python atomic_data_scripts/tenrec.py --raw FOLDER`` with the folder of both files, or with
``--dataset tenrec_qb_video --raw QB-video.csv`` for the smaller one alone.

The label is ``click``. The scenario is the platform, ``QK`` or ``QB``, or, in one file,
``video_category``. A value that is missing, ``\N``, is the token ``unk``. Follows, likes, shares
and how often a video was watched came after the click and are not read. There are no times.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from recbole_midpg.atomic_data_scripts.columns import (
    FILE,
    MISSING,
    Column,
    text_or_missing,
    token,
    unused,
    whole_number,
)
from recbole_midpg.atomic_data_scripts.converter import Converter, Entity
from recbole_midpg.atomic_data_scripts.labels import is_one, label
from recbole_midpg.atomic_data_scripts.raw_file import Delimited
from recbole_midpg.atomic_data_scripts.script import run


def text(value: str) -> str:
    r"""Accept any text; ``\N`` is a missing one."""
    return MISSING if value == r"\N" else text_or_missing(value)


def platform(file_name: str) -> str:
    """Turn ``QK-video.csv``, below any folder, into ``QK``."""
    return file_name.rpartition("/")[2].partition("-")[0]


BOTH = Converter(
    name="tenrec_video",
    title="Tenrec, videos of two platforms",
    raw_name="Q[KB]-video.csv",
    form=Delimited(","),
    columns=(
        token("user_id", whole_number),
        token("item_id", whole_number),
        label("click"),
        *unused("follow", "like", "share"),
        token("video_category", text),
        *unused("watching_times"),
        token("gender", text),
        token("age", text),
        Column("platform", ("platform:token",), platform, made_of=(FILE,)),
    ),
    entities=(Entity("user", "user_id"), Entity("item", "item_id")),
    label="click",
    is_positive=is_one,
    scenario="platform",
    tallied=("video_category", "gender", "age"),
    several_files=True,
    homepage="https://tenrec0.github.io",
    licence="CC BY-NC 4.0, after a form; cite Yuan et al., NeurIPS 2022",
    published={
        "rows": 495_901_269,
        "scenarios": 2,
        "positives": 144_022_364,
        "platform=QK": 493_458_970,
        "platform=QB": 2_442_299,
    },
)
QB = replace(
    BOTH,
    name="tenrec_qb_video",
    title="Tenrec, videos of the platform QB",
    raw_name="QB-video.csv",
    columns=BOTH.columns[:-1],
    scenario="video_category",
    tallied=("gender", "age"),
    several_files=False,
    published={"rows": 2_442_299, "users": 34_240, "items": 130_637, "positives": 1_701_171},
)

if __name__ == "__main__":
    sys.exit(run((BOTH, QB)))
