"""KuaiRand-1K and KuaiRand-27K: the standard logs and the features of users and videos.

Run as ``python atomic_data_scripts/kuairand.py --raw KuaiRand-1K``, the unpacked folder, with
``--dataset kuairand_27k`` for the large one.

The label is ``is_click``, the scenario ``tab``; as in public benchmarks rows of tabs other than 0,
1, 2, 4 and 6 are left out. ``hour`` and ``day`` are those of UTC+8. What users did after the click,
the statistics of videos over the whole month and the log of randomly shown videos, which is of the
days of the second log, are not read.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from recbole_midpg.atomic_data_scripts.columns import (
    Column,
    listed,
    number,
    text_or_missing,
    token,
    unused,
    whole_number,
)
from recbole_midpg.atomic_data_scripts.converter import Converter, Entity, LeftOut, SideTable
from recbole_midpg.atomic_data_scripts.labels import is_one, label
from recbole_midpg.atomic_data_scripts.raw_file import Delimited
from recbole_midpg.atomic_data_scripts.script import run
from recbole_midpg.atomic_data_scripts.times import CLOCK_FIELDS, clock, unix_milliseconds

TABS = frozenset("01246")
"""The scenarios of public benchmarks; the other tabs are small or have nearly one label."""

_CSV = Delimited(",", quoted=True)


def _tokens(*names: str) -> tuple[Column, ...]:
    return tuple(token(name, text_or_missing) for name in names)


def _count_and_range(name: str) -> tuple[Column, Column]:
    return Column(name, (f"{name}:float",), number), token(f"{name}_range", text_or_missing)


def _is_of_other_tab(tab: str) -> bool:
    return tab not in TABS


def _converter(size: str, published: Mapping[str, int]) -> Converter:
    users = SideTable(
        f"user_features_{size}.csv",
        _CSV,
        (
            Column("user_id", (), whole_number),
            *_tokens("user_active_degree", "is_lowactive_period"),
            *_tokens("is_live_streamer", "is_video_author"),
            *_count_and_range("follow_user_num"),
            *_count_and_range("fans_user_num"),
            *_count_and_range("friend_user_num"),
            *_count_and_range("register_days"),
            *_tokens(*(f"onehot_feat{place}" for place in range(18))),
        ),
        key="user_id",
        of="user_id",
        describes="user",
    )
    videos = SideTable(
        f"video_features_basic_{size}.csv",
        _CSV,
        (
            Column("video_id", (), whole_number),
            *_tokens("author_id", "video_type"),
            *unused("upload_dt"),
            *_tokens("upload_type", "visible_status"),
            Column("video_duration", ("video_duration:float",), number),
            *unused("server_width", "server_height", "music_id"),
            *_tokens("music_type"),
            Column("tag", ("tag:token_seq",), listed(",", text_or_missing)),
        ),
        key="video_id",
        of="video_id",
        describes="item",
    )
    return Converter(
        name=f"kuairand_{size}",
        title=f"KuaiRand-{size.upper()}, standard logs",
        raw_name=f"log_standard_*_{size}*.csv",
        form=_CSV,
        columns=(
            token("user_id", whole_number),
            Column("video_id", ("item_id:token",), whole_number),
            *unused("date", "hourmin"),
            Column("time_ms", CLOCK_FIELDS, clock(8, unix_milliseconds)),
            label("is_click"),
            *unused("is_like", "is_follow", "is_comment", "is_forward", "is_hate"),
            *unused("long_view", "play_time_ms"),
            Column("duration_ms", ("duration_ms:float",), number),
            *unused("profile_stay_time", "comment_stay_time", "is_profile_enter", "is_rand"),
            token("tab", whole_number),
        ),
        side_tables=(users, videos),
        left_out=(LeftOut("tab", _is_of_other_tab, "of other tabs"),),
        entities=(Entity("user", "user_id"), Entity("item", "video_id")),
        label="is_click",
        is_positive=is_one,
        scenario="tab",
        tallied=("day", "hour", "user_active_degree", "video_type"),
        homepage="https://kuairand.com",
        licence="CC BY-SA 4.0; cite Gao et al., CIKM 2022",
        published=published,
    )


SMALL = _converter("1k", published={"rows": 11_648_743, "users": 1_000, "scenarios": 5})
LARGE = _converter(
    "27k",
    published={
        "rows": 319_577_449,
        "scenarios": 5,
        "tab=0": 63_923_841,
        "tab=1": 215_925_023,
        "tab=2": 9_949_649,
        "tab=4": 24_510_543,
        "tab=6": 5_268_393,
    },
)

if __name__ == "__main__":
    sys.exit(run((SMALL, LARGE)))
