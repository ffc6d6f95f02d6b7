"""One line on stderr that shows how far a conversion is."""

from __future__ import annotations

import sys
import time
from typing import TextIO

_SECONDS_BETWEEN = 0.5


class ProgressBar:
    """Share, rows, rate and time left, written over itself on one line.

    Args:
        title: what the line begins with.
        show: whether it is shown; ``None`` shows it where ``stream`` is a terminal.
        stream: where it is shown, stderr by default.
    """

    def __init__(self, title: str, show: bool | None = None, stream: TextIO | None = None) -> None:
        self._title = title
        self._stream = stream or sys.stderr
        self._show = self._stream.isatty() if show is None else show
        self._start = self._last = time.monotonic()
        self._width = 0

    def update(self, share: float, rows: int) -> None:
        """Show that a share of the work, in [0, 1], is done, and so many rows."""
        now = time.monotonic()
        if not self._show or now - self._last < _SECONDS_BETWEEN:
            return
        self._last = now
        seconds = now - self._start
        left = seconds / share - seconds if share > 0 else 0.0
        self._write(
            f"{self._title}: {share:.0%}, {rows:,} rows, {rows / seconds:,.0f} rows/s, "
            f"{_duration(left)} left"
        )

    def close(self) -> None:
        """Clear the line."""
        if self._width:
            self._write("")
            self._stream.write("\r")
            self._stream.flush()
            self._width = 0

    def _write(self, text: str) -> None:
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
