"""What of a run's log the terminal shows: a header, a line an epoch, and warnings.

Cause: RecBole shows on the terminal what it writes into the log file, some 260 lines of a short
run, among which a warning is lost. The file keeps all of it, and so does the terminal with
``verbose: True``. Where a program has set up a log of its own, nothing here touches it.

Of RecBole's it touches the handlers that ``logger.colorlog`` formats.
"""

from __future__ import annotations

import logging
import time

import colorlog

from recbole_midpg.evaluation.run_report import Epoch
from recbole_midpg.evaluation.run_results import plain_results

# For ``extra`` of a record that is for the terminal as well as for the file.
FOR_TERMINAL = {"for_terminal": True}


class _Digest(logging.Filter):
    """Lets through warnings, errors, and what is meant for the terminal."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or getattr(record, "for_terminal", False)


def show_digest(verbose: bool | None) -> None:
    """Let RecBole's log show its digest on the terminal, or all of it.

    Args:
        verbose: whether all of it is shown; ``None``, in checkpoints of earlier versions, as
            ``False``.
    """
    for handler in logging.getLogger().handlers:
        # As RecBole sets up the terminal's; a program's own handler has another.
        if isinstance(handler.formatter, colorlog.ColoredFormatter):
            handler.filters[:] = [] if verbose else [_Digest()]


def show(text: str) -> None:
    """Show a text on the terminal that is not for the log file; nothing with the whole log.

    Args:
        text: one line or several.
    """
    record = logging.LogRecord("recbole_midpg", logging.INFO, "", 0, text, None, None)
    record.for_terminal = True
    for handler in logging.getLogger().handlers:
        is_digest = any(isinstance(filtering, _Digest) for filtering in handler.filters)
        if is_digest and record.levelno >= handler.level:
            handler.handle(record)


class EpochLines:
    """Shows each epoch in a line, as soon as all is known of it.

    Args:
        eval_step: after how many epochs validation comes; 0 where it never does.
        places: decimals of the loss.
    """

    def __init__(self, eval_step: int, places: int) -> None:
        self.eval_step, self.places = eval_step, places
        self._waiting: Epoch | None = None
        self._began = time.monotonic()

    def trained(self, epoch: Epoch) -> None:
        """Show an epoch that has been trained, unless its validation is to come."""
        self.finish()
        self._waiting = epoch
        if self.eval_step <= 0 or (epoch.epoch + 1) % self.eval_step:
            self.finish()

    def evaluated(self, is_best: bool) -> None:
        """Show the epoch with its validation results.

        Args:
            is_best: whether no earlier one is better.
        """
        self.finish(", best so far" if is_best else "")

    def finish(self, remark: str = "") -> None:
        """Show the epoch that waits for a validation, which has been or does not come."""
        if self._waiting is None:
            return
        now = time.monotonic()
        show(f"{self._line(self._waiting, now - self._began)}{remark}")
        self._waiting, self._began = None, now

    def _line(self, epoch: Epoch, seconds: float) -> str:
        loss = f"{sum(epoch.loss.values()):.{self.places}f}"
        if len(epoch.loss) > 1:
            terms = (f"{name} {value:.{self.places}f}" for name, value in epoch.loss.items())
            loss += f" ({', '.join(terms)})"
        line = f"epoch {epoch.epoch}: {seconds:.1f} s, loss {loss}"
        return f"{line}; valid {plain_results(epoch.valid)}" if epoch.valid else line
