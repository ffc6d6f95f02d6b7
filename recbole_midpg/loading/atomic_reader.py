"""Reading the columns of an atomic file without making a Python object of each value.

A file is read in blocks of lines. Vector operations find where each value of a block begins and
ends, and number the distinct texts of a column; only those are ever decoded, and only numbers at
once. The texts themselves are compared as 64-bit words, eight bytes at a time.

Only *plain* files are read so: UTF-8, lines that end in a line feed, as many values in each as
names in the header, and no quoted value. What a plain file holds, pandas' readers agree on; any
other file is refused, for a full CSV reader to take.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Integers = NDArray[np.signedinteger]
Kind = Literal["text", "number"]

BLOCK_BYTES = 1 << 23

_COPIED_TEXTS = 1 << 20
_WORD = 8
# The first n bytes of a word, by n.
_MASKS = np.array([(1 << (8 * n)) - 1 for n in range(_WORD + 1)], dtype="<u8")
# What pandas reads as missing by default; none is longer than a word.
MISSING = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)
_MISSING_WORDS = np.array(
    [int.from_bytes(text.encode().ljust(_WORD, b"\0"), "little") for text in MISSING], dtype="<u8"
)
# Whole numbers of more digits are not exact in float64: readers differ in how they round them.
_EXACT_DIGITS = 15


class NotPlain(ValueError):  # noqa: N818 - it names the file's property, as StopIteration does
    """The file is not plain; the message says why."""


@dataclass(frozen=True)
class Tokens:
    """Texts in a fixed order, as bytes.

    Attributes:
        blob: the texts' UTF-8 bytes one after the other, and at least eight more, ``(bytes,)``.
        offsets: where each begins, and where the last one ends, ``(texts + 1,)``.
    """

    blob: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Tokens:
        """Keep some texts."""
        encoded = [text.encode() for text in texts]
        ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return cls(_padded(b"".join(encoded)), ends)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The bytes of each text, ``(texts,)``."""
        return np.diff(self.offsets)

    def texts(self) -> list[str]:
        """Decode every text."""
        whole = self.blob.tobytes()
        bounds = self.offsets.tolist()
        if whole.isascii():
            text = whole.decode()
            return [text[start:end] for start, end in pairwise(bounds)]
        return [whole[start:end].decode() for start, end in pairwise(bounds)]

    @cached_property
    def array(self) -> NDArray[np.str_]:
        """The decoded texts, made when first asked for."""
        return np.array(self.texts())

    @cached_property
    def positions(self) -> dict[str, int]:
        """The place of each text, made when first asked for; of equal texts the last one's."""
        return {text: position for position, text in enumerate(self.array)}

    def take(self, indices: Integers) -> Tokens:
        """The texts at some places, in that order."""
        return _copy_texts(self.blob, self.offsets[:-1][indices], self.lengths[indices])

    def find(self, texts: Sequence[str]) -> list[int]:
        """The places of those of ``texts`` that are among these."""
        _, codes = merge([self, Tokens.of(texts)])
        return [code for code in codes[1].tolist() if code < len(self)]


def concatenate(parts: Sequence[Tokens]) -> Tokens:
    """Put texts behind one another, equal ones too."""
    sizes = [int(part.offsets[-1]) for part in parts]
    starts = np.cumsum([0, *sizes])
    blob = np.concatenate(
        [part.blob[:size] for part, size in zip(parts, sizes, strict=True)]
        + [np.zeros(_WORD, np.uint8)]
    )
    shifted = [part.offsets[:-1] + start for part, start in zip(parts, starts, strict=False)]
    return Tokens(blob, np.concatenate([*shifted, starts[-1:]]))


def merge(parts: Sequence[Tokens]) -> tuple[Tokens, list[Integers]]:
    """Number texts that stand in several parts once.

    Args:
        parts: at least one.

    Returns:
        The distinct texts in the order of their first appearance, and for each part the places of
        its texts among them, ``(texts of the part,)``.
    """
    together = concatenate(parts)
    codes, first = number_texts(together.blob, together.offsets[:-1], together.lengths)
    return together.take(first), np.split(codes, np.cumsum([len(part) for part in parts])[:-1])


def number_texts(
    buffer: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[Integers, NDArray[np.int64]]:
    """Number equal texts alike, in the order of their first appearance.

    Texts are distinguished by their first word; those that go on, by that number and the next word,
    and so on. A shorter text is filled up with null bytes, which none may contain.

    Args:
        buffer: bytes that go on for at least eight beyond the last text, ``(bytes,)``.
        starts: where each text begins, ``(texts,)``.
        lengths: its bytes, ``(texts,)``.

    Returns:
        The number of each text, ``(texts,)``, and where each number appears first, ``(numbers,)``.
    """
    codes, _ = pd.factorize(_words(buffer, starts, lengths))
    going_on, done = np.flatnonzero(lengths > _WORD), _WORD
    while going_on.size:
        words = _words(buffer, starts[going_on] + done, lengths[going_on] - done)
        word_codes, words = pd.factorize(words)
        pairs, _ = pd.factorize(codes[going_on] * len(words) + word_codes)
        codes[going_on] = codes.max() + 1 + pairs
        done += _WORD
        going_on = going_on[lengths[going_on] > done]
    if done > _WORD:
        codes, _ = pd.factorize(codes)
    # A number is new exactly where it exceeds all before it.
    highest = np.maximum.accumulate(codes)
    is_new = np.ones(len(codes), dtype=bool)
    np.greater(highest[1:], highest[:-1], out=is_new[1:])
    first = np.flatnonzero(is_new)
    return codes, first


def distinct_texts(
    buffer: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[Integers, Tokens]:
    """Number equal texts alike, and keep one of each; arguments as :func:`number_texts`.

    Returns:
        The number of each text, ``(texts,)``, and the text of each number.
    """
    codes, first = number_texts(buffer, starts, lengths)
    return codes, _copy_texts(buffer, starts[first], lengths[first])


@dataclass(frozen=True)
class TextColumn:
    """A column of texts.

    Attributes:
        codes: the place of each row's text in ``tokens``, -1 where it is missing, ``(rows,)``.
        tokens: the distinct texts, in the order of their first appearance.
        missing_words: the words that were read as missing, as ``NA``, with the rows of each.
    """

    codes: Integers
    tokens: Tokens
    missing_words: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, values: NDArray[np.object_]) -> TextColumn:
        """Make a column of an array of ``str`` and NaN."""
        codes, texts = pd.factorize(values)
        return cls(narrow(codes, len(texts)), Tokens.of(texts))

    @classmethod
    def of_cells(cls, values: NDArray[np.object_]) -> TextColumn:
        """Make a column of a file's texts as they stand there: some are words for missing."""
        codes, texts = pd.factorize(values)
        missing = np.isin(texts, MISSING)
        words = {texts[place]: int((codes == place).sum()) for place in np.flatnonzero(missing)}
        words.pop("", None)
        if missing.any():
            codes = np.append(np.where(missing, -1, np.cumsum(~missing) - 1), -1)[codes]
            texts = texts[~missing]
        return cls(narrow(codes, len(texts)), Tokens.of(texts), words)

    def to_objects(self) -> NDArray[np.object_]:
        """The column as an array of ``str`` and NaN."""
        return np.array([*self.tokens.texts(), np.nan], dtype=object)[self.codes]


def narrow(codes: Integers, count: int) -> Integers:
    """Keep codes from -1 to ``count`` in the smallest type that holds them."""
    return codes.astype(np.min_scalar_type(-max(1, count) - 1), copy=False)


def read_columns(
    path: str | os.PathLike[str], separator: str, kinds: Mapping[str, Kind]
) -> dict[str, TextColumn | NDArray[np.float64]]:
    """Read some columns of a plain file.

    Args:
        path: the file; its first line names the columns.
        separator: what stands between two values.
        kinds: for each column that is read, by its name in the first line, whether its values are
            texts or numbers.

    Returns:
        The columns in the order of the file: texts as a :class:`TextColumn`, numbers as float64
        with NaN where missing, ``(rows,)``.

    Raises:
        NotPlain: a CSV reader has to read this file.
        OSError: the file cannot be opened.
    """
    if len(separator.encode()) != 1 or separator in '"\r\n\0':
        raise NotPlain(f"it is separated by {separator!r}")
    with open(path, "rb") as file:  # noqa: PTH123 - RecBole hands over plain strings
        names = _column_names(file.readline(), separator)
    if not kinds.keys() <= set(names):
        raise NotPlain("a column is not in the first line")
    wanted = {position: name for position, name in enumerate(names) if name in kinds}
    parts: dict[str, list[TextColumn]] = {name: [] for name in wanted.values()}
    numbers: dict[str, list[NDArray[np.float64]]] = {name: [] for name in wanted.values()}
    for block in _blocks(path):
        buffer, starts, ends = _split(block, separator, len(names))
        for position, name in wanted.items():
            begin = starts[:, position]
            column = _text_column(buffer, begin, ends[:, position] - begin)
            if kinds[name] == "text":
                parts[name].append(column)
            else:
                numbers[name].append(_to_numbers(column))
    return {
        name: _join(parts[name]) if kinds[name] == "text" else np.concatenate([[], *numbers[name]])
        for name in wanted.values()
    }


def _column_names(header: bytes, separator: str) -> list[str]:
    try:
        names = header.decode().removesuffix("\n").split(separator)
    except UnicodeDecodeError as error:
        raise NotPlain("it is not UTF-8 text") from error
    if len(names) == 1:
        raise NotPlain("it has one column, where an empty line may be a value or none")
    if len(set(names)) < len(names) or any(set(name) & set('"\r\0\ufeff') for name in names):
        raise NotPlain("its first line is unusual")
    return names


def _blocks(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """The lines below the first one, in blocks of whole lines."""
    with open(path, "rb") as file:  # noqa: PTH123 - RecBole hands over plain strings
        file.readline()
        rest = b""
        while chunk := file.read(BLOCK_BYTES):
            end = chunk.rfind(b"\n") + 1
            if end:
                yield rest + chunk[:end]
                rest = chunk[end:]
            else:
                rest += chunk
        if rest:
            yield rest + b"\n"


def _split(
    block: bytes, separator: str, columns: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Find the values of a block of lines.

    Returns:
        The block's bytes, with some more behind, and where each value begins and ends,
        ``(lines, columns)`` each.

    Raises:
        NotPlain: see :func:`read_columns`.
    """
    mark = separator.encode()
    if b"\r" in block or b"\0" in block:
        raise NotPlain("it holds carriage returns or null bytes")
    if b'"' in block and any(text in b"\n" + block for text in (mark + b'"', b'\n"')):
        raise NotPlain("it holds quoted values")
    if not block.isascii():
        try:
            block.decode()
        except UnicodeDecodeError as error:
            raise NotPlain("it is not UTF-8 text") from error
    buffer = _padded(block)
    ends = np.flatnonzero((buffer == ord(mark)) | (buffer == ord("\n")))
    lines = block.count(b"\n")
    if len(ends) != lines * columns or (buffer[ends[columns - 1 :: columns]] != ord("\n")).any():
        raise NotPlain("a line has more or fewer values than the first line has names")
    starts = np.concatenate([[0], ends[:-1] + 1])
    return buffer, starts.reshape(lines, columns), ends.reshape(lines, columns)


def _text_column(
    buffer: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> TextColumn:
    codes, first = number_texts(buffer, starts, lengths)
    starts, lengths = starts[first], lengths[first]
    missing = (lengths <= _WORD) & np.isin(_words(buffer, starts, lengths), _MISSING_WORDS)
    words = np.flatnonzero(missing & (lengths > 0))
    rows = [int((codes == word).sum()) for word in words]
    texts = _copy_texts(buffer, starts[words], lengths[words]).texts()
    if missing.any():
        codes = np.where(missing, -1, np.cumsum(~missing) - 1)[codes]
        starts, lengths = starts[~missing], lengths[~missing]
    tokens = _copy_texts(buffer, starts, lengths)
    return TextColumn(narrow(codes, len(starts)), tokens, dict(zip(texts, rows, strict=True)))


def _to_numbers(column: TextColumn) -> NDArray[np.float64]:
    """Convert texts as pandas' own readers do, each distinct one once."""
    texts = column.tokens.texts()
    for text in texts:
        if len(text) > _EXACT_DIGITS and not set(text) & set(".eE"):
            raise NotPlain(f"{text!r} has more digits than a float holds")
    try:
        numbers = pd.to_numeric(np.array(texts, dtype=object)).astype(np.float64)
    except (ValueError, TypeError) as error:
        raise NotPlain(f"it holds numbers of an unusual form ({error})") from error
    return np.append(numbers, np.nan)[column.codes]


def _join(parts: list[TextColumn]) -> TextColumn:
    """Put columns below one another."""
    if not parts:
        return TextColumn(np.zeros(0, np.int8), Tokens.of([]))
    if len(parts) == 1:
        return parts[0]
    tokens, places = merge([part.tokens for part in parts])
    codes = [
        np.append(narrow(place, len(tokens)), narrow(np.array([-1]), len(tokens)))[part.codes]
        for part, place in zip(parts, places, strict=True)
    ]
    words: Counter[str] = Counter()
    for part in parts:
        words.update(part.missing_words)
    return TextColumn(np.concatenate(codes), tokens, words)


def _padded(text: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(text + bytes(_WORD), np.uint8)


def _words(
    buffer: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """The first eight bytes of each text as one number, null bytes beyond its end."""
    windows = np.ndarray((len(buffer) - _WORD + 1,), "<u8", buffer, strides=(1,))
    return windows[starts] & _MASKS[np.minimum(lengths, _WORD)]


def _copy_texts(
    buffer: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> Tokens:
    """Copy texts out of a buffer, one behind the other."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    blob = np.zeros(offsets[-1] + _WORD, np.uint8)
    # Each byte's place takes eight bytes: only those of some texts at a time.
    for begin in range(0, len(starts), _COPIED_TEXTS):
        some = slice(begin, begin + _COPIED_TEXTS)
        to = offsets[begin], offsets[begin + len(starts[some])]
        shift = np.repeat(starts[some] - offsets[:-1][some], lengths[some])
        blob[to[0] : to[1]] = buffer[np.arange(*to) + shift]
    return Tokens(blob, offsets)
