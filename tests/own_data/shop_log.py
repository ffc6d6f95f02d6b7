"""The log of a shop as its own systems would write it, day by day, and what is to become of it."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

ZONE = ZoneInfo("Europe/Berlin")
FIRST_DAY = datetime(2026, 11, 16, tzinfo=ZONE)
CHANNELS = {"app": 0.55, "web": 0.25, "Außendienst": 0.12, "почта": 0.06, "メール": 0.02}
NEW_CHANNEL = "épicerie, №2"
TAGS = ("neu", "café", "🎁", "solde d'été", "=1+1", "x y")
NAMES = [
    *("impression", "Kunde", "品", "channel", "gesehen am", "Preis €", "Alter", "tags"),
    *("member", "version", "clicked", "bought"),
]
ROLES = (
    *("--user", "Kunde", "--item", "品", "--scenario", "channel", "--time", "gesehen am"),
    *("--zone", "Europe/Berlin", "--multi", "tags=|", "--missing", "unbekannt"),
)
"""What is typed behind ``prepare NAME --csv FILES``, but for the label."""
CLICKS = (*ROLES, "--label", "clicked")

_USERS, _ITEMS = 60, 40
_MISSING_PRICE, _MISSING_AGE, _COPIES = 0.05, 0.1, 0.004
_ZONES = (None, timezone.utc, timezone(timedelta(hours=-5)))


@dataclass(frozen=True)
class Row:
    """An impression, its values as a program would have them."""

    impression: int
    user: str
    item: str
    channel: str
    time: datetime
    time_zone: timezone | None
    price: float | None
    age: int | None
    tags: tuple[str, ...]
    member: bool
    clicked: bool
    bought: bool

    def texts(self) -> list[str]:
        """The row in a CSV file: :data:`NAMES`."""
        return [
            str(self.impression),
            self.user,
            self.item,
            self.channel,
            self._time_text(),
            "unbekannt" if self.price is None else f"{self.price:.2f}",
            "" if self.age is None else str(self.age),
            "|".join(self.tags),
            str(self.member),
            "v1",
            str(int(self.clicked)),
            str(int(self.bought)),
        ]

    def _time_text(self) -> str:
        """The time in the row's zone, which is named, or in the shop's, which is not."""
        if self.time_zone is None:
            return self.time.replace(tzinfo=None).isoformat(" ")
        return self.time.astimezone(self.time_zone).isoformat().replace("+00:00", "Z")

    def fields(self) -> dict[str, str]:
        """The row as a hand would write it into an atomic file."""
        return {
            "Kunde:token": self.user,
            "品:token": self.item,
            "channel:token": self.channel,
            "Alter:token": "" if self.age is None else str(self.age),
            "member:token": "true" if self.member else "false",
            "tags:token_seq": "|".join(self.tags),
            "Preis_€:float": "" if self.price is None else _shortest(self.price),
            "gesehen_am:float": str(int(self.time.timestamp())),
            "clicked:float": str(int(self.clicked)),
        }


def _shortest(number: float) -> str:
    return str(int(number)) if number == int(number) else repr(number)


def day_rows(day: int, rows: int = 400, *, is_next: bool = False) -> list[Row]:
    """The rows of a day, in the order of their time; some stand there twice.

    Args:
        day: its number from 0, from which all of it follows.
        rows: how many, without the copies.
        is_next: whether a fifth of the users and of the items, and one channel, are new.
    """
    random = np.random.default_rng([16, day])
    channels, shares = list(CHANNELS), list(CHANNELS.values())
    found: list[Row] = []
    for place in range(rows):
        user, item = int(random.integers(_USERS)), int(random.integers(_ITEMS))
        channel = str(random.choice(channels, p=shares))
        is_new = is_next and random.random() < 0.2
        liking = (user % 7 - 3) + (item % 5 - 2) * (1 if channel == "app" else -1)
        clicked = bool(random.random() < 1 / (1 + np.exp(-0.5 * liking)))
        price = float(np.round(np.exp(random.normal(3, 1.5)), 2))
        tags = tuple(tag for tag in TAGS if random.random() < 0.2)
        row = Row(
            impression=day * 100_000 + place,
            user=f"neu-ÿ{user}" if is_new else f"k-ü{user}",
            item=f"neu {item}" if is_new else f'{item}" 品',
            channel=NEW_CHANNEL if is_new and user % 2 else channel,
            time=FIRST_DAY + timedelta(days=day, seconds=place * 80_000 // rows),
            time_zone=_ZONES[int(random.integers(len(_ZONES)))],
            price=None if random.random() < _MISSING_PRICE else price,
            age=None if random.random() < _MISSING_AGE else 18 + user,
            tags=tags,
            member=user % 3 == 0,
            clicked=clicked,
            bought=clicked and bool(random.random() < 0.3),
        )
        found += [row, row] if random.random() < _COPIES else [row]
    return found


def rows_of_days(days: Sequence[int]) -> list[Row]:
    """The rows of several days."""
    return [row for day in days for row in day_rows(day)]


def write_log(path: Path, rows: Sequence[Row]) -> Path:
    """Write a log as what its name says: ``.csv``, ``.csv.gz`` or ``.parquet``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        frame_of(rows).to_parquet(path)
        return path
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(NAMES)
        writer.writerows(row.texts() for row in rows)
    return path


def frame_of(rows: Sequence[Row]) -> pd.DataFrame:
    """The rows in a frame: times with a zone, lists, numbers, missing ones without a value."""
    return pd.DataFrame(
        {
            "impression": [row.impression for row in rows],
            "Kunde": [row.user for row in rows],
            "品": pd.Categorical([row.item for row in rows]),
            "channel": [row.channel for row in rows],
            "gesehen am": pd.to_datetime([row.time for row in rows], utc=True),
            "Preis €": [row.price for row in rows],
            "Alter": pd.array([row.age for row in rows], dtype="Int64"),
            "tags": [list(row.tags) for row in rows],
            "member": [row.member for row in rows],
            "version": "v1",
            "clicked": [row.clicked for row in rows],
            "bought": [int(row.bought) for row in rows],
        }
    )


def atomic_lines(rows: Sequence[Row]) -> Iterator[str]:
    """The lines of the atomic file that is to be made of the rows."""
    yield "\t".join(rows[0].fields())
    for row in rows:
        yield "\t".join(row.fields().values())


def write_atomic(path: Path, rows: Sequence[Row]) -> Path:
    """Write :func:`atomic_lines`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(atomic_lines(rows)) + "\n", encoding="utf-8")
    return path
