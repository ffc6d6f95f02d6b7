"""A dataset's state as an entry of plain values and arrays, and back: kept without a pickle.

Both the cache and ``save_dataset`` keep datasets so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from logging import getLogger
from typing import Any

import numpy as np
import pandas as pd
import recbole.data.dataset.dataset as recbole_module
import torch
from numpy.typing import NDArray
from recbole.data.dataset.dataset import Dataset
from recbole.utils import FeatureSource, FeatureType
from recbole.utils.argument_list import dataset_arguments
from torch import Tensor

from recbole_midpg.common.plain_values import NOT_ENCODED, Codec, Kind, enum_kind
from recbole_midpg.loading.array_file import Damaged, Entry
from recbole_midpg.loading.atomic_reader import Tokens

STATE_FORMAT = 5
"""The version of what :func:`entry_of` gives."""

STATE_KEYS = (
    *dataset_arguments,
    # RecBole's own list leaves out these two of its own, so that a change of them went unnoticed.
    *("numerical_features", "discretization"),
    *("dataset", "encoding", "synthetic_rows", "synthetic_seed"),
    "time_split",  # whose field normalize_all leaves as it is
)
"""The config's keys that decide what a dataset holds before it is split."""

# Attributes that say whose the dataset is and where its files are, which each run says anew.
_OF_THE_RUN = frozenset({"config", "logger", "dataset_path", "dataset_name"})
_NEEDED = frozenset({"field2type", "field2id_token", "inter_feat"})


class TokenTables(dict[str, Any]):
    """Tables of tokens by field, each made when it is first asked for.

    Args:
        form: the attribute of :class:`Tokens` that is the table, ``array`` or ``positions``.
        tokens: the tokens of each field, ``[PAD]`` first.
    """

    def __init__(self, form: str, tokens: dict[str, Tokens] | None = None) -> None:
        super().__init__(tokens or {})
        self.form = form

    def __getitem__(self, field: str) -> Any:
        value = super().__getitem__(field)
        return getattr(value, self.form) if isinstance(value, Tokens) else value

    def __eq__(self, other: object) -> bool:
        return dict(self.items()) == (dict(other.items()) if isinstance(other, dict) else other)

    __hash__ = None

    def __reduce__(self) -> tuple[type[TokenTables], tuple[str, dict[str, Tokens]]]:
        return TokenTables, (self.form, dict(self.tokens()))

    def copy(self) -> TokenTables:
        """A shallow copy, as ``dict.copy``."""
        return TokenTables(self.form, dict(self.tokens()))

    def get(self, field: str, default: Any = None) -> Any:
        """As ``dict.get``."""
        return self[field] if field in self else default  # noqa: SIM401 - this is get itself

    def values(self) -> Any:
        """As ``dict.values``; makes every table."""
        return [self[field] for field in self]

    def items(self) -> Any:
        """As ``dict.items``; makes every table."""
        return [(field, self[field]) for field in self]

    def tokens(self) -> Iterator[tuple[str, Tokens]]:
        """The fields and their tokens, not decoded."""
        return iter(super().items())


def make_frame(columns: Mapping[str, Any]) -> Any:
    """A frame of RecBole's own idea: on pandas 3 the one that fills in place."""
    return recbole_module.pd.DataFrame(columns, copy=False)


def object_array(rows: list[Any]) -> NDArray[np.object_]:
    """An array of objects, which numpy would else look into."""
    return np.fromiter(rows, dtype=object, count=len(rows))


# --------------------------------------------------------------------------------------------------
# Entries


def entry_of(dataset: Dataset, made_of: Mapping[str, Any]) -> Entry:
    """The state of a dataset that is not split yet.

    Args:
        dataset: the dataset.
        made_of: what it was made of, which :func:`content_of` gives back: ``config``, the values
            of :data:`STATE_KEYS`, ``files``, the SHA-256 of each by its name, and more.

    Raises:
        NotPlainError: it holds what cannot be kept without a pickle.
    """
    state = {name: value for name, value in vars(dataset).items() if name not in _OF_THE_RUN}
    arrays: dict[str, NDArray[Any]] = {}
    values = pack({"format": STATE_FORMAT, "made of": made_of, "state": state}, arrays)
    return Entry(values, arrays)


def content_of(entry: Entry) -> tuple[dict[str, Any], dict[str, Any]]:
    """Undo :func:`entry_of`.

    Returns:
        What the dataset was made of, and its state, for :func:`take_over`.

    Raises:
        Damaged: the entry holds no dataset, or one of another version.
    """
    try:
        content = unpack(entry.values, entry.arrays)
        if content["format"] != STATE_FORMAT:
            raise Damaged(f"its dataset is of version {content['format']}, not {STATE_FORMAT}")
        made_of, state = dict(content["made of"]), dict(content["state"])
        if not isinstance(made_of["files"], dict) or not state.keys() >= _NEEDED:
            raise Damaged("it holds no dataset")
        return made_of, state
    except Damaged:
        raise
    except NOT_ENCODED as error:
        raise Damaged(f"it holds no dataset ({error!r})") from error


def take_over(dataset: Dataset, config: Any, state: Mapping[str, Any]) -> None:
    """Give a new dataset a state, and the config and folder of this run."""
    dataset.config, dataset.dataset_name, dataset.logger = config, config["dataset"], getLogger()
    dataset._get_preset()
    vars(dataset).update({name: v for name, v in state.items() if name not in _OF_THE_RUN})


# --------------------------------------------------------------------------------------------------
# Values


def pack(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """Make of a dataset's attributes what JSON can express; arrays are put aside, by names.

    Raises:
        NotPlainError: one of them is of a kind that is not known.
    """
    return _codec(arrays).encode(value)


def unpack(value: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Undo :func:`pack`.

    Raises:
        Exception: one of :data:`NOT_ENCODED`.
    """
    return _codec(dict(arrays)).decode(value)


def _codec(arrays: dict[str, NDArray[Any]]) -> Codec:
    """The codec of a dataset's values, which has its arrays beside it."""
    names: dict[int, str] = {}

    def put_aside(array: NDArray[Any]) -> str:
        # What two attributes share, as the tokens of both tables, is kept once.
        name = names.setdefault(id(array), str(len(arrays)))
        arrays[name] = array
        return name

    return Codec(
        enum_kind(FeatureType, FeatureSource),
        Kind(
            ("array",),
            _is_numeric,
            lambda array: (put_aside(array),),
            lambda name: arrays[name],
        ),
        Kind(
            ("tensor",),
            lambda value: isinstance(value, Tensor),
            lambda tensor: (tensor.detach().cpu().numpy(),),
            torch.from_numpy,
        ),
        *_KINDS,
    )


def _is_numeric(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "biuf"


def _is_array(kind: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, np.ndarray) and value.dtype.kind == kind


def _is_ragged(value: Any) -> bool:
    """Whether a column holds an array in each row, or a tuple of as many equally long ones."""
    if not _is_array("O")(value) or value.ndim != 1 or not len(value):
        return False
    if not isinstance(value[0], tuple):
        return all(_is_numeric(row) and row.ndim == 1 for row in value)
    return len(value[0]) > 0 and all(
        isinstance(row, tuple)
        and len(row) == len(value[0])
        and all(_is_numeric(part) and part.shape == (len(row[0]),) for part in row)
        for row in value
    )


def _flat(column: NDArray[np.object_]) -> tuple[bool, NDArray[np.int64], list[NDArray[Any]]]:
    """Make few arrays of the many of a ragged column."""
    in_tuples = isinstance(column[0], tuple)
    parts = list(zip(*column, strict=True)) if in_tuples else [tuple(column)]
    lengths = np.array([len(row) for row in parts[0]], dtype=np.int64)
    return in_tuples, lengths, [np.concatenate(part) for part in parts]


def _rows(in_tuples: bool, lengths: NDArray[np.int64], flat: list[Any]) -> NDArray[np.object_]:
    """Undo :func:`_flat`."""
    ends = np.cumsum(lengths)[:-1]
    parts = [np.split(part, ends) for part in flat]
    return object_array(list(zip(*parts, strict=True)) if in_tuples else parts[0])


_KINDS = (
    Kind(("in_tuples", "lengths", "rows"), _is_ragged, _flat, _rows),
    Kind(
        ("objects",),
        lambda value: _is_array("O")(value) and value.ndim == 1,
        lambda array: (list(array),),
        object_array,
    ),
    Kind(
        ("texts",),
        _is_array("U"),
        lambda array: (array.tolist(),),
        lambda texts: np.array(texts, dtype=np.str_),
    ),
    Kind(
        ("tokens", "offsets"),
        lambda value: isinstance(value, Tokens),
        lambda tokens: (tokens.blob, tokens.offsets),
        Tokens,
    ),
    Kind(
        ("form", "tables"),
        lambda value: isinstance(value, TokenTables),
        lambda tables: (tables.form, dict(tables.tokens())),
        TokenTables,
    ),
    Kind(
        ("frame",),
        lambda value: isinstance(value, pd.DataFrame),
        lambda frame: ({name: frame[name].to_numpy() for name in frame.columns},),
        make_frame,
    ),
    # JSON knows neither of these.
    Kind(("tuple",), lambda value: isinstance(value, tuple), lambda items: (list(items),), tuple),
    Kind(("set",), lambda value: isinstance(value, set), lambda items: (list(items),), set),
)
