"""What an unknown token that is trained gains on rows with users, items and scenarios never seen.

    python -m benchmarks.unseen_tokens [--models DNN MIDPG STAR] [--seeds 5] [--rows 60000]
                                       [--worlds few others rare] [--folder unseen]
                                       [--output unseen.json]

Generates a shop whose true probabilities are known: users, items and campaigns with effects of
their own, items of brands, campaigns as scenarios, many of them small. Of the next day's rows a
fifth are of users that training has never met, a fifth of items, and a tenth of campaigns that have
just begun. There are three worlds: in ``few`` there is little to learn the unknown from, as most
tokens have many rows; in ``others`` many are rare, and the new ones are drawn like all others, so
that the mean of all is the best guess of them; in ``rare`` the ones with few rows, the new ones
among them, differ from the frequent ones, as new visitors do from regulars.

Trains each model with no ``min_count``, with 2 and with 5, for each seed on data of its own, scores
the next day's raw rows by ``Scorer``, and prints AUC, LogLoss and PCOC (mean prediction over mean
label, at best 1), mean and standard deviation over the seeds.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator
from numpy.typing import NDArray

from recbole_midpg.evaluation.binary_metrics import auc, log_loss, predicted_over_observed
from recbole_midpg.generated.label_model import Factor, LabelModel, Spreads

MIN_COUNTS = (None, 2, 5)
MODELS = ("DNN", "MIDPG", "STAR")
MEASURES = {"AUC": auc, "LogLoss": log_loss, "PCOC": predicted_over_observed}
_TRAINING, _VALIDATION, _NEXT_DAY = 0.7, 0.1, 0.2
_UNSEEN, _OF_NEW_CAMPAIGN = 0.2, 0.1
_LARGE_CAMPAIGNS, _NEW_CAMPAIGNS = 5, 10
# From here on users and items that training meets count as rare.
_RARE_PLACES = 0.5
_BRANDS = 40
_BASE_RATE = 0.25


@dataclass(frozen=True)
class World:
    """How a shop's rows are spread.

    Attributes:
        weight: of being rare among the effects of single fields.
        tail_power: the higher, the fewer rows the rare users and items have.
        item_rows: the rows of an item, on average.
        small_campaigns: how many campaigns are small.
        of_small: their share of the rows.
    """

    weight: float
    tail_power: int = 4
    item_rows: int = 15
    small_campaigns: int = 400
    of_small: float = 0.03


WORLDS = {
    "few": World(0.0, tail_power=2, item_rows=40, small_campaigns=100, of_small=0.01),
    "others": World(0.0),
    "rare": World(1.0),
}


def make_rows(n_rows: int, seed: int, world: World) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Draw rows, the next day's last, and the true probability of each one's label.

    Args:
        n_rows: how many.
        seed: the same seed draws the same rows.
        world: how they are spread.
    """
    random = np.random.default_rng(seed)
    n_users, n_items = n_rows // 12, n_rows // world.item_rows
    n_campaigns = _LARGE_CAMPAIGNS + world.small_campaigns + _NEW_CAMPAIGNS
    next_day = np.arange(n_rows) >= n_rows * (_TRAINING + _VALIDATION)
    brand_of = random.integers(0, _BRANDS, n_items)
    user, item = (_drawn(random, size, next_day, world.tail_power) for size in (n_users, n_items))
    campaign = _campaigns(random, next_day, world)
    columns = {"user": user, "item": item, "brand": brand_of[item], "campaign": campaign}
    are_rare = {
        "rare user": (user >= n_users * (1 - _UNSEEN) * _RARE_PLACES).astype(np.int64),
        "rare item": (item >= n_items * (1 - _UNSEEN) * _RARE_PLACES).astype(np.int64),
        "rare campaign": (campaign >= _LARGE_CAMPAIGNS).astype(np.int64),
    }
    model = LabelModel(
        random,
        scenario_field="campaign",
        angles=random.uniform(0, 360, n_campaigns).tolist(),
        closeness=0.8,
        shared=(
            *(Factor("user", n_users, 0.7), Factor("item", n_items, 0.7), Factor("brand", _BRANDS)),
            *(Factor(name, 2, world.weight) for name in are_rare),
        ),
        context=(Factor("campaign", n_campaigns), Factor("user", n_users, 0.3)),
        item=(Factor("brand", _BRANDS), Factor("item", n_items, 0.3)),
        spreads=Spreads(scenario=0.4, shared=0.9, shared_pair=0.2, interaction=0.5),
    )
    model.fit(columns | are_rare, _BASE_RATE)
    probability = model.probability(columns | are_rare)
    rows = pd.DataFrame({name: [f"{name}{i}" for i in ids] for name, ids in columns.items()})
    rows["label"] = (random.random(n_rows) < probability).astype(int)
    return rows, probability


def _drawn(
    random: Generator, size: int, next_day: NDArray[np.bool_], tail_power: int
) -> NDArray[np.int64]:
    """Who each row is of: the last fifth appear on the next day alone, a few have most rows."""
    n_new = int(size * _UNSEEN)
    is_new = next_day & (random.random(len(next_day)) < _UNSEEN)
    old = (size - n_new) * random.random(len(next_day)) ** tail_power
    new = size - n_new + random.integers(0, n_new, len(next_day))
    return np.where(is_new, new, old.astype(np.int64))


def _campaigns(random: Generator, next_day: NDArray[np.bool_], world: World) -> NDArray[np.int64]:
    """The campaign of each row: a few large ones, many small ones, and new ones at the end."""
    n_rows = len(next_day)
    large = random.choice(_LARGE_CAMPAIGNS, n_rows, p=[0.4, 0.25, 0.2, 0.1, 0.05])
    first_new = _LARGE_CAMPAIGNS + world.small_campaigns
    small = random.integers(_LARGE_CAMPAIGNS, first_new, n_rows)
    campaign = np.where(random.random(n_rows) < world.of_small, small, large)
    is_new = next_day & (random.random(n_rows) < _OF_NEW_CAMPAIGN)
    new = random.integers(first_new, first_new + _NEW_CAMPAIGNS, n_rows)
    return np.where(is_new, new, campaign)


def write_files(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Write the rows before the next day as atomic files; returns the next day's."""
    folder.mkdir(parents=True, exist_ok=True)
    ends = np.cumsum([_TRAINING, _VALIDATION, _NEXT_DAY]) * len(rows)
    header = {"user": "user_id:token", "item": "item_id:token", "label": "label:float"}
    header |= {"brand": "brand:token", "campaign": "campaign:token"}
    named = rows.rename(columns=header)
    train, valid = named[: int(ends[0])], named[int(ends[0]) : int(ends[1])]
    for part, of_part in (("train", train), ("valid", valid), ("test", valid)):
        of_part.to_csv(folder / f"{folder.name}.{part}.inter", sep="\t", index=False)
    return rows[int(ends[1]) :].rename(columns={"user": "user_id", "item": "item_id"})


def train(model: str, seed: int, min_count: int | None, folder: Path) -> str:
    """Train; returns the checkpoint's path."""
    from recbole_midpg.integration.config.config import build_config  # noqa: PLC0415
    from recbole_midpg.integration.run.run import Run  # noqa: PLC0415

    settings = {
        "data_path": str(folder.parent),
        "checkpoint_dir": str(folder / "saved"),
        "load_col": None,
        "dataset_cache": False,
        "benchmark_filename": ["train", "valid", "test"],
        "LABEL_FIELD": "label",
        "scenario_fields": ["campaign"],
        "embedding_size": 16,
        "mlp_hidden_size": [64, 32],
        "train_batch_size": 512,
        "epochs": 20,
        "stopping_step": 2,
        "valid_metric": "LogLoss",
        "show_progress": False,
        "seed": seed,
        "min_count": min_count,
    }
    run = Run.prepare(build_config(model, folder.name, values=settings))
    run.train(saved=True, verbose=False)
    return str(run.trainer.saved_model_file)


def parts_of(day: pd.DataFrame, before: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """Which rows of the next day have what was never seen."""
    new = {
        name: ~day[column].isin(before[source]).to_numpy()
        for name, column, source in (
            ("new user", "user_id", "user"),
            ("new item", "item_id", "item"),
            ("new scenario", "campaign", "campaign"),
        )
    }
    everything = np.ones(len(day), np.bool_)
    return {"all rows": everything, **new, "all seen": ~np.any(list(new.values()), axis=0)}


def measured(
    labels: NDArray[Any], scores: NDArray[Any], parts: dict[str, NDArray[np.bool_]]
) -> dict[str, dict[str, float]]:
    """Each measure on each part of the rows."""
    return {
        part: {name: float(of(labels[rows], scores[rows])) for name, of in MEASURES.items()}
        for part, rows in parts.items()
    }


def run_seed(
    world: str, models: Sequence[str], n_rows: int, seed: int, folder: Path
) -> list[dict[str, Any]]:
    """Measure every model on the data of one seed, and the true probabilities."""
    from recbole_midpg.prediction import Scorer  # noqa: PLC0415

    rows, probability = make_rows(n_rows, seed, WORLDS[world])
    day = write_files(rows, folder / "shop")
    before, labels = rows[: -len(day)], day["label"].to_numpy()
    parts = parts_of(day, before)
    best = measured(labels, probability[-len(day) :], parts)
    run = {"world": world, "seed": seed}
    found = [{**run, "model": "true probability", "min_count": None, "parts": best}]
    for model in models:
        for min_count in MIN_COUNTS:
            scorer = Scorer.read(train(model, seed, min_count, folder / "shop"))
            values = measured(labels, scorer.scores(day), parts)
            found.append({**run, "model": model, "min_count": min_count, "parts": values})
            told = ", ".join(f"{name} {value:.4f}" for name, value in values["all rows"].items())
            print(f"{world}, seed {seed}, {model}, min_count {min_count}: {told}", file=sys.stderr)
    return found


def print_table(found: list[dict[str, Any]]) -> None:
    """Print mean and standard deviation over the seeds, a line for each model and setting."""
    frame = pd.DataFrame(
        [
            {
                "world": run["world"],
                "rows": part,
                "model": run["model"],
                "min_count": str(run["min_count"] or "~"),
                **of,
            }
            for run in found
            for part, of in run["parts"].items()
        ]
    )
    keys = ["world", "rows", "model", "min_count"]
    grouped = frame.groupby(keys, sort=False)
    mean, deviation = grouped.mean(), grouped.std(ddof=1)
    print(f"| {' | '.join([*keys, *MEASURES])} |")
    print(f"|{'---|' * (len(keys) + len(MEASURES))}")
    for key, values in mean.iterrows():
        cells = [f"{values[name]:.4f} ± {deviation.loc[key, name]:.4f}" for name in MEASURES]
        print(f"| {' | '.join(map(str, key))} | {' | '.join(cells)} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=list(WORLDS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--folder", type=Path, default=Path("unseen"))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    # RecBole's Config would take these words for its own.
    sys.argv = sys.argv[:1]
    logging.getLogger().setLevel(logging.ERROR)
    found: list[dict[str, Any]] = []
    for world, seed in product(options.worlds, range(options.seeds)):
        folder = options.folder / world / str(seed)
        found += run_seed(world, options.models, options.rows, seed, folder)
        if options.output is not None:
            options.output.write_text(json.dumps(found), encoding="utf-8")
    print_table(found)


if __name__ == "__main__":
    main()
