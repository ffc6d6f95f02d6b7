"""The errors that the commands print as one sentence, and the words of these sentences."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

# The exit statuses of the commands: after an error, a process's death, an interrupt.
USAGE_STATUS, DEATH_STATUS, INTERRUPT_STATUS = 2, 1, 130


class UsageError(ValueError):
    """A wrong value from outside, described in one sentence: the place, the value, what is allowed.

    The command-line programs print the sentence without a traceback and exit with status 2.
    """


class NoRowsError(UsageError):
    """A file without a single row."""


class ProcessDied(RuntimeError):  # noqa: N818 - it names what happened
    """A process of several has died; the message says which and how, in a sentence."""


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Find the known word nearest to a misspelt one.

    Args:
        word: what was written; hyphens count as underscores, and capitals as small letters.
        known: what could have been meant.
        cutoff: how alike they must be, from 0 to 1, by ``difflib``.
    """
    by_lower_case = {name.lower(): name for name in known}
    written = word.lower().replace("-", "_")
    near = get_close_matches(written, by_lower_case, n=1, cutoff=cutoff)
    return by_lower_case[near[0]] if near else None


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Name the known word nearest to a misspelt one; arguments as :func:`nearest`.

    Returns:
        ``"; did you mean 'nearest'?"``, or an empty string where nothing is near.
    """
    name = nearest(word, known, cutoff)
    return f"; did you mean {name!r}?" if name else ""


def expected_some_of(known: Iterable[str], word: str) -> str:
    """The end of a sentence on a word that is not among the known ones.

    Returns:
        ``", expected some of a, b."``, or with the nearest one as :func:`did_you_mean` names it.
    """
    names = list(known)
    return f", expected some of {', '.join(names)}{did_you_mean(word, names) or '.'}"
