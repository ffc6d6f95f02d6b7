"""Learning day by day, beside retraining on all days and beside a model that never learns again.

    python -m benchmarks.daily_learning --output FOLDER [--model MIDPG] [--seeds 3] [--days 30]
        [--rows 3000] [--epochs 2]

Draws days with drift: tastes of each scenario and the base rate wander, users and items come and
go, and in the middle a scenario is new. A model is trained on the first ten days. Each of the days
after is then scored three times: by that model (frozen), by the same model after it has learned
from each day before once (daily), and by a model trained anew on all days before (retrained). The
folder gets ``days.json`` after each seed, and a picture. AUC and LogLoss are of each day's rows;
seconds are those of reading and training, without scoring.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import recbole_midpg  # noqa: F401 - RecBole can be imported only after it is mended

# isort: split
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, init_seed
from tabulate import tabulate

from recbole_midpg.analysis.drawing import line_marks, new_figure, print_style
from recbole_midpg.daily.learning import learn_file
from recbole_midpg.daily.learning_state import (
    LearningState,
    read_learning_state,
    write_learning_state,
)
from recbole_midpg.daily.measuring import scores_of
from recbole_midpg.daily.new_rows import predict_rows
from recbole_midpg.evaluation.binary_metrics import auc, log_loss
from recbole_midpg.generated.label_model import sigmoid
from recbole_midpg.integration.dataset.vocabulary import vocabulary_of
from recbole_midpg.integration.run.process_group import without_board
from recbole_midpg.training.trainer import ScenarioTrainer

FIRST_DAYS = 10
METHODS = ("frozen", "daily", "retrained", "best possible")
_SECONDS_OF_DAY = 86_400
_USERS, _ITEMS, _CATEGORIES, _WIDTH = 600, 200, 8, 4
_SHARES = {"app": 0.5, "web": 0.25, "mail": 0.12, "shop": 0.08, "partner": 0.05}
_NEW_SCENARIO = "kiosk"
# The share of users and of items that others take the place of, from one day to the next.
_TURNOVER = 0.02


class DriftingShop:
    r"""Days of impressions whose true probabilities wander.

    The logit of a row is :math:`b_t + a_u + c_i + w_{t,s,k} + x_u^\top y_i`, with a base rate
    :math:`b_t` and tastes :math:`w_t` of scenario and category that go back to their mean by a
    tenth a day and get noise instead, so that their spread stays the same.

    Args:
        seed: the same seed draws the same days.
        rows: rows of a day.
        new_scenario_from: the day on which a sixth scenario opens.
    """

    def __init__(self, seed: int, rows: int, new_scenario_from: int) -> None:
        self._draw = np.random.default_rng(seed)
        self._rows, self._new_from = rows, new_scenario_from
        self._scenarios = [*_SHARES, _NEW_SCENARIO]
        shape = (len(self._scenarios), _CATEGORIES)
        self._tastes, self._base = self._draw.normal(size=shape), 0.0
        self._users = self._entities(_USERS)
        self._items = self._entities(_ITEMS)
        self._categories = self._draw.integers(_CATEGORIES, size=_ITEMS)
        self._next_id = max(_USERS, _ITEMS)

    def _entities(self, count: int) -> dict[str, Any]:
        return {
            "id": np.arange(count),
            "bias": 0.5 * self._draw.normal(size=count),
            "vector": self._draw.normal(size=(count, _WIDTH)) / 2,
        }

    def days(self, count: int) -> Iterator[tuple[pd.DataFrame, Any]]:
        """Draw days; yields the rows of each and their true probabilities."""
        for day in range(count):
            yield self._day(day)
            for entities in (self._users, self._items):
                self._replace_some(entities)
            self._tastes = _wandered(self._tastes, self._draw.normal(size=self._tastes.shape))
            self._base = _wandered(self._base, 0.5 * self._draw.normal())

    def _replace_some(self, entities: dict[str, Any]) -> None:
        gone = np.flatnonzero(self._draw.random(len(entities["id"])) < _TURNOVER)
        fresh = self._entities(len(gone))
        entities["id"][gone] = self._next_id + np.arange(len(gone))
        self._next_id += len(gone)
        entities["bias"][gone], entities["vector"][gone] = fresh["bias"], fresh["vector"]

    def _day(self, day: int) -> tuple[pd.DataFrame, Any]:
        draw, rows = self._draw, self._rows
        shares = np.array([*_SHARES.values(), 0.1 if day >= self._new_from else 0.0])
        scenario = draw.choice(len(shares), rows, p=shares / shares.sum())
        user = draw.integers(_USERS, size=rows)
        item = (draw.random(rows) ** 2 * _ITEMS).astype(int)  # some are shown far more often
        category = self._categories[item]
        logits = (
            self._base
            - 1.5
            + self._users["bias"][user]
            + self._items["bias"][item]
            + self._tastes[scenario, category]
            + (self._users["vector"][user] * self._items["vector"][item]).sum(1)
        )
        probability = sigmoid(logits)
        frame = pd.DataFrame(
            {
                "user_id": [f"u{number}" for number in self._users["id"][user]],
                "item_id": [f"i{number}" for number in self._items["id"][item]],
                "channel": np.array(self._scenarios)[scenario],
                "category": [f"c{number}" for number in category],
                "click": (draw.random(rows) < probability).astype(int),
                "timestamp": np.sort(draw.integers(_SECONDS_OF_DAY, size=rows))
                + day * _SECONDS_OF_DAY,
            }
        )
        return frame, probability


def _wandered(values: Any, noise: Any) -> Any:
    """An autoregression of 0.9 a day, whose spread stays that of the noise."""
    return 0.9 * values + np.sqrt(1 - 0.9**2) * noise


def train_anew(frames: list[pd.DataFrame], folder: Path, arguments: Any, seed: int) -> str:
    """Train on all rows of some days, and write a checkpoint."""
    data = folder / "data" / "drift"
    data.mkdir(parents=True, exist_ok=True)
    whole = pd.concat(frames)
    whole.columns = [
        f"{name}:{'float' if name in ('click', 'timestamp') else 'token'}" for name in whole.columns
    ]
    whole.to_csv(data / "drift.inter", sep="\t", index=False)
    settings = {
        "data_path": str(folder / "data"),
        "checkpoint_dir": str(folder / "saved"),
        "load_col": None,
        "LABEL_FIELD": "click",
        "threshold": None,
        "scenario_fields": ["channel"],
        "train_batch_size": 256,
        "learning_rate": 0.005,
        "epochs": arguments.epochs,
        "seed": seed,
        "show_progress": False,
        # The rows that are left out are few, and of all days.
        "eval_args": {"split": {"RS": [0.98, 0.01, 0.01]}, "order": "RO", "mode": "labeled"},
    }
    config = Config(model=arguments.model, dataset="drift", config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train_data, _, _ = data_preparation(config, dataset)
    model = get_model(config["model"])(config, train_data._dataset).to(config["device"])
    with without_board():
        trainer = ScenarioTrainer(config, model)
    for epoch in range(arguments.epochs):
        trainer._train_epoch(train_data, epoch)
    trainer.vocabulary = vocabulary_of(dataset)
    trainer._save_checkpoint(arguments.epochs - 1, verbose=False)
    return str(trainer.saved_model_file)


def compare(folder: Path, arguments: Any, seed: int) -> dict[str, dict[str, list[float]]]:
    """Draw days and learn from them in every way; gives the values of each day by method."""
    drawn = list(
        DriftingShop(seed, arguments.rows, FIRST_DAYS + arguments.days // 2).days(
            FIRST_DAYS + arguments.days
        )
    )
    frames = [frame for frame, _ in drawn]
    values: dict[str, dict[str, list[float]]] = {
        method: {"auc": [], "logloss": [], "pcoc": [], "seconds": []} for method in METHODS
    }
    first = train_anew(frames[:FIRST_DAYS], folder / "first", arguments, seed)
    frozen = read_learning_state(first)
    states = {"frozen": frozen, "daily": frozen, "retrained": frozen}
    for day in range(FIRST_DAYS, FIRST_DAYS + arguments.days):
        path = str(folder / f"day{day}.csv")
        frames[day].to_csv(path, index=False)
        for method, state in states.items():
            line = scores_of(predict_rows(state.scoring, path, False))[0]
            for name in ("auc", "logloss", "pcoc"):
                values[method][name].append(line[name])
        labels = frames[day]["click"].to_numpy()
        best = {"auc": auc(labels, drawn[day][1]), "logloss": log_loss(labels, drawn[day][1])}
        for name, value in best.items():
            values["best possible"][name].append(value)
        started = time.perf_counter()
        states["daily"] = _learn(states["daily"], path, folder / "daily.pth")
        learned = time.perf_counter()
        checkpoint = train_anew(frames[: day + 1], folder / f"anew{day}", arguments, seed)
        values["daily"]["seconds"].append(learned - started)
        values["retrained"]["seconds"].append(time.perf_counter() - learned)
        states["retrained"] = read_learning_state(checkpoint)
        print(f"seed {seed}, day {day}", end="\r", flush=True)
    return values


def _learn(state: LearningState, path: str, output: Path) -> LearningState:
    learned = learn_file(state, path, show_progress=False).state
    write_learning_state(learned, output)
    return learned


def table(by_seed: dict[str, Any]) -> str:
    """A line for each method: means over days, with the least and the greatest seed."""
    lines = []
    for method in METHODS:
        line: list[Any] = [method]
        for name in ("auc", "logloss", "pcoc"):
            means = [np.mean(seed[method][name] or [np.nan]) for seed in by_seed.values()]
            spread = f"{np.median(means):.4f} ({min(means):.4f} to {max(means):.4f})"
            line.append("-" if np.isnan(means).any() else spread)
        last = [np.mean(seed[method]["auc"][-FIRST_DAYS:]) for seed in by_seed.values()]
        seconds = [sum(seed[method]["seconds"]) / 60 for seed in by_seed.values()]
        lines.append([*line, f"{np.median(last):.4f}", f"{np.median(seconds):.2f}"])
    headers = ["", "AUC", "LogLoss", "PCOC", f"AUC, last {FIRST_DAYS} days", "minutes"]
    return tabulate(lines, headers=headers, disable_numparse=True)


@print_style()
def draw(by_seed: dict[str, Any]) -> Any:
    """Draw the mean AUC of the seeds over the days."""
    figure, axes = new_figure(1, 1, 6.0, 2.6)
    for place, method in enumerate(METHODS):
        mean = np.mean([seed[method]["auc"] for seed in by_seed.values()], axis=0)
        axes[0, 0].plot(np.arange(1, len(mean) + 1), mean, label=method, **line_marks(place))
    axes[0, 0].set(xlabel="day after the training", ylabel="AUC of the day")
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--model", default="MIDPG")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=2)
    arguments = parser.parse_args()
    sys.argv[1:] = []  # what is left there RecBole would take for config values
    arguments.output.mkdir(parents=True, exist_ok=True)
    by_seed: dict[str, Any] = {}
    for seed in range(1, arguments.seeds + 1):
        by_seed[str(seed)] = compare(arguments.output / f"seed{seed}", arguments, seed)
        (arguments.output / "days.json").write_text(json.dumps(by_seed, indent=1))
        print(f"\n{table(by_seed)}")
    with print_style():
        draw(by_seed).savefig(arguments.output / "days.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
