"""Ad clicks of the shape of IAAC (IJCAI-18 Alimama), with a planted label model.

The scenario is the user's predicted gender. The planted interactions tie the moment, the result
page and the user (hour, page, age, star level) to the item (category, price level, impressions
level).

At the published size, rows, users, items, shops, positives, exact copies, repeated keys, rows by
gender and by day, rows and users without a gender or an age, and items and shops with missing
attributes are the published numbers. Users grow with the rows, items and shops with their square
root. As many rows as in the real file are exact copies of another one; they copy negative rows, so
that the number of positives stays as it is.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from recbole_midpg.atomic_data_scripts.iaac import CONVERTER
from recbole_midpg.generated.generated_set import CHUNK_ROWS, Chunk, GeneratedRows, GeneratedSet
from recbole_midpg.generated.label_model import Factor, LabelDrawer, LabelModel, Spreads
from recbole_midpg.generated.popularity import (
    ROWS_BY_HOUR,
    drawn,
    long_tailed_counts,
    scaled,
    shared_counts,
    shared_out,
    subset_of_size,
    subset_with_total,
)

Codes = NDArray[np.int64]

PUBLISHED = CONVERTER.published
GENDERS = ("0", "1", "2", "-1")
ANGLES = {"0": 0, "1": 140, "2": 60, "-1": 20}
"""Where each gender stands on the circle of the label model, in degrees."""

CLOSENESS = 0.8

_FIRST_SECOND = 1_537_200_000
_HOUR, _DAY = 3_600, 86_400
_ROWS_BY_DAY = tuple(count for name, count in PUBLISHED.items() if name.startswith("day="))
_ROWS_BY_GENDER = tuple(PUBLISHED[f"user_gender_id={gender}"] for gender in GENDERS)
_USERS_WITHOUT_GENDER = 5_504
_USERS_WITHOUT_AGE, _ROWS_WITHOUT_AGE = 439, PUBLISHED["user_age_level=-1"]
# Entities without an attribute, and their rows: counted in train and test_a, here train's share.
_ITEMS_WITHOUT_BRAND = (64, 473)
_ITEMS_WITHOUT_CITY = (22, 273)
_ITEMS_WITHOUT_SALES = (236, 913)
_SHOPS_WITHOUT_POSITIVE_RATE = (5, 7)
_SHOPS_WITHOUT_SCORES = (18, 58)

_AGES, _FIRST_AGE = (4, 10, 21, 27, 19, 10, 6, 3), 1000
_OCCUPATIONS, _FIRST_OCCUPATION = (6, 17, 14, 63), 2002
_STARS, _FIRST_STAR = (5, 5, 10, 12, 11, 13, 17, 12, 9, 4, 2), 3000
_PAGES, _FIRST_PAGE = tuple(0.72**page for page in range(20)), 4001

_CATEGORIES = (24, 19, 15, 11, 8, 6, 5, 4, 3, 2, 1, 1, 1)
_ROOT_CATEGORY, _LEAF_CATEGORY = "7908382889764677758", "8868887661186419229"
_CATEGORY_WITH_LEAF, _SHARE_WITH_LEAF = 4, 0.5
_N_BRANDS, _N_CITIES, _N_PROPERTIES = 2_000, 120, 20_000
_LEVELS, _PV_LEVELS, _REVIEW_LEVELS, _SHOP_STARS, _FIRST_SHOP_STAR = 18, 22, 26, 22, 4999
_SHARE_OF_QUERIES_WITH_CATEGORY = 0.9
_QUERIES = 300
"""Different predicted lists of each category."""

_ITEM_TAIL, _USER_TAIL = 1.8, 0.9


@dataclass(frozen=True)
class _Clicks:
    """What is known of each click but its label, ``(rows,)`` each."""

    item: Codes
    user: Codes
    day: Codes
    hour: Codes
    page: Codes


@dataclass(frozen=True)
class _Users:
    """The values of each user, ``(users,)`` each; 0 is missing but for the gender."""

    gender: Codes
    age: Codes
    occupation: Codes
    star: Codes


@dataclass(frozen=True)
class _Items:
    """The values of each item, ``(items,)`` each, and the raw texts that do not vary by row."""

    category: Codes
    price: Codes
    pv: Codes
    texts: list[str]
    shop_texts: list[str]


def make(rows: int, seed: int) -> GeneratedRows:
    """Make the clicks, in random order.

    Args:
        rows: how many.
        seed: the same seed makes the same clicks.
    """
    random, label_random, text_random = np.random.default_rng(seed).spawn(3)
    n_copies = scaled(PUBLISHED["exact copies"], rows, PUBLISHED["rows"], least=0)
    clicks, originals = _make_clicks(random, rows, n_copies)
    items = _make_items(random, np.bincount(clicks.item), rows)
    users = _make_users(random, np.bincount(np.append(clicks.user, clicks.user[originals])), rows)
    columns = {
        "gender": users.gender[clicks.user],
        "age": users.age[clicks.user],
        "occupation": users.occupation[clicks.user],
        "star": users.star[clicks.user],
        "hour": clicks.hour,
        "page": clicks.page,
        "item": clicks.item,
        "category": items.category[clicks.item],
        "price": items.price[clicks.item],
        "pv": items.pv[clicks.item],
    }
    model = _label_model(label_random, len(items.texts))
    n_distinct = len(clicks.item)
    positives = scaled(PUBLISHED["positives"], rows, PUBLISHED["rows"])
    model.fit(columns, positives / n_distinct)
    probability = model.probability(columns)
    label = LabelDrawer(label_random).draw(probability)
    originals = _negative_originals(random, originals, label, users, clicks)
    # A copy follows its original.
    order = np.sort(np.append(np.arange(n_distinct), originals))
    return GeneratedRows(
        scenarios=GENDERS,
        model=model,
        chunks=_chunks(order, clicks, users, items, probability, label, text_random),
    )


def _label_model(random: Generator, n_items: int) -> LabelModel:
    ages = Factor("age", len(_AGES) + 1, 1.0, missing=0)
    stars = Factor("star", len(_STARS) + 1, 0.7, smoothness=2, missing=0)
    hours = Factor("hour", len(ROWS_BY_HOUR), 1.0, smoothness=4)
    pages = Factor("page", len(_PAGES), 0.7)
    categories = Factor("category", len(_CATEGORIES), 1.0)
    prices = Factor("price", _LEVELS, 1.0, smoothness=3)
    impressions = Factor("pv", _PV_LEVELS, 0.7, smoothness=4)
    return LabelModel(
        random,
        scenario_field="gender",
        angles=[ANGLES[gender] for gender in GENDERS],
        closeness=CLOSENESS,
        shared=(
            Factor("item", n_items, 0.3),
            Factor("occupation", len(_OCCUPATIONS) + 1, 0.5, missing=0),
            *(ages, stars, hours, pages, categories, prices, impressions),
        ),
        context=(hours, pages, ages, stars),
        item=(categories, prices, impressions),
        spreads=Spreads(scenario=0.2, shared=0.4, shared_pair=0.15, interaction=0.5),
    )


def _make_clicks(random: Generator, rows: int, n_copies: int) -> tuple[_Clicks, Codes]:
    """The clicks without copies, and those of them to be copied, each in its day's number."""
    n_distinct = rows - n_copies
    n_items = scaled(PUBLISHED["items"], rows, PUBLISHED["rows"], 0.5, 100)
    n_users = scaled(PUBLISHED["users"], rows, PUBLISHED["rows"])
    days = shared_out(random, _ROWS_BY_DAY, rows)
    # Days are in random order, so that the last ones are a fair sample for the copies.
    days, copied_days = days[:n_distinct], days[n_distinct:]
    originals = [
        random.choice(np.flatnonzero(days == day), int(number), replace=False)
        for day, number in enumerate(np.bincount(copied_days, minlength=len(_ROWS_BY_DAY)))
    ]
    item_counts = long_tailed_counts(random, n_items, n_distinct, _ITEM_TAIL)
    user_counts = long_tailed_counts(random, n_users, n_distinct, _USER_TAIL)
    clicks = _Clicks(
        item=random.permutation(np.repeat(np.arange(n_items), item_counts)),
        user=random.permutation(np.repeat(np.arange(n_users), user_counts)),
        day=days,
        hour=drawn(random, ROWS_BY_HOUR, n_distinct),
        page=drawn(random, _PAGES, n_distinct),
    )
    return clicks, np.concatenate(originals).astype(np.int64)


def _negative_originals(
    random: Generator, originals: Codes, label: NDArray[np.uint8], users: _Users, clicks: _Clicks
) -> Codes:
    """Exchange the originals that turned out positive, without a change to any published count."""
    group = (users.gender + len(GENDERS) * (users.age == 0))[clicks.user]
    chosen: list[int] = []
    for original in originals.tolist():
        if label[original] == 1:
            alike = (clicks.day == clicks.day[original]) & (group == group[original])
            candidates = np.flatnonzero(alike & (label == 0))
            chosen.append(int(random.choice(np.setdiff1d(candidates, originals))))
        else:
            chosen.append(original)
    return np.array(chosen, dtype=np.int64)


def _make_users(random: Generator, counts: Codes, rows: int) -> _Users:
    """The users, whose rows, with copies, are ``counts``."""
    n_users = len(counts)
    rows_by_gender = dict(zip(GENDERS, shared_counts(_ROWS_BY_GENDER, rows).tolist(), strict=True))
    everyone = np.arange(n_users)
    gender = np.zeros(n_users, dtype=np.int64)
    n_unknown = scaled(_USERS_WITHOUT_GENDER, rows, PUBLISHED["rows"])
    unknown = subset_of_size(random, counts, everyone, n_unknown, rows_by_gender["-1"])
    gender[unknown] = GENDERS.index("-1")
    for name in ("2", "1"):
        left = np.flatnonzero(gender == 0)
        some = subset_with_total(random, counts, left, rows_by_gender[name])
        gender[some] = GENDERS.index(name)
    n_ageless = scaled(_USERS_WITHOUT_AGE, rows, PUBLISHED["rows"])
    ageless_rows = scaled(_ROWS_WITHOUT_AGE, rows, PUBLISHED["rows"])
    ageless = subset_of_size(random, counts, everyone, n_ageless, ageless_rows)
    levels = [1 + drawn(random, shares, n_users) for shares in (_AGES, _OCCUPATIONS, _STARS)]
    for level in levels:
        level[ageless] = 0
    return _Users(gender, *levels)


def _make_items(random: Generator, counts: Codes, rows: int) -> _Items:
    """The items, whose rows are ``counts``, and their shops."""
    n_items = len(counts)
    n_shops = scaled(PUBLISHED["shops"], rows, PUBLISHED["rows"], 0.5, 50)
    shop = random.permutation(
        np.append(np.arange(n_shops), random.integers(0, n_shops, n_items - n_shops))
    )
    category = shared_out(random, _CATEGORIES, n_items)
    has_leaf = (category == _CATEGORY_WITH_LEAF) & (random.random(n_items) < _SHARE_WITH_LEAF)
    price = _levels(random, n_items, _LEVELS, 6.5, 2.0)
    popularity = np.log(counts) - np.log(counts).mean()
    pv = _levels(random, n_items, _PV_LEVELS, 12 + 2.0 * popularity, 2.0)
    levels = [
        _with_missing(
            random,
            _ids("brand", _N_BRANDS)[random.integers(0, _N_BRANDS, n_items)],
            counts,
            _ITEMS_WITHOUT_BRAND,
            rows,
        ),
        _with_missing(
            random,
            _ids("city", _N_CITIES)[random.integers(0, _N_CITIES, n_items)],
            counts,
            _ITEMS_WITHOUT_CITY,
            rows,
        ),
        price.astype(str),
        _with_missing(
            random,
            _levels(random, n_items, _LEVELS, 9 + popularity, 2.0).astype(str),
            counts,
            _ITEMS_WITHOUT_SALES,
            rows,
        ),
        _levels(random, n_items, _LEVELS, 10 + popularity, 2.0).astype(str),
        pv.astype(str),
    ]
    properties = _ids("property", _N_PROPERTIES)
    categories = _ids("category", len(_CATEGORIES))
    texts = []
    n_properties = random.integers(8, 26, n_items)
    for place, item_id in enumerate(_ids("item", n_items).tolist()):
        path = [_ROOT_CATEGORY, categories[category[place]]]
        path += [_LEAF_CATEGORY] if has_leaf[place] else []
        listed = properties[random.integers(0, _N_PROPERTIES, n_properties[place])]
        own = [level[place] for level in levels]
        texts.append(" ".join([item_id, ";".join(path), ";".join(listed), *own]))
    shops = _shop_texts(random, np.bincount(shop, weights=counts).astype(np.int64), rows)
    return _Items(category, price, pv, texts, [shops[number] for number in shop.tolist()])


def _shop_texts(random: Generator, counts: Codes, rows: int) -> list[str]:
    """The raw text of each shop's columns; its rows are ``counts``."""
    n_shops = len(counts)
    positive_rate = _rates(random, n_shops, 0.995)
    positive_rate = _with_missing(random, positive_rate, counts, _SHOPS_WITHOUT_POSITIVE_RATE, rows)
    scores = np.stack([_rates(random, n_shops, mean) for mean in (0.980, 0.980, 0.975)], axis=1)
    scores = _with_missing(random, scores, counts, _SHOPS_WITHOUT_SCORES, rows)
    popularity = np.log(counts) - np.log(counts).mean()
    columns = [
        _ids("shop", n_shops),
        _levels(random, n_shops, _REVIEW_LEVELS, 14 + 1.5 * popularity, 3.0).astype(str),
        positive_rate,
        (_FIRST_SHOP_STAR + _levels(random, n_shops, _SHOP_STARS, 13.0, 2.5)).astype(str),
        *scores.T,
    ]
    return [" ".join(values) for values in zip(*(c.tolist() for c in columns), strict=True)]


def _with_missing(
    random: Generator, texts: NDArray[np.str_], counts: Codes, published: tuple[int, int], rows: int
) -> NDArray[np.str_]:
    """Replace some entities' texts by -1; ``published`` are how many, and their rows."""
    size = scaled(published[0], rows, PUBLISHED["rows"], 0.5)
    total = max(size, scaled(published[1], rows, PUBLISHED["rows"]))
    chosen = subset_of_size(random, counts, np.arange(len(counts)), size, total)
    texts[chosen] = "-1"
    return texts


def _levels(
    random: Generator, size: int, n_levels: int, mean: float | NDArray[np.float64], spread: float
) -> Codes:
    """Draw levels from 0 to ``n_levels - 1``, normal around ``mean``."""
    values = np.rint(mean + spread * random.standard_normal(size)).astype(np.int64)
    return np.clip(values, 0, n_levels - 1)


def _rates(random: Generator, size: int, mean: float) -> NDArray[np.str_]:
    """Draw rates from 0 to 1 near ``mean``, with four decimals."""
    values = np.clip(1 - random.exponential(1 - mean, size), 0, 1)
    return np.array([f"{value:.4f}" for value in values.tolist()])


def _ids(kind: str, size: int) -> NDArray[np.str_]:
    """The ids of ``size`` things of a kind: whole numbers of up to 19 digits, all different."""
    return _numbered_ids(kind, np.arange(size))


def _numbered_ids(kind: str, numbers: Codes) -> NDArray[np.str_]:
    """Turn numbers into ids that reveal nothing of their order.

    The numbers of a kind pass a mixing of 63 bits that can be undone (SplitMix64's steps), so that
    different numbers keep different ids.
    """
    mask = np.uint64((1 << 63) - 1)
    start = np.uint64(zlib.crc32(kind.encode()) << 31)
    mixed = (numbers.astype(np.uint64) + start) & mask
    for factor, shift in ((0x9E3779B97F4A7C15, 30), (0xBF58476D1CE4E5B9, 27)):
        mixed = (mixed * np.uint64(factor)) & mask
        mixed ^= mixed >> np.uint64(shift)
    return mixed.astype(str)


def _chunks(
    order: Codes,
    clicks: _Clicks,
    users: _Users,
    items: _Items,
    probability: NDArray[np.float64],
    label: NDArray[np.uint8],
    random: Generator,
) -> Iterator[Chunk]:
    """The rows in the order of ``order``, in which a copied click stands twice."""
    n_distinct = len(clicks.item)
    instance = np.arange(n_distinct)
    n_repeated = scaled(PUBLISHED["repeated keys"], len(order), PUBLISHED["rows"], least=0)
    copied = order[:-1][order[1:] == order[:-1]]
    pairs = random.permutation(np.setdiff1d(instance, copied))[: 2 * n_repeated]
    instance[pairs[:n_repeated]] = instance[pairs[n_repeated:]]
    second = random.integers(0, _HOUR, n_distinct)
    query = random.integers(0, _QUERIES, n_distinct)
    queries = _query_texts(random)
    user_texts = np.array(_user_texts(users))
    for start in range(0, len(order), CHUNK_ROWS):
        rows = order[start : start + CHUNK_ROWS]
        item, user = clicks.item[rows], clicks.user[rows]
        moment = _FIRST_SECOND + _DAY * clicks.day[rows] + _HOUR * clicks.hour[rows] + second[rows]
        own = zip(
            _numbered_ids("instance", instance[rows]).tolist(),
            [items.texts[number] for number in item.tolist()],
            user_texts[user].tolist(),
            _numbered_ids("context", rows).tolist(),
            moment.tolist(),
            (_FIRST_PAGE + clicks.page[rows]).tolist(),
            [queries[n] for n in (items.category[item] * _QUERIES + query[rows]).tolist()],
            [items.shop_texts[number] for number in item.tolist()],
            label[rows].astype(str).tolist(),
            strict=True,
        )
        lines = [" ".join(map(str, values)) for values in own]
        yield Chunk(lines, probability[rows], label[rows])


def _user_texts(users: _Users) -> list[str]:
    """The raw text of each user's columns."""
    ages, occupations, stars = (
        np.array(["-1", *(str(first + level) for level in range(len(levels)))])
        for first, levels in (
            (_FIRST_AGE, _AGES),
            (_FIRST_OCCUPATION, _OCCUPATIONS),
            (_FIRST_STAR, _STARS),
        )
    )
    columns = (
        _ids("user", len(users.gender)),
        np.array(GENDERS)[users.gender],
        ages[users.age],
        occupations[users.occupation],
        stars[users.star],
    )
    return [" ".join(values) for values in zip(*(c.tolist() for c in columns), strict=True)]


def _query_texts(random: Generator) -> list[str]:
    """What a search engine may have predicted: for each category some lists that mostly hold it."""
    categories = _ids("category", len(_CATEGORIES)).tolist()
    properties = _ids("property", _N_PROPERTIES).tolist()
    texts = []
    for category in categories:
        for _ in range(_QUERIES):
            others = random.choice(categories, int(random.integers(0, 5)), replace=False).tolist()
            named = [category] if random.random() < _SHARE_OF_QUERIES_WITH_CATEGORY else []
            elements = []
            for name in dict.fromkeys([*named, *others]):
                chosen = random.integers(0, _N_PROPERTIES, int(random.integers(0, 4))).tolist()
                listed = ",".join(properties[number] for number in chosen)
                elements.append(f"{name}:{listed or '-1'}")
            texts.append(";".join(elements) or "-1")
    return texts


GENERATED_SET = GeneratedSet(
    converter=replace(
        CONVERTER,
        name="iaac_synth",
        title="Generated clicks of the shape of IAAC",
        homepage=None,
        licence="generated; free of rights",
    ),
    smallest=5_000,
    largest=None,
    make=make,
)
