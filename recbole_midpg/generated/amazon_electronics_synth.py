"""Ratings of the shape of MarketBias Electronics, with a planted label model.

The scenario, the item's category, is a function of the item, so that item embeddings take in
whatever depends on scenario and item alone. The planted interactions tie what belongs to the user
and the moment to the item: the period of the rating and the user's gender on one side; the gender
of the model in the item's picture, its brand and its listing year on the other.

A period is 150 days: the 7,050 days from the first to the last make 47, and the last day begins
another. With ``discretization`` into 47 buckets of equal width, as in
``dataset_configs/amazon_electronics_synth.yaml``, the buckets of ``timestamp`` are the periods.

At the published size, rows, users, items, categories, items by ``model_attr``, rows with a brand,
users by ``user_attr``, and rows by ``user_attr`` and ``model_attr`` are the published numbers.
Users grow with the rows, items with their square root. A rating of 4 or 5 is a positive label.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from recbole_midpg.atomic_data_scripts.amazon_electronics import CATEGORIES, CONVERTER
from recbole_midpg.generated.generated_set import CHUNK_ROWS, Chunk, GeneratedRows, GeneratedSet
from recbole_midpg.generated.label_model import Columns, Factor, LabelDrawer, LabelModel, Spreads
from recbole_midpg.generated.popularity import (
    by_first_appearance,
    long_tailed_counts,
    scaled,
    shared_out,
    subset_with_total,
)

FIRST_DAY = np.datetime64("1999-06-13")
N_DAYS = 7051
PERIOD_DAYS = 150
N_PERIODS = (N_DAYS - 1) // PERIOD_DAYS + 1
FIRST_YEAR, N_YEARS = 1999, 20

BASE_RATE = 0.77
"""The share of ratings of 4 or 5 that the paper's LogLoss fits."""

ANGLES = {
    "Home Audio": 0,
    "Portable Audio & Video": 20,
    "Headphones": 40,
    "Wearable Technology": 90,
    "Computers & Accessories": 150,
    "Accessories & Supplies": 170,
    "Car Electronics & GPS": 210,
    "Camera & Photo": 240,
    "Security & Surveillance": 260,
    "Television & Video": 320,
}
"""Where each category stands on the circle of the label model, in degrees."""

CLOSENESS = 0.8

_ITEM_SHARES = {
    "Home Audio": 0.09,
    "Portable Audio & Video": 0.12,
    "Headphones": 0.16,
    "Wearable Technology": 0.06,
    "Computers & Accessories": 0.18,
    "Accessories & Supplies": 0.13,
    "Car Electronics & GPS": 0.07,
    "Camera & Photo": 0.10,
    "Security & Surveillance": 0.04,
    "Television & Video": 0.05,
}
_MODEL_ATTRS = ("Female", "Female&Male", "Male")
_ITEMS_BY_MODEL = (4_090, 2_466, 3_004)
_USER_ATTRS = ("", "Female", "Male")
_USERS_BY_ATTR = (1_025_240, 71_043, 61_350)
_ROWS_BY_ATTR_AND_MODEL = ((34_259, 26_478, 25_963), (31_587, 24_930, 30_907))
_ROWS_WITH_BRAND = 331_120
_BRANDS = ("", *(f"Brand {number:02d}" for number in range(1, 51)))

_ITEM_TAIL, _USER_TAIL, _BRAND_TAIL = 1.6, 1.1, 1.0
_SHARE_LISTED_THE_YEAR_BEFORE = 0.2
_SHARE_OF_FIVE = 0.75
_NEGATIVE_STARS, _SHARES_OF_NEGATIVE_STARS = (1, 2, 3), (0.42, 0.23, 0.35)
_SHARES_OF_AUTHORS_SPLIT = (0.8, 0.1, 0.1)


@dataclass(frozen=True)
class _Items:
    """The catalogue: the values of each item, ``(items,)`` each."""

    category: NDArray[np.int64]
    model: NDArray[np.int64]
    brand: NDArray[np.int64]
    year: NDArray[np.int64]


def make(rows: int, seed: int) -> GeneratedRows:
    """Make the ratings, in the order of their days.

    Args:
        rows: how many.
        seed: the same seed makes the same ratings.
    """
    random, label_random, text_random = np.random.default_rng(seed).spawn(3)
    n_items = scaled(CONVERTER.published["items"], rows, CONVERTER.published["rows"], 0.5, 100)
    item, day, counts = _rows_of_items(random, n_items, rows)
    items = _make_items(random, counts, item, day, rows)
    attr, user = _make_users(random, items.model[item], rows)
    columns: dict[str, NDArray[np.int64]] = {
        "category": items.category[item],
        "item": item,
        "brand": items.brand[item],
        "model": items.model[item],
        "year": items.year[item],
        "period": day // PERIOD_DAYS,
        "attr": attr,
    }
    model = _label_model(label_random, n_items)
    model.fit(columns, round(BASE_RATE * rows) / rows)
    drawer = LabelDrawer(label_random)
    return GeneratedRows(
        scenarios=tuple(CATEGORIES),
        model=model,
        chunks=_chunks(columns, user, day, model, drawer, text_random),
    )


def _label_model(random: Generator, n_items: int) -> LabelModel:
    n_brands = len(_BRANDS)
    return LabelModel(
        random,
        scenario_field="category",
        angles=[ANGLES[category] for category in CATEGORIES],
        closeness=CLOSENESS,
        shared=(
            Factor("item", n_items),
            Factor("brand", n_brands, 0.5, missing=0),
            Factor("model", len(_MODEL_ATTRS), 0.3),
            Factor("year", N_YEARS, 0.3, smoothness=2),
            Factor("period", N_PERIODS, 0.6, smoothness=3),
            Factor("attr", len(_USER_ATTRS), 0.3, missing=0),
        ),
        context=(
            Factor("period", N_PERIODS, 1.0, smoothness=4),
            Factor("attr", len(_USER_ATTRS), 1.0, missing=0),
        ),
        item=(
            Factor("model", len(_MODEL_ATTRS), 1.0),
            Factor("brand", n_brands, 1.0, missing=0),
            Factor("year", N_YEARS, 0.5, smoothness=3),
        ),
        spreads=Spreads(scenario=0.2, shared=0.4, shared_pair=0.15, interaction=0.65),
    )


def _rows_of_items(
    random: Generator, n_items: int, rows: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The item and the day of each row, in the order of days, and the rows of each item.

    Items are numbered by first appearance, as in the real file.
    """
    counts = long_tailed_counts(random, n_items, rows, _ITEM_TAIL)
    launch = np.floor(N_DAYS * random.beta(2.5, 1.5, n_items)).astype(np.int64)
    item = np.repeat(np.arange(n_items), counts)
    left = N_DAYS - launch[item]
    day = launch[item] + np.floor(left * random.beta(1.2, 1.6, rows)).astype(np.int64)
    order = np.argsort(day, kind="stable")
    item, day = item[order], day[order]
    day[0], day[-1] = 0, N_DAYS - 1
    item, old = by_first_appearance(item)
    return item, day, counts[old]


def _make_items(
    random: Generator,
    counts: NDArray[np.int64],
    item: NDArray[np.int64],
    day: NDArray[np.int64],
    rows: int,
) -> _Items:
    n_items = len(counts)
    categories = shared_out(random, [_ITEM_SHARES[name] for name in CATEGORIES], n_items)
    models = shared_out(random, _ITEMS_BY_MODEL, n_items)
    brands = np.zeros(n_items, dtype=np.int64)
    branded = subset_with_total(
        random,
        counts,
        np.arange(n_items),
        scaled(_ROWS_WITH_BRAND, rows, CONVERTER.published["rows"]),
    )
    weights = np.exp(_BRAND_TAIL * random.standard_normal(len(_BRANDS) - 1))
    brands[branded] = 1 + random.choice(len(_BRANDS) - 1, len(branded), p=weights / weights.sum())
    first_day = day[np.unique(item, return_index=True)[1]]
    first_year = (FIRST_DAY + first_day).astype("datetime64[Y]").astype(np.int64) + 1970
    listed = first_year - FIRST_YEAR - (random.random(n_items) < _SHARE_LISTED_THE_YEAR_BEFORE)
    return _Items(categories, models, brands, np.maximum(listed, 0))


def _make_users(
    random: Generator, model: NDArray[np.int64], rows: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The gender and the user of each row; users are numbered by first appearance."""
    attr = np.zeros(rows, dtype=np.int64)
    for value in range(len(_MODEL_ATTRS)):
        candidates = random.permutation(np.flatnonzero(model == value))
        start = 0
        for gender, by_model in enumerate(_ROWS_BY_ATTR_AND_MODEL, start=1):
            size = scaled(by_model[value], rows, CONVERTER.published["rows"])
            attr[candidates[start : start + size]] = gender
            start += size
    user = np.empty(rows, dtype=np.int64)
    n_before = 0
    for value, published in enumerate(_USERS_BY_ATTR):
        places = np.flatnonzero(attr == value)
        n_users = min(scaled(published, rows, CONVERTER.published["rows"]), len(places))
        counts = long_tailed_counts(random, n_users, len(places), _USER_TAIL)
        user[places] = n_before + random.permutation(np.repeat(np.arange(n_users), counts))
        n_before += n_users
    return attr, by_first_appearance(user)[0]


def _chunks(
    columns: Columns,
    user: NDArray[np.int64],
    day: NDArray[np.int64],
    model: LabelModel,
    drawer: LabelDrawer,
    random: Generator,
) -> Iterator[Chunk]:
    days = np.datetime_as_string(FIRST_DAY + np.arange(N_DAYS))
    categories = list(CATEGORIES)
    for start in range(0, len(user), CHUNK_ROWS):
        places = slice(start, start + CHUNK_ROWS)
        part = {name: values[places] for name, values in columns.items()}
        probability = model.probability(part)
        label = drawer.draw(probability)
        split = random.choice(3, len(label), p=_SHARES_OF_AUTHORS_SPLIT)
        texts = zip(
            part["item"].tolist(),
            user[places].tolist(),
            _stars(random, label).tolist(),
            days[day[places]].tolist(),
            part["model"].tolist(),
            part["category"].tolist(),
            part["brand"].tolist(),
            part["year"].tolist(),
            part["attr"].tolist(),
            split.tolist(),
            strict=True,
        )
        lines = [
            f"{item},{user_},{stars}.0,{date},{_MODEL_ATTRS[model_]},{categories[category]},"
            f"{_BRANDS[brand]},{FIRST_YEAR + year},{_USER_ATTRS[attr]},{split_}"
            for item, user_, stars, date, model_, category, brand, year, attr, split_ in texts
        ]
        yield Chunk(lines, probability, label)


def _stars(random: Generator, label: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Draw ratings: 4 or 5 for positive labels, 1 to 3 for others."""
    good = np.where(random.random(len(label)) < _SHARE_OF_FIVE, 5, 4)
    bad = random.choice(_NEGATIVE_STARS, len(label), p=_SHARES_OF_NEGATIVE_STARS)
    return np.where(label == 1, good, bad)


GENERATED_SET = GeneratedSet(
    converter=replace(
        CONVERTER,
        name="amazon_electronics_synth",
        title="Generated ratings of the shape of MarketBias Electronics",
        homepage=None,
        download_url=None,
        licence="generated; free of rights",
    ),
    smallest=1_000,
    largest=None,
    make=make,
)
