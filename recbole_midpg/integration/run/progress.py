"""A run that was cut off goes on from its last complete epoch, as if nothing had happened.

After each epoch one file holds all that the rest of the run follows from: weights, optimizer, early
stopping, history and every random generator. An epoch that is the best so far is in the checkpoint,
which is written anyway; any other goes into the *progress file* beside it. Whichever is of the
later epoch is the one to go on from, and the checkpoint is always the best of all epochs up to it:
a kill between two writes can mix nothing up. Each file is written whole or not at all.

The *run file* names the checkpoint, whose own name has a date, and is itself named after the model,
the dataset and a digest of the config, so that the same command finds it. It and the progress file
are removed when the run is complete.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import glob
import json
import random
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.trainer import Trainer
from recbole.utils import ModelType

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.file_names import require_file_name
from recbole_midpg.common.plain_values import NOT_ENCODED
from recbole_midpg.common.report_files import RUN_FORMAT, read_report_file
from recbole_midpg.common.version import __version__
from recbole_midpg.common.whole_files import write_text
from recbole_midpg.evaluation.run_report import Epoch
from recbole_midpg.integration.dataset.vocabulary import check_vocabulary, digest_of_rows
from recbole_midpg.integration.run.checkpoint import (
    CONFIG_VALUES,
    checkpoint_of,
    config_to_plain,
    load_checkpoint,
    load_weights,
    write_atomically,
)
from recbole_midpg.integration.run.process_group import gather_objects, rank
from recbole_midpg.integration.run.process_trainer import ProcessTrainer
from recbole_midpg.integration.run.terminal import FOR_TERMINAL
from recbole_midpg.loading.dataset_cache import key_of
from recbole_midpg.training.trainer import ScenarioTrainer

AUTO = "auto"
_PROGRESS, _RUN = ".progress", ".run"
_ENDINGS = (".pth", _PROGRESS)
# Keys that change neither the weights nor the results.
_WITHOUT_EFFECT = frozenset(
    [
        *("resume", "show_progress", "state", "worker", "gpu_id", "config_files"),
        "data_on_device",
        *("checkpoint_dir", "data_path", "dataset_cache", "dataset_cache_dir"),
        *("save_dataset", "dataset_save_path", "log_wandb", "wandb_project", "verbose"),
        *("nproc", "ip", "port", "offset", "group_offset", "n_threads"),
    ]
)
_ABANDONED_SECONDS = 3600.0
# What a state raises that is no run's.
_NO_STATE = (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError)


@dataclass(frozen=True)
class Resume:
    """What the key ``resume`` may hold: whether a run goes on, or from which file."""

    allowed: str = "True, False, auto or the name of a checkpoint (.pth) or progress file"

    def accepts(self, value: Any) -> bool:
        """See :class:`~recbole_midpg.common.rules.Rule`."""
        return isinstance(value, bool) or value == AUTO or _is_file_name(value)


def _is_file_name(value: Any) -> bool:
    return isinstance(value, str) and value.endswith(_ENDINGS)


class Progress:
    """Keeps a run's state on disk after each epoch, and brings it back.

    Args:
        trainer: the run's trainer, new.
        train_data: the loader of the training split.
        others: the loaders of the other splits, whose rows are to be the same too when it goes on;
            ``None`` for one that there is not.
    """

    def __init__(self, trainer: Any, train_data: Any, *others: Any) -> None:
        self.trainer = trainer
        self.train_data = train_data
        self.config = trainer.config
        self.folder = Path(self.config["checkpoint_dir"])
        loaders = [train_data, *(data for data in others if data is not None)]
        self._rows = digest_of_rows(*(data._dataset for data in loaders))
        self._announced = False
        trainer.run_state = self.state

    @classmethod
    def of(cls, trainer: Any, train_data: Any, *others: Any) -> Progress | None:
        """The progress of a run whose state can be kept, ``None`` for any other.

        Raises:
            UsageError: ``resume`` is set for a run that cannot go on.
        """
        config = trainer.config
        obstacle = None
        if config["MODEL_TYPE"] != ModelType.CONTEXT:
            obstacle = f"RecBole's {config['model']}, which is not context-aware"
        elif type(trainer) not in (Trainer, ScenarioTrainer, ProcessTrainer):
            obstacle = f"the trainer of {config['model']}, {type(trainer).__name__}"
        if obstacle is None:
            return cls(trainer, train_data, *others)
        if config["resume"] is not False:
            raise UsageError(
                f"resume: {config['resume']!r} does not go with {obstacle}, expected False."
            )
        return None

    @property
    def name(self) -> str:
        """The beginning of the run's file names: the same for the same config."""
        key = key_of(comparable(self.config))
        return f"{self.config['model']}-{self.config['dataset']}-{key[:16]}"

    @property
    def identity(self) -> dict[str, str]:
        """What identifies this run in a report: the same command has the same."""
        return {"name": self.name, "rows": self._rows, "version": __version__}

    @property
    def _run_file(self) -> Path:
        return self.folder / f"{self.name}{_RUN}"

    @property
    def _progress_file(self) -> Path:
        return self.folder / f"{self.name}{_PROGRESS}"

    @property
    def is_unfinished(self) -> bool:
        """Whether there is a run of this config to resume."""
        return self._run_file.is_file()

    @property
    def is_trained(self) -> bool:
        """Whether no epoch is left to train."""
        trainer = self.trainer
        return trainer.start_epoch >= trainer.epochs or trainer.cur_step > trainer.stopping_step

    # ----------------------------------------------------------------------------------------------
    # Keeping

    def state(self, best_epoch: int | None) -> dict[str, Any]:
        """The state that resuming needs beside RecBole's checkpoint.

        Args:
            best_epoch: the epoch whose weights the checkpoint holds, if there is a checkpoint.
        """
        return {
            "version": __version__,
            "computed_by": computed_by(),
            "checkpoint": Path(self.trainer.saved_model_file).name,
            "best_epoch": best_epoch,
            "rows": self._rows,
            "history": [asdict(epoch) for epoch in self.trainer.history],
            "generators": gather_objects(self._generators()),
        }

    def _generators(self) -> dict[str, Any]:
        """What this process's random generators would draw next."""
        device = self.config["device"]
        return {
            "loader": self.train_data.generator.get_state(),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
            "numpy": _numpy_state(),
            "python": random.getstate(),
        }

    def follow(self) -> None:
        """Keep the state whenever the trainer begins another epoch."""
        stock = self.trainer._train_epoch

        @functools.wraps(stock)
        def train_epoch(train_data: Any, epoch_idx: int, *args: Any, **kwargs: Any) -> Any:
            if epoch_idx > self.trainer.start_epoch:
                self.keep(epoch_idx - 1)
            return stock(train_data, epoch_idx, *args, **kwargs)

        self.trainer._train_epoch = train_epoch

    def keep(self, epoch: int) -> None:
        """Let the state after an epoch be on disk, where its checkpoint does not hold it already.

        Raises:
            UsageError: a file cannot be written.
        """
        if self.trainer.saved_epoch != epoch:
            state = checkpoint_of(self.trainer, epoch, best_epoch=self.trainer.saved_epoch)
            if rank() == 0:
                write_atomically(state, self._progress_file)
        if not self._announced and rank() == 0:
            # Only now: until then an earlier run of the same config could go on.
            text = json.dumps({"checkpoint": Path(self.trainer.saved_model_file).name})
            write_text(self._run_file, f"{text}\n")
            self._announced = True

    def complete(self) -> None:
        """Remove what only an unfinished run needs."""
        if rank() != 0:
            return
        self._run_file.unlink(missing_ok=True)
        self._progress_file.unlink(missing_ok=True)
        self._remove_leftovers()

    def _remove_leftovers(self) -> None:
        """Remove what killed processes have left half written."""
        for part in self.folder.glob(f".{self.config['model']}-*.part"):
            try:
                if time.time() - part.stat().st_mtime > _ABANDONED_SECONDS:
                    part.unlink()
            except FileNotFoundError:  # its writer lives, and has renamed it
                continue

    # ----------------------------------------------------------------------------------------------
    # Going on

    def finished_report(self) -> Path | None:
        """The report of this run where it is finished; the newest of several, ``None`` of none."""
        found = [
            path
            for path in self.folder.glob(f"{glob.escape(self.config['model'])}-*.json")
            if self._is_own_report(path)
        ]
        return max(found, key=lambda path: path.stat().st_mtime, default=None)

    def _is_own_report(self, path: Path) -> bool:
        try:
            report = read_report_file(path, RUN_FORMAT, "report of a run")
        except UsageError:  # whatever it is, it is no report of this run
            return False
        has_results = all(isinstance(report.get(part), dict) for part in ("valid", "test"))
        return report.get("run") == self.identity and has_results

    def resume(self) -> bool:
        """Go on as the key ``resume`` says.

        Returns:
            Whether there was a state to go on from.

        Raises:
            UsageError: there is none and one was asked for; or it is damaged, or of another model,
                dataset, config or version.
        """
        how = self.config["resume"]
        if _is_file_name(how):
            self.folder = Path(how).parent
            self._take_over(Path(how), load_checkpoint(how))
            return True
        unfinished = self.is_unfinished
        if unfinished and how is not False:
            self._take_over(*self._newest())
            return True
        if how is True:
            raise UsageError(
                f"resume: no unfinished run of {self.config['model']} on {self.config['dataset']} "
                f"with this config is in {str(self.folder)!r}, "
                "expected the command that was cut off after an epoch (auto starts anew)."
            )
        if how == AUTO and (finished := self.finished_report()):
            getLogger().info(
                f"A run of this config is finished ({finished}), and this one starts anew; "
                "resume: True would have named its results.",
                extra=FOR_TERMINAL,
            )
        if unfinished:
            getLogger().warning(
                f"An unfinished run of this config is in {str(self.folder)!r}, and this one starts "
                "anew; resume: auto would have gone on."
            )
        return False

    def _newest(self) -> tuple[Path, dict[str, Any]]:
        try:
            name = json.loads(self._run_file.read_text(encoding="utf-8"))["checkpoint"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"resume: {str(self._run_file)!r} is damaged ({error!r}).") from error
        self._require_own_name(name, f"resume: {str(self._run_file)!r} is damaged")
        best_file = self.folder / name
        paths = [path for path in (best_file, self._progress_file) if path.exists()]
        found = [(path, load_checkpoint(path)) for path in paths]
        # A progress file that another run of this config has left is of another checkpoint.
        own = [pair for pair in found if _run_state(*pair)["checkpoint"] == name]
        if not own:
            raise UsageError(
                f"resume: {str(best_file)!r}, the checkpoint of the unfinished run, is not there."
            )
        return max(own, key=lambda pair: pair[1]["epoch"])

    def _take_over(self, path: Path, checkpoint: dict[str, Any]) -> None:
        try:
            self._restore(path, checkpoint)
        except UsageError:
            raise
        except _NO_STATE as error:
            raise UsageError(
                f"checkpoint {str(path)!r}: the state in it is not what a run writes ({error!r})."
            ) from error

    def _restore(self, path: Path, checkpoint: dict[str, Any]) -> None:
        """Take over a state once all of it is known to fit."""
        trainer, state = self.trainer, _run_state(path, checkpoint)
        self._check(path, checkpoint, state)
        best_file = path.parent / state["checkpoint"]
        best_epoch = state["best_epoch"]
        # The run will write over it: where there is such a file already, it is of this run.
        if best_file != path and (best_epoch is not None or best_file.exists()):
            best = load_checkpoint(best_file)
            self._check(best_file, best, _run_state(best_file, best))
            if best_epoch is not None and best["epoch"] != best_epoch:
                raise UsageError(
                    f"checkpoint {str(best_file)!r}: it is of epoch {best['epoch']}, "
                    f"expected {best_epoch}, the best one of {path.name}."
                )
        load_weights(trainer.model, checkpoint, str(path))
        # Copied, as the optimizer would go on in the memory of the file.
        trainer.optimizer.load_state_dict(copy.deepcopy(checkpoint["optimizer"]))
        trainer.saved_model_file, trainer.saved_epoch = str(best_file), best_epoch
        trainer.start_epoch = checkpoint["epoch"] + 1
        trainer.cur_step = checkpoint["cur_step"]
        trainer.best_valid_score = checkpoint["best_valid_score"]
        trainer.history = [Epoch(**values) for values in state["history"]]
        trainer.train_loss_dict = {e.epoch: sum(e.loss.values()) for e in trainer.history}
        trainer.best_valid_result = next(
            (
                OrderedDict(epoch.valid)  # as RecBole's evaluator has it
                for epoch in trainer.history
                if epoch.epoch == best_epoch and epoch.valid
            ),
            None,
        )
        self._set_generators(state["generators"][rank()])
        self.train_data.epoch = trainer.start_epoch  # which part of a pass it is
        if state["computed_by"] != computed_by():
            getLogger().warning(
                f"The run began with {state['computed_by']} and goes on with {computed_by()}: its "
                "weights will differ by rounding from those that it would have ended with."
            )
        sentence = f"The run goes on after epoch {checkpoint['epoch']}, from {path}."
        getLogger().info(sentence, extra=FOR_TERMINAL)

    def _set_generators(self, state: Mapping[str, Any]) -> None:
        self.train_data.generator.set_state(state["loader"])
        torch.set_rng_state(state["torch"])
        device = self.config["device"]
        if state["cuda"] is not None and device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"].cpu(), device)
        np.random.set_state(state["numpy"])
        random.setstate(state["python"])

    def _require_own_name(self, name: Any, place: str) -> None:
        """Check the name of the checkpoint that a file says to resume from, and to overwrite.

        Raises:
            UsageError: a run of this model would not have written under that name.
        """
        beginning, ending = f"{self.config['model']}-", _ENDINGS[0]
        checkpoint = require_file_name(place, name)
        if not (checkpoint.startswith(beginning) and checkpoint.endswith(ending)):
            raise UsageError(
                f"{place}: its checkpoint is {name!r}, expected {beginning}DATE{ending}."
            )

    def _check(self, path: Path, checkpoint: dict[str, Any], state: Mapping[str, Any]) -> None:
        place, config = f"checkpoint {str(path)!r}", checkpoint["config"]
        for key in ("model", "dataset"):
            if config[key] != self.config[key]:
                raise UsageError(
                    f"{place}: it is of {key} {config[key]}, expected {self.config[key]}."
                )
        self._require_own_name(state["checkpoint"], place)
        if state["version"] != __version__:
            raise UsageError(
                f"{place}: it was written by recbole-midpg {state['version']}, and this is "
                f"{__version__}, with which the run would not end with the same weights."
            )
        saved, here = comparable(config), comparable(self.config)
        for key in sorted({*saved, *here}):
            if saved.get(key) != here.get(key):
                raise UsageError(
                    f"{place}: it was trained with {key}: {config[key]}, here it is "
                    f"{self.config[key]}; a run goes on with the config it began with."
                )
        check_vocabulary(checkpoint["vocabulary"], self.trainer.vocabulary, place)
        if state["rows"] != self._rows:
            raise UsageError(
                f"{place}: the rows of {self.config['dataset']} are not those that the run "
                "began with."
            )


def computed_by() -> str:
    """What rounding depends on, beside the config."""
    return f"torch {torch.__version__} on {torch.get_num_threads()} threads"


def _numpy_state() -> tuple[Any, ...]:
    """The state of numpy's global generator, with a list for its array."""
    name, key, *others = np.random.get_state(legacy=True)
    return (name, np.asarray(key).tolist(), *others)


def _run_state(path: Path, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    state = checkpoint.get("run_state")
    with contextlib.suppress(*NOT_ENCODED):
        state = CONFIG_VALUES.decode(state)
    if not isinstance(state, dict) or "checkpoint" not in state or not checkpoint.get("vocabulary"):
        raise UsageError(
            f"checkpoint {str(path)!r}: it holds weights and not the state of a run, "
            "expected one written by run_recbole."
        )
    return dict(state)


def comparable(config: Any) -> dict[str, str]:
    """The config values that decide a run's results, as texts that can be compared."""
    values = config_to_plain(config)["values"]
    return {
        key: json.dumps(value, sort_keys=True, default=_as_json)
        for key, value in values.items()
        if key not in _WITHOUT_EFFECT
    }


def _as_json(value: Any) -> Any:
    return sorted(value, key=str) if isinstance(value, set) else str(value)
