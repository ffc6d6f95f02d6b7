"""The parser of ``recbole-midpg``: which names what is nearly one of its words."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from recbole_midpg.common.errors import nearest
from recbole_midpg.integration.config.key_names import own_keys, recbole_keys

_NEAR = 0.75
# These name a run and are no values of its config: a command takes them as options or not at all.
_NAMES_OF_RUNS = frozenset({"model", "dataset", "config_files"})


class CommandParser(argparse.ArgumentParser):
    """Takes hyphens in an option's name for underscores, and names the word nearest to a wrong one.

    A command whose default ``settings`` is set takes config values besides: an option that it does
    not know is left to the config, unless it is near one of the command's and no config key.
    """

    _commands: Any = None

    def add_subparsers(self, **options: Any) -> Any:
        """See ``ArgumentParser``; the commands' parsers are of this class too."""
        self._commands = super().add_subparsers(**options)
        return self._commands

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str], namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """See ``ArgumentParser``, which gives its commands their arguments by this method too."""
        words = list(args)
        if self._commands is None:
            words = [self._as_declared(word) for word in words]
            self._require_options(words)
        else:
            self._require_command(words)
        return super().parse_known_args(words, namespace)

    def _as_declared(self, word: str) -> str:
        """An option with the hyphens or underscores that it has; others with underscores."""
        if not word.startswith("--"):
            return word
        name, separator, value = word.removeprefix("--").partition("=")
        spellings = (f"--{name}", f"--{name.replace('_', '-')}")
        declared = next((s for s in spellings if s in self._option_string_actions), None)
        return f"{declared or '--' + name.replace('-', '_')}{separator}{value}"

    def _require_command(self, words: Sequence[str]) -> None:
        known = list(self._commands.choices)
        word = next((word for word in words if not word.startswith("-")), None)
        if word is not None and word not in known:
            kind = self._commands.metavar.lower()
            self._refuse(f"{word!r} is no {kind}, one of {', '.join(known)}", word, known, "")

    def _require_options(self, words: Sequence[str]) -> None:
        options = self._option_string_actions  # argparse has no other way to list them
        known = [name.removeprefix("--") for name in options if name.startswith("--")]
        for word in words:
            option = word.partition("=")[0]
            if not option.startswith("--") or option in options or self._is_abbreviated(option):
                continue
            name = option.removeprefix("--")
            if not (self.get_default("settings") is not None and _may_be_config(name, known)):
                self._refuse(f"{option} is no option", name, known, "--")

    def _is_abbreviated(self, option: str) -> bool:
        return self.allow_abbrev and any(
            name.startswith(option) for name in self._option_string_actions
        )

    def _refuse(self, sentence: str, word: str, known: Iterable[str], prefix: str) -> NoReturn:
        near = nearest(word, known, _NEAR)
        self.error(f"{sentence}; did you mean {prefix}{near}?" if near else f"{sentence}.")


def _may_be_config(name: str, options: Iterable[str]) -> bool:
    """Whether a name that is no option is to be left to the config."""
    is_key = name in own_keys() | recbole_keys() or nearest(name, options, _NEAR) is None
    return is_key and name not in _NAMES_OF_RUNS
