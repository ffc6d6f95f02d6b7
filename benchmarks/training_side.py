"""One side of a comparison: a process that loads a dataset once and trains on request.

:class:`Side` starts it as

    python -m benchmarks.training_side SIDE MODEL DATASET SETTINGS THREADS

``SIDE`` is ``stock``, RecBole with nothing of this package but the shims that let it start on
today's packages (``integration/compat.py``), or ``ours``. All else is the same code. Each line on
standard input is a number of batches, or 0 for an epoch; the answer is how many batches were
trained, of how many rows, in how many seconds.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from benchmarks.stock_recbole import dataset_config, prepare_stock_recbole

DATASET = "amazon_electronics_synth"
EPOCH = 0
_NO_END = 1_000_000_000


class Turn(NamedTuple):
    """What a side has trained on one request."""

    batches: int
    rows: int
    seconds: float

    @property
    def speed(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds

    @property
    def milliseconds(self) -> float:
        """Of a batch."""
        return 1e3 * self.seconds / self.batches


class SideStoppedError(SystemExit):
    """A side's process has ended by itself; it has said why on standard error."""


class Side:
    """A process that trains on request.

    Args:
        side: ``stock`` or ``ours``.
        model: the model's name.
        dataset: the dataset's name.
        settings: config values, and under ``config`` the dataset whose config file is used.
        threads: torch's, on the CPU.
    """

    def __init__(
        self, side: str, model: str, dataset: str, settings: dict[str, Any], threads: int
    ) -> None:
        self.name = f"{side} {model}"
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.training_side", side, model]
        self._process = subprocess.Popen(
            [*command, dataset, json.dumps(settings), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self) -> None:
        """Wait until the data and the model are loaded."""
        self._answer()

    def train(self, batches: int = EPOCH) -> Turn:
        """Train some batches, or an epoch."""
        assert self._process.stdin is not None
        print(batches, file=self._process.stdin, flush=True)
        count, rows, seconds = self._answer().split()
        return Turn(int(count), int(rows), float(seconds))

    def end(self) -> None:
        """End the process, and give back what it holds of the device."""
        self._process.communicate()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            raise SideStoppedError(f"{self.name} stopped with status {status}")
        return line


def folder_of(rows: int | None) -> Path:
    """The folder of datasets for so many generated rows; ``dataset`` for the published size."""
    return Path("dataset") if rows is None else Path(f"dataset_of_{rows}_rows")


def require_rows(folder: Path, rows: int | None = None) -> None:
    """Generate Amazon-shaped rows into a folder of datasets where there are none.

    Args:
        folder: that of all datasets.
        rows: how many; as many as the real set has by default.
    """
    if (folder / DATASET / f"{DATASET}.inter").is_file():
        return
    command = ["-c", "import sys; from recbole_midpg.cli import main; sys.exit(main())"]
    command += ["generate", DATASET, "--output", str(folder)]
    subprocess.run(
        [sys.executable, *command, *([] if rows is None else ["--rows", str(rows)])], check=True
    )


def spread(values: list[float], form: str) -> str:
    """The least, the median and the most of some values."""
    return " / ".join(f"{x:{form}}" for x in (min(values), median(values), max(values)))


# --------------------------------------------------------------------------------------------------
# In the process itself


class Batches:
    """A loader's batches, epoch after epoch, so many at a time.

    All else that a trainer may ask of it the loader answers.
    """

    def __init__(self, loader: Any) -> None:
        self.count = 0
        self._loader = loader
        self._batches = itertools.chain.from_iterable(itertools.repeat(loader))

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(self._batches, self.count)

    def __len__(self) -> int:
        return self.count

    def __getattr__(self, name: str) -> Any:
        return False if name == "shuffle" else getattr(self._loader, name)


def train_on_request(
    model: str,
    dataset: str,
    settings: dict[str, Any],
    counts: Iterator[int],
    answer: Callable[[Turn], None],
) -> None:
    """Load the data, build model and trainer, and let the trainer fit, request by request.

    Args:
        model: the model's name.
        dataset: the dataset's name.
        settings: see :class:`Side`.
        counts: how many batches to train next; the first one is asked for once all is loaded.
        answer: called with what was trained.
    """
    # RecBole can be imported only once the side has been prepared.
    from recbole.config import Config  # noqa: PLC0415
    from recbole.data import create_dataset, data_preparation  # noqa: PLC0415
    from recbole.utils import get_model, get_trainer, init_seed  # noqa: PLC0415

    values = dict(settings)
    config = Config(
        model=model,
        dataset=dataset,
        config_file_list=[dataset_config(values.pop("config"))],
        config_dict={"show_progress": False, "epochs": _NO_END, **values},
    )
    init_seed(config["seed"], config["reproducibility"])
    train_data, _, _ = data_preparation(config, create_dataset(config))
    init_seed(config["seed"], config["reproducibility"])
    recommender = get_model(model)(config, train_data._dataset).to(config["device"])
    if "recbole_midpg" in sys.modules:
        from recbole_midpg.integration.run.process_trainer import trainer_of  # noqa: PLC0415

        trainer = trainer_of(config, recommender)
    else:
        trainer = get_trainer(config["MODEL_TYPE"], model)(config, recommender)
    some, train_epoch = Batches(train_data), trainer._train_epoch

    def train_so_many(loader: Any, *arguments: Any, **options: Any) -> Any:
        some.count = count = next(counts)
        batches = loader if count == EPOCH else some
        rows = len(loader._dataset) if count == EPOCH else count * config["train_batch_size"]
        start = time.perf_counter()
        loss = train_epoch(batches, *arguments, **options)
        if config["device"].type == "cuda":
            torch.cuda.synchronize()
        answer(Turn(len(batches), rows, time.perf_counter() - start))
        return loss

    trainer._train_epoch = train_so_many
    with contextlib.suppress(StopIteration):  # no more requests
        trainer.fit(train_data, verbose=False, saved=False)


def main() -> None:
    """Answer on standard output whatever RecBole prints there otherwise."""
    answers, sys.stdout = sys.stdout, sys.stderr
    side, model, dataset, settings, threads = sys.argv[1:]
    sys.argv[1:] = []
    torch.set_num_threads(int(threads))
    logging.disable(logging.WARNING)
    if side == "stock":
        prepare_stock_recbole()
    else:
        importlib.import_module("recbole_midpg")  # registers models, loaders and optimizers

    def counts() -> Iterator[int]:
        print("ready", file=answers, flush=True)
        yield from map(int, sys.stdin)

    train_on_request(
        model,
        dataset,
        json.loads(settings),
        counts(),
        lambda turn: print(*turn, file=answers, flush=True),
    )


if __name__ == "__main__":
    main()
