"""A run that is cut off, resumed or left alone, and writes what it has done.

Started by :mod:`robustness.resume` as

    python -m robustness.resume_side PLAN --model=NAME --dataset=NAME [--key=value ...]

The plan is JSON: ``side`` (``stock``, which is RecBole with the shims that let it start, or
``ours``), ``cut`` (the epoch at whose begin the process kills itself) and ``checkpoint`` (what
RecBole resumes from). The rest is a command line of ``run_recbole``. What is watched is the same on
both sides, and changes nothing of the run.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import signal
import sys
from typing import Any

import torch

from benchmarks.stock_recbole import main as run_stock
from benchmarks.stock_recbole import prepare_stock_recbole

RESULT = "result.pt"


def copy_of_weights(trainer: Any) -> dict[str, torch.Tensor]:
    """The model's weights as they are now."""
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def watch(cut: int | None, checkpoint: str | None) -> None:
    """Let RecBole's trainers resume, kill themselves, and write what they have done.

    Args:
        cut: the epoch at whose begin the process dies: all before it is complete, files included.
        checkpoint: what RecBole's trainer is to resume from, the way its users do.
    """
    from recbole.trainer import Trainer  # noqa: PLC0415 - only once the side has been prepared

    found: dict[str, Any] = {"order": {}}
    loaders = []
    stock_fit, stock_evaluate = Trainer.fit, Trainer.evaluate

    def fit(self: Any, train_data: Any, valid_data: Any = None, **options: Any) -> Any:
        if checkpoint:
            self.resume_checkpoint(checkpoint)
        found["first epoch"] = self.start_epoch
        loaders.append(valid_data)
        result = stock_fit(self, train_data, valid_data, **options)
        found["loss"] = dict(self.train_loss_dict)
        found["validation"] = result[1]
        found["last"] = copy_of_weights(self)
        return result

    def evaluate(self: Any, data: Any, load_best_model: bool = True, **options: Any) -> Any:
        if load_best_model:
            # The kept model's own, which RecBole's resumed run does not know.
            found["valid"] = dict(stock_evaluate(self, loaders[0]))
        results = stock_evaluate(self, data, load_best_model=load_best_model, **options)
        if load_best_model:
            found["test"], found["kept"] = dict(results), copy_of_weights(self)
            torch.save(found, RESULT)
        return results

    def watched(train_epoch: Any) -> Any:
        def watched_epoch(self: Any, train_data: Any, epoch: int, **options: Any) -> Any:
            if epoch == cut:
                os.kill(os.getpid(), signal.SIGKILL)
            state = train_data.generator.get_state().numpy().tobytes()
            found["order"][epoch] = hashlib.sha256(state).hexdigest()
            return train_epoch(self, train_data, epoch, **options)

        return watched_epoch

    Trainer.fit, Trainer.evaluate = fit, evaluate
    for trainer in (Trainer, *Trainer.__subclasses__()):
        if "_train_epoch" in vars(trainer):
            trainer._train_epoch = watched(trainer._train_epoch)


def main() -> int:
    """Run one side, as its own command does."""
    plan = json.loads(sys.argv.pop(1))
    if plan["side"] == "stock":
        prepare_stock_recbole()
    else:
        cli = importlib.import_module("recbole_midpg.cli")
    watch(plan["cut"], plan["checkpoint"])
    if plan["side"] == "stock":
        run_stock()
        return 0
    return int(cli.run_recbole_command())


if __name__ == "__main__":
    sys.exit(main())
