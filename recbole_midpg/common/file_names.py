"""Names that come from outside and become part of a path: they must not lead out of its folder."""

from __future__ import annotations

from typing import Any

from recbole_midpg.common.errors import UsageError

_SEPARATORS = frozenset("/\\:")


def require_file_name(place: str, value: Any) -> str:
    """Check a name that becomes a file or a folder, or part of its name.

    Args:
        place: what holds the name, for the error.
        value: the name.

    Returns:
        The name.

    Raises:
        UsageError: it is no text, or one that would lead elsewhere: it names a folder besides, is
            ``.`` or ``..``, or has characters that cannot be shown, as a zero byte.
    """
    fine = (
        isinstance(value, str)
        and value not in {"", ".", ".."}
        and value.isprintable()
        and _SEPARATORS.isdisjoint(value)
    )
    if not fine:
        raise UsageError(
            f"{place}: {value!r} is not allowed, expected a name without a folder (no / \\ :)."
        )
    return str(value)
