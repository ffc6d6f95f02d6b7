"""Time of evaluation: AUC, LogLoss, and all that ``Trainer.evaluate`` does around a model.

Ours, RecBole's and scikit-learn's take turns in every round; a round's ratio is taken within the
round. The model of the whole evaluation only returns a column of the batch. "and scenarios" is ours
with each scenario's line besides, as after an epoch, here of eight.

"after prediction" is what is left when all rows are scored: AUC, LogLoss and each scenario's line.
"by torch" is that with ``metrics_on_device``, on the CPU and on a GPU where there is one, from rows
that are there; "by numpy" from there has them copied to the CPU first.

Run from the repository's root:

    python -m benchmarks.evaluation [--rows 1000000] [--rounds 7] [--threads 2]
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import time
from collections.abc import Callable
from statistics import median
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from recbole.data.dataloader.general_dataloader import NegSampleEvalDataLoader
from recbole.data.interaction import Interaction
from recbole.evaluator import collector, metrics
from recbole.evaluator.evaluator import Evaluator
from recbole.trainer import Trainer
from recbole.trainer import trainer as trainer_module
from recbole.utils import EvaluatorType
from sklearn.metrics import log_loss as scikit_log_loss
from sklearn.metrics import roc_auc_score

from benchmarks.batches import SIZES, Rows, random_columns
from recbole_midpg.evaluation.binary_metrics import auc, log_loss
from recbole_midpg.integration.dataset.batches import BlockEvalDataLoader
from recbole_midpg.integration.dataset.compact_interaction import CompactInteraction
from recbole_midpg.integration.metrics.collecting import name_scenarios
from recbole_midpg.integration.metrics.metrics import AUC, LogLoss, rows_of_scenarios

NO_SAMPLING = {"distribution": "none", "sample_num": "none"}
CONFIG = {
    "seed": 2020,
    "transform": None,
    "MODEL_TYPE": None,
    "single_spec": True,
    "worker": 0,
    "data_on_device": False,
    "device": torch.device("cpu"),
    "test_neg_sample_args": NO_SAMPLING,
    "metrics": ["AUC", "LogLoss"],
    "metric_decimal_place": 6,
    "topk": [10],
    "LABEL_FIELD": "label",
    "eval_type": EvaluatorType.VALUE,
    "metrics_on_device": False,
    "scenario_id_field": None,
    "eval_args": {"mode": {"test": "labeled"}},
}


SCENARIO = "age"


class NamedRows(Rows):
    """Rows with the names of their scenarios."""

    field2id_token = {SCENARIO: [str(token) for token in range(SIZES[SCENARIO])]}  # noqa: RUF012


def as_shipped(module: ModuleType) -> ModuleType:
    """A second copy of a module of RecBole, as it was before anything was replaced in it."""
    spec = importlib.util.spec_from_file_location(module.__name__, module.__file__)
    assert spec is not None
    assert spec.loader is not None
    copied = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copied)
    return copied


class Surroundings(Trainer):
    """RecBole's trainer around a model that takes no time.

    Args:
        config: what evaluation reads of a config.
        ours: whether metrics, collecting and evaluation are ours or as RecBole ships them.
    """

    def __init__(self, config: dict[str, Any], ours: bool) -> None:
        self.config, self.device, self.gpu_available = config, config["device"], False
        self.test_batch_size = config["eval_batch_size"]
        self.model = SimpleNamespace(eval=lambda: None, predict=lambda batch: batch["score"])
        self.wandblogger = SimpleNamespace(log_eval_metrics=lambda *_, **__: None)
        self.evaluator = Evaluator(config)
        kinds = (AUC, LogLoss) if ours else (metrics.AUC, metrics.LogLoss)
        self.evaluator.metric_class = {kind.__name__.lower(): kind(config) for kind in kinds}
        module = collector if ours else as_shipped(collector)
        self.eval_collector = module.Collector(config)
        if not ours:
            evaluate = as_shipped(trainer_module).Trainer.evaluate
            self.evaluate = lambda *args, **options: evaluate(self, *args, **options)


def validate(trainer: Surroundings, data: Any) -> Any:
    """Evaluate, and describe each scenario as an epoch's history does."""
    result = trainer.evaluate(data, load_best_model=False)
    rows_of_scenarios(trainer.evaluator.evaluated)
    return result


def whole_evaluation(columns: dict[str, Any], batch_size: int) -> dict[str, Callable[[], Any]]:
    """Evaluations of the same rows by RecBole's parts and by ours."""
    config = CONFIG | {"eval_batch_size": batch_size}
    with_scenarios = config | {"scenario_id_field": SCENARIO}
    stock = NegSampleEvalDataLoader(config, Rows(Interaction(columns)), None)
    ours = BlockEvalDataLoader(config, NamedRows(CompactInteraction(columns)), None)
    return {
        "ours": lambda: Surroundings(config, True).evaluate(ours, load_best_model=False),
        "and scenarios": lambda: validate(Surroundings(with_scenarios, True), ours),
        "RecBole": lambda: Surroundings(config, False).evaluate(stock, load_best_model=False),
    }


def after_prediction(columns: dict[str, Any], device: torch.device, by_torch: bool) -> Any:
    """Metrics and scenarios' lines of rows that are on a device with their scores."""
    config = CONFIG | {
        "device": device,
        "scenario_id_field": SCENARIO,
        "metrics_on_device": by_torch,
    }
    gathered = collector.Collector(config)
    gathered.eval_batch_collect(columns["score"], columns, None, None)
    name_scenarios(gathered.data_struct, config, NamedRows)
    rows = gathered.get_data_struct()
    results = [kind(config).calculate_metric(rows) for kind in (AUC, LogLoss)]
    return results, rows_of_scenarios(rows)


def ways_after_prediction(columns: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """Both forms of the metrics, on each device of the machine."""
    devices = [torch.device("cpu")] + [torch.device("cuda")] * torch.cuda.is_available()
    ways: dict[str, Callable[[], Any]] = {}
    for device in devices:
        there = {name: columns[name].to(device) for name in ("score", "label", SCENARIO)}
        for by_torch, form in ((False, "by numpy"), (True, "by torch")):
            name = "ours" if not ways else f"{form}, {device.type}"
            ways[name] = functools.partial(after_prediction, there, device, by_torch)
    return ways


def peak_bytes_a_row(way: Callable[[], Any], rows: int) -> float:
    """What a computation on the GPU takes at its peak beside what is there."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    way()
    return (torch.cuda.max_memory_allocated() - before) / rows


def compare(title: str, candidates: dict[str, Callable[[], Any]], rounds: int) -> None:
    """Let candidates take turns and print their times."""
    taken: list[dict[str, float]] = []
    for _ in range(rounds):
        taken.append({})
        for name, candidate in candidates.items():
            start = time.perf_counter()
            candidate()
            taken[-1][name] = time.perf_counter() - start
    for name in candidates:
        times = [1e3 * each[name] for each in taken]
        ratio = median(each[name] / each["ours"] for each in taken)
        print(
            f"{title:26}{name:16}{min(times):10.1f}{median(times):10.1f}{max(times):10.1f}"
            f"{ratio:12.1f}"
        )


def main() -> None:
    """Compare and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    columns = random_columns(arguments.rows) | {"score": torch.rand(arguments.rows)}
    scores, labels = columns["score"].numpy(), columns["label"].numpy()
    stock_auc, stock_loss = metrics.AUC(CONFIG), metrics.LogLoss(CONFIG)
    rounds = arguments.rounds
    print(f"{arguments.rows} rows, {arguments.threads} threads")
    print(f"{'':42}{'min ms':>10}{'median':>10}{'max':>10}{'it / ours':>12}")
    compare(
        "AUC",
        {
            "ours": lambda: auc(labels, scores),
            "RecBole": lambda: stock_auc.metric_info(scores, labels),
            "scikit-learn": lambda: roc_auc_score(labels, scores),
        },
        rounds,
    )
    compare(
        "LogLoss",
        {
            "ours": lambda: log_loss(labels, scores),
            "RecBole": lambda: stock_loss.metric_info(scores, labels),
            "scikit-learn": lambda: scikit_log_loss(labels, scores.astype(np.float64)),
        },
        rounds,
    )
    ways = ways_after_prediction(columns)
    results, lines = ways["ours"]()
    for name, way in ways.items():
        own_results, own_lines = way()
        assert own_results == results, name
        assert [line.auc for line in own_lines] == [line.auc for line in lines], name
    compare("after prediction", ways, rounds)
    for name in ways:
        if name.endswith("torch, cuda"):
            taken = peak_bytes_a_row(ways[name], arguments.rows)
            print(f"{torch.cuda.get_device_name()}: {taken:.0f} bytes a row at the peak")
    for batch_size in (4096, 512):
        evaluations = whole_evaluation(columns, batch_size)
        assert evaluations["ours"]() == evaluations["RecBole"]()
        compare(f"evaluate, batches of {batch_size}", evaluations, rounds)


if __name__ == "__main__":
    main()
