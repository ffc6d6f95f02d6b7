r"""Impressions of the shape of the paper's closed Advertising set, with a planted label model.

An ad belongs to a group, a group to an advertiser, an advertiser to a trade. The planted
interactions tie the hour to the trade, the advertiser and the group, with a sign and a strength
that depend on the scenario, in which every ad is shown.

At the published size, rows, users, ads, groups, advertisers, trades and scenarios are the published
numbers. Users grow with the rows, ads, groups and advertisers with their square root. The base rate
is not published: 0.075 fits the paper's LogLoss near 0.235 at an AUC near 0.75.

Rows are made in chunks that know nothing of each other, so that memory does not grow with their
number. Row i takes the place :math:`\pi(i)` in a list of :math:`T` places of :math:`n` users, where
:math:`\pi` permutes the places: user :math:`j` has place :math:`j` and those places
:math:`n + e, e < T - n`, for which :math:`\lfloor n\,(e / (T - n))^3 \rfloor = j`. Ads have their
places in the same way. So each has a row, and few have many.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from recbole_midpg.atomic_data_scripts.advertising import CONVERTER
from recbole_midpg.generated.generated_set import CHUNK_ROWS, Chunk, GeneratedRows, GeneratedSet
from recbole_midpg.generated.label_model import Factor, LabelDrawer, LabelModel, Spreads
from recbole_midpg.generated.permutation import Permutation
from recbole_midpg.generated.popularity import ROWS_BY_HOUR, drawn, scaled, shared_out

Codes = NDArray[np.int64]

PUBLISHED = CONVERTER.published
BASE_RATE = 0.075
ANGLES = {"feed": 0, "search": 120, "banner": 45}
"""Where each scenario stands on the circle of the label model, in degrees."""

CLOSENESS = 0.8

_SCENARIO_SHARES = (0.55, 0.30, 0.15)
_TRADES = (
    *("retail", "travel", "games", "finance", "education"),
    *("food", "health", "cars", "media", "services"),
)
_N_DAYS = 7
_TAIL_POWER = 3
_ROWS_TO_FIT = 1 << 18


@dataclass(frozen=True)
class _Ads:
    """The catalogue: the group, the advertiser and the trade of each ad, ``(ads,)`` each."""

    group: Codes
    advertiser: Codes
    trade: Codes


class _Places:
    """Who has which of ``total`` places; see the module's text.

    Args:
        random: the source of the permutation.
        size: users or ads.
        total: places, one a row.
    """

    def __init__(self, random: Generator, size: int, total: int) -> None:
        self._size, self._further = size, total - size
        self._place = Permutation(random, total)
        # Without it, small numbers would be the popular ones.
        self._name = Permutation(random, size)

    def __call__(self, rows: Codes) -> Codes:
        """Whose the places of rows are."""
        place = self._place(rows)
        share = np.maximum(place - self._size, 0) / max(self._further, 1)
        owner = np.where(
            place < self._size, place, (self._size * share**_TAIL_POWER).astype(np.int64)
        )
        return self._name(owner)


class _Impressions:
    """Rows by their numbers.

    Args:
        random: the source of everything but labels.
        rows: how many there are.
    """

    def __init__(self, random: Generator, rows: int) -> None:
        self.rows = rows
        sizes = {
            name: scaled(PUBLISHED[name], rows, PUBLISHED["rows"], 0.5, least)
            for name, least in (("items", 100), ("groups", 50), ("advertisers", len(_TRADES)))
        }
        self.n_ads, self.n_groups = sizes["items"], sizes["groups"]
        self.n_advertisers = sizes["advertisers"]
        self.ads = _make_ads(random, self.n_ads, self.n_groups, self.n_advertisers)
        n_users = scaled(PUBLISHED["users"], rows, PUBLISHED["rows"])
        self._user = _Places(random, n_users, rows)
        self._ad = _Places(random, self.n_ads, rows)
        self._seed = int(random.integers(1 << 63))

    def chunk(self, number: int) -> dict[str, Codes]:
        """The columns of chunk ``number``, the same whenever it is asked for."""
        random = np.random.default_rng([self._seed, number])
        rows = np.arange(number * CHUNK_ROWS, min((number + 1) * CHUNK_ROWS, self.rows))
        ad = self._ad(rows)
        return {
            "user": self._user(rows),
            "scenario": drawn(random, _SCENARIO_SHARES, len(rows)),
            "trade": self.ads.trade[ad],
            "advertiser": self.ads.advertiser[ad],
            "group": self.ads.group[ad],
            "ad": ad,
            "hour": drawn(random, ROWS_BY_HOUR, len(rows)),
            "day": rows * _N_DAYS // self.rows,
        }

    def __len__(self) -> int:
        """The number of chunks."""
        return (self.rows + CHUNK_ROWS - 1) // CHUNK_ROWS


def make(rows: int, seed: int) -> GeneratedRows:
    """Make the impressions, in the order of their days.

    Args:
        rows: how many.
        seed: the same seed makes the same impressions.
    """
    random, label_random = np.random.default_rng(seed).spawn(2)
    impressions = _Impressions(random, rows)
    model = _label_model(label_random, impressions)
    # Users and ads are spread evenly over the rows, so that the first chunks stand for all.
    n_chunks = min(len(impressions), _ROWS_TO_FIT // CHUNK_ROWS)
    first = [impressions.chunk(number) for number in range(n_chunks)]
    columns = {name: np.concatenate([chunk[name] for chunk in first]) for name in first[0]}
    model.fit(columns, BASE_RATE)
    return GeneratedRows(
        scenarios=tuple(ANGLES),
        model=model,
        chunks=_chunks(impressions, model, LabelDrawer(label_random)),
    )


def _label_model(random: Generator, impressions: _Impressions) -> LabelModel:
    hours = Factor("hour", len(ROWS_BY_HOUR), 1.0, smoothness=3)
    trades = Factor("trade", len(_TRADES), 1.0)
    advertisers = Factor("advertiser", impressions.n_advertisers, 0.7)
    groups = Factor("group", impressions.n_groups, 0.5)
    return LabelModel(
        random,
        scenario_field="scenario",
        angles=list(ANGLES.values()),
        closeness=CLOSENESS,
        shared=(Factor("ad", impressions.n_ads, 0.5), hours, trades, advertisers, groups),
        context=(hours,),
        item=(trades, advertisers, groups),
        spreads=Spreads(scenario=0.3, shared=0.7, shared_pair=0.2, interaction=0.8),
    )


def _make_ads(random: Generator, n_ads: int, n_groups: int, n_advertisers: int) -> _Ads:
    trade_of_advertiser = shared_out(random, [1] * len(_TRADES), n_advertisers)
    advertiser_of_group = _parents(random, n_groups, n_advertisers)
    group = _parents(random, n_ads, n_groups)
    advertiser = advertiser_of_group[group]
    return _Ads(group, advertiser, trade_of_advertiser[advertiser])


def _parents(random: Generator, size: int, n_parents: int) -> Codes:
    """Give each of ``size`` children a parent, and each parent a child."""
    others = random.integers(0, n_parents, size - n_parents)
    return random.permutation(np.append(np.arange(n_parents), others))


def _chunks(impressions: _Impressions, model: LabelModel, drawer: LabelDrawer) -> Iterator[Chunk]:
    scenarios = list(ANGLES)
    for number in range(len(impressions)):
        columns = impressions.chunk(number)
        probability = model.probability(columns)
        label = drawer.draw(probability)
        texts = zip(*(columns[name].tolist() for name in columns), label.tolist(), strict=True)
        lines = [
            f"{user},{scenarios[scenario]},{_TRADES[trade]},{advertiser},{group},{ad},{hour},{day},"
            f"{label_}"
            for user, scenario, trade, advertiser, group, ad, hour, day, label_ in texts
        ]
        yield Chunk(lines, probability, label)


GENERATED_SET = GeneratedSet(
    converter=replace(
        CONVERTER,
        name="advertising_synth",
        title="Generated impressions of the shape of the paper's Advertising set",
    ),
    smallest=10_000,
    largest=PUBLISHED["rows"],
    make=make,
)
