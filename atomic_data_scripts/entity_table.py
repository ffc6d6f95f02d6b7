"""Users or items and their attributes, on the disk where they are too many for memory."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

CAPACITY = 1_500_000
"""Entities that are held in memory: at most about 300 MB with short ids and attributes."""

PARTITIONS = 64

_READ_CHARACTERS = 1 << 20


class EntityTable:
    """The distinct ids of an entity, and each id's first attributes; exact, in bounded memory.

    Up to ``capacity`` ids lie in a dictionary. When it is full, they are written to 64 files by a
    hash of the id, and at the end each file is read by itself: memory is that of ``capacity`` ids,
    or of a 64th of all where that is more.

    Args:
        folder: where the files go; they are left there.
        differ: called with an id and two texts of attributes that differ. Where any two rows of an
            id differ in one of its attributes, so do the texts of some call.
        capacity: ids held in memory.
    """

    def __init__(
        self, folder: Path, differ: Callable[[str, str, str], None], capacity: int = CAPACITY
    ) -> None:
        self._folder = folder
        self._differ = differ
        self._capacity = capacity
        self._entities: dict[str, str] = {}
        self._spilled = False

    def add(self, ids: Sequence[str], attributes: Sequence[str]) -> None:
        """Add rows: ids, without tabs, and the text of each one's attributes, in one line."""
        self._add(self._entities, ids, attributes)
        if len(self._entities) >= self._capacity:
            self._spill()

    def finish(self) -> Iterator[tuple[str, str]]:
        """Yield each id once, with its attributes; still calls ``differ``.

        Ids come in the order of their first rows as long as all fit in memory.
        """
        if not self._spilled:
            yield from self._entities.items()
            return
        self._spill()
        for number in range(PARTITIONS):
            entities: dict[str, str] = {}
            with self._partition(number).open(encoding="utf-8", newline="\n") as file:
                while lines := file.readlines(_READ_CHARACTERS):
                    pairs = [line[:-1].partition("\t") for line in lines]
                    ids, _, attributes = zip(*pairs, strict=True)
                    self._add(entities, ids, attributes)
            yield from entities.items()

    def _add(self, entities: dict[str, str], ids: Sequence[str], attributes: Sequence[str]) -> None:
        # Nearly always an id is new or has its old attributes: decided without a loop in Python.
        before = list(map(entities.setdefault, ids, attributes))
        if before == list(attributes):
            return
        for entity, old, new in zip(ids, before, attributes, strict=True):
            if old != new:
                self._differ(entity, old, new)

    def _spill(self) -> None:
        self._spilled = True
        with ExitStack() as stack:
            files = [
                stack.enter_context(
                    self._partition(number).open("a", encoding="utf-8", newline="\n")
                )
                for number in range(PARTITIONS)
            ]
            for entity, attributes in self._entities.items():
                files[zlib.crc32(entity.encode()) % PARTITIONS].write(f"{entity}\t{attributes}\n")
        self._entities.clear()

    def _partition(self, number: int) -> Path:
        return self._folder / f"partition-{number:02d}"
