"""RecBole's ``Dataset``, loaded many times faster and kept in a few bytes a value.

Cause: ``Dataset`` reads files with pandas' Python reader, keeps each token as a Python string until
all are renumbered, and a table of every token's text for good. Here a column of tokens is a column
of numbers from the start, and texts stay bytes until somebody asks for them. Filtering, filling,
normalising and splitting are RecBole's own methods, on frames of those numbers; tensors, mappings
and statistics are the same.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import recbole
import recbole.data.dataset.dataset as recbole_module
import torch
from numpy.typing import NDArray
from recbole.data.dataset.dataset import Dataset
from recbole.utils import FeatureSource, FeatureType, set_color

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.plain_values import NOT_ENCODED, NotPlainError
from recbole_midpg.common.replacing import function_with
from recbole_midpg.common.version import __version__
from recbole_midpg.integration.config.time_split import TimeSplit
from recbole_midpg.integration.dataset.compact_interaction import CompactInteraction
from recbole_midpg.integration.dataset.dataset_state import (
    STATE_FORMAT,
    STATE_KEYS,
    TokenTables,
    content_of,
    entry_of,
    make_frame,
    object_array,
    take_over,
)
from recbole_midpg.integration.dataset.number_scaling import (
    fit_scalers,
    scale_splits,
    scaling_methods,
    unchanged_numbers,
)
from recbole_midpg.integration.dataset.rare_tokens import ReadsRareTokens
from recbole_midpg.loading.array_file import Damaged, Entry
from recbole_midpg.loading.atomic_header import files_to_load
from recbole_midpg.loading.atomic_problem import find_ragged_line
from recbole_midpg.loading.atomic_reader import (
    MISSING,
    Integers,
    NotPlain,
    TextColumn,
    Tokens,
    concatenate,
    merge,
    narrow,
    read_columns,
)
from recbole_midpg.loading.dataset_cache import (
    DatasetCache,
    default_folder,
    file_identity,
    key_of,
)
from recbole_midpg.loading.number_scalers import NumberScaler

_TOKEN_LIKE = frozenset({FeatureType.TOKEN, FeatureType.TOKEN_SEQ})
_PADDING = Tokens.of(["[PAD]"])


class FastDataset(ReadsRareTokens):
    """A ``Dataset`` of the same tensors, mappings and statistics, loaded faster.

    Before :meth:`build` a frame differs from RecBole's in that numbers with an embedding
    (``numerical_features``) are numbers, not lists of two, and NaN where they are missing and
    RecBole neither normalises nor discretizes them; after it, features are
    :class:`~recbole_midpg.integration.dataset.compact_interaction.CompactInteraction`. A field's
    tokens are decoded when ``field2id_token`` or ``field2token_id`` is asked for it.

    By ``numerical_scaling`` and ``numeric`` such numbers of the three splits are scaled, see
    :mod:`~recbole_midpg.integration.dataset.number_scaling`; those of the dataset itself never are.
    With ``min_count`` the splits read rare tokens as unknown ones, see
    :mod:`~recbole_midpg.integration.dataset.rare_tokens`.

    With ``dataset_cache: True`` a loaded dataset is kept in ``dataset_cache_dir``, by default the
    user's folder of caches, and found there again as long as files, config and versions stay.

    Attributes:
        number_scalers: the scaler of each number that :meth:`build` scales; ``None`` lets it fit
            them to the training split. Its splits have those that it took.
        missing_numbers: how many rows had none, by field of the ``.inter`` file; ``None`` in a
            dataset that an earlier version has saved.
    """

    number_scalers: Mapping[str, NumberScaler] | None = None
    missing_numbers: Mapping[str, int] | None = None

    def _from_scratch(self) -> None:
        if self.config["dataset_cache"] is not True:
            super()._from_scratch()
            return
        files = files_to_load(self.config)
        cache = DatasetCache(self.config["dataset_cache_dir"] or default_folder())
        made_of = self._made_of(cache, files)
        key = key_of(made_of)
        entry = cache.load(self.dataset_name, key)
        if entry is not None and self._take_over(entry):
            self.logger.info(set_color("Load dataset from", "pink") + f": [{cache.folder}]")
            return
        before = [file_identity(file) for file in files]
        super()._from_scratch()
        # Files that came or changed in the meantime, as by a download, are for the next run.
        if files and before == [file_identity(file) for file in files_to_load(self.config)]:
            try:
                cache.store(self.dataset_name, key, entry_of(self, made_of))
            except NotPlainError as error:
                self.logger.warning(f"Dataset cache: this dataset is not kept ({error}).")

    def _take_over(self, entry: Entry) -> bool:
        """Take a cached dataset's state over; returns whether it was one."""
        try:
            _, state = content_of(entry)
            dict(state["field2id_token"].tokens())
        except (Damaged, *NOT_ENCODED) as error:
            self.logger.warning(f"Dataset cache: an entry is not used, {error}.")
            return False
        take_over(self, self.config, state)
        return True

    def _made_of(self, cache: DatasetCache, files: list[Path]) -> dict[str, Any]:
        return {
            "files": cache.content_keys(files),
            "config": {name: self.config[name] for name in STATE_KEYS},
            "versions": [
                STATE_FORMAT,
                __version__,
                *(module.__version__ for module in (recbole, pd, np)),
            ],
        }

    # ----------------------------------------------------------------------------------------------
    # Reading

    def _get_preset(self) -> None:
        super()._get_preset()
        self.field2id_token = TokenTables("array")
        self.field2token_id = TokenTables("positions")

    def _load_data(self, token: str, dataset_path: str) -> None:
        self._texts: dict[str, Tokens] = {}  # of each field, until all are remapped
        self.remarks: list[str] = []  # on what was read otherwise than it may have been meant
        super()._load_data(token, dataset_path)

    def _load_feat(self, filepath: str, source: Any) -> Any:
        """Read a file by RecBole's own method, with another reader than pandas'."""
        sources_before = dict(self.field2source)
        our_reader = SimpleNamespace(read_csv=self._read_csv)
        frame = function_with(Dataset._load_feat, pd=our_reader)(self, filepath, source)
        ids = {self.uid_field, self.iid_field}
        self._remark_repeated_lines(filepath, frame, source)
        for field in () if frame is None else frame.columns:
            before = sources_before.get(field, source)
            if before != source and field not in ids and self.field2type[field] in _TOKEN_LIKE:
                raise UsageError(
                    f"{filepath}: the token field {field!r} is loaded from another file too, "
                    "expected one file for each field but the user's and the item's id (load_col)."
                )
        return frame

    def _remark_repeated_lines(self, path: str, frame: Any, source: Any) -> None:
        """Remark that RecBole takes the first of several lines of a user or an item."""
        field = {FeatureSource.USER: self.uid_field, FeatureSource.ITEM: self.iid_field}.get(source)
        if frame is None or field not in frame.columns:
            return
        repeated = int(frame[field].dropna().duplicated().sum())
        if repeated:
            self.remarks.append(
                f"{path}: {repeated:,} of {len(frame):,} lines repeat a {field}; the first line of "
                "each is used."
            )

    def _remark_missing_words(self, path: str, columns: dict[str, Any]) -> None:
        """Remark which words of tokens are read as missing, as pandas and RecBole read them."""
        for name, column in columns.items():
            words = column.missing_words if isinstance(column, TextColumn) else {}
            counts = ", ".join(f"{word!r} in {rows:,}" for word, rows in words.items())
            if counts:
                field = name.partition(":")[0]
                self.remarks.append(f"{path}: {field!r} is read as missing in rows of {counts}.")

    def _read_csv(self, path: str, **options: Any) -> Any:
        """Stand in for ``pandas.read_csv``, as RecBole calls it, with tokens as numbers.

        A column of tokens holds each token's place in ``self._texts``, NaN where it is missing.
        """
        kinds = options["dtype"]
        encoding = (options["encoding"] or "utf-8").lower().replace("_", "-")
        try:
            if encoding not in {"utf-8", "utf8", "ascii"}:
                raise NotPlain(f"its encoding is {encoding}")
            columns: dict[str, Any] = dict(
                read_columns(
                    path,
                    options["delimiter"],
                    {name: "text" if kind is str else "number" for name, kind in kinds.items()},
                )
            )
        except NotPlain as reason:
            ragged = find_ragged_line(self.config, Path(path))
            if ragged:
                raise UsageError(ragged) from reason
            self.logger.info(f"{path} is read by pandas' slow reader: {reason}.")
            # Words that mean a missing token are read as they stand, to be counted.
            numbers = {name: MISSING for name, kind in kinds.items() if kind is not str}
            options |= {"keep_default_na": False, "na_values": numbers}
            frame = recbole_module.pd.read_csv(path, **options)
            columns = {
                name: TextColumn.of_cells(frame[name].to_numpy(dtype=object, na_value=np.nan))
                if kinds[name] is str
                else frame[name].to_numpy()
                for name in frame.columns
            }
        self._remark_missing_words(path, columns)
        for name, column in columns.items():
            field, _, field_type = name.partition(":")
            if field_type == FeatureType.TOKEN.value:
                columns[name] = self._numbered(field, column)
            elif isinstance(column, TextColumn):
                columns[name] = column.to_objects()
        return make_frame(columns)

    def _numbered(self, field: str, column: TextColumn) -> NDArray[Any]:
        """The places of a column's tokens among all of its field, from this file and others."""
        codes = column.codes
        if field in self._texts:
            self._texts[field], (_, places) = merge([self._texts[field], column.tokens])
            codes = np.append(places, -1)[codes]
        else:
            self._texts[field] = column.tokens
        if (codes < 0).any():
            return np.where(codes < 0, np.nan, codes)
        return narrow(codes, len(self._texts[field]))

    # ----------------------------------------------------------------------------------------------
    # Processing

    def _data_processing(self) -> None:
        super()._data_processing()
        del self._texts

    def _fill_nan(self) -> None:
        """Fill by RecBole's own method all but the numbers whose mean the split decides."""
        missing = [
            (feat, field, feat[field].isna().to_numpy())
            for field in unchanged_numbers(self.config, self.field2type)
            # By the time rows may be ordered, before they are split.
            if self.field2type[field] is FeatureType.FLOAT and field != self.time_field
            for feat in self.field2feats(field)
        ]
        self.missing_numbers = {
            str(field): int(self.inter_feat[field].isna().sum())
            for field in self.inter_feat.columns
            if self.field2type[field] is FeatureType.FLOAT
        }
        super()._fill_nan()
        for feat, field, rows in missing:
            if rows.any():
                feat[field] = np.where(rows, np.nan, feat[field].to_numpy())

    def _normalize(self) -> None:
        """Scale by RecBole's own method, but for what ``normalize_all`` takes along.

        Labels 1 and 5 would be trained on as 0 and 1 without a word, and times of ``time_split``
        would be no times.
        """
        split = TimeSplit.of(self.config)
        fields = [self.label_field, *([] if split is None else [split.field])]
        kept = [
            (table, field, table[field].to_numpy(copy=True))
            for field in fields
            if self.config["normalize_all"] and field in self.field2type
            for table in self.field2feats(field)
        ]
        super()._normalize()
        for table, field, values in kept:
            table[field] = values

    def _filter_by_inter_num(self) -> None:
        """Filter by RecBole's own method, with counts by number instead of by text."""
        function_with(Dataset._filter_by_inter_num, Counter=_Counts)(self)

    def _get_illegal_ids_by_inter_num(
        self, field: str, feat: Any, inter_num: _Counts, inter_interval: Any = None
    ) -> NDArray[np.float64]:
        """The users or items whose number of records is out of the intervals; see RecBole's."""
        if not inter_interval:
            return np.zeros(0)
        if len(inter_interval) > 1:
            self.logger.warning("More than one interval of interaction number are given!")
        illegal = inter_num.counts > 0
        illegal &= ~self._within_intervals(inter_num.counts, inter_interval)
        values = inter_num.values_of(illegal)
        if feat is not None:
            of_feat = feat[field].to_numpy()
            too_few = inter_num.of(of_feat) < inter_interval[0][1]
            values = np.union1d(values, of_feat[too_few])
        return values

    def _filter_by_field_value(self) -> None:
        """Let RecBole filter, with the tokens of ``val_interval`` in their numbers."""
        intervals = dict(self.config["val_interval"] or {})
        for field, allowed in intervals.items():
            if self.field2type.get(field) is FeatureType.TOKEN and isinstance(
                allowed, (list, tuple, set)
            ):
                texts = [text for text in allowed if isinstance(text, str)]
                missing = [value for value in allowed if value != value]  # noqa: PLR0124 - NaN
                intervals[field] = [*self._texts[field].find(texts), *missing]
        view = copy.copy(self)
        view.config = {"val_interval": intervals}
        Dataset._filter_by_field_value(view)

    def _remap(self, remap_list: list[tuple[Any, str, FeatureType]]) -> None:
        """Number tokens in the order of their first appearance, from 1; 0 is a missing one."""
        if not remap_list:
            return
        columns = [self._to_remap(*place) for place in remap_list]
        codes, tokens = _in_one_numbering(columns)
        present = codes >= 0
        if present.all():
            ids, kept = pd.factorize(codes)
        else:
            ids = np.full(len(codes), -1)
            ids[present], kept = pd.factorize(codes[present])
        ids = narrow(ids + 1, len(kept) + 1)
        table = concatenate([_PADDING, tokens.take(kept)])
        ends = np.cumsum([len(column.codes) for column in columns])
        for (feat, field, ftype), part in zip(remap_list, np.split(ids, ends[:-1]), strict=True):
            self.field2id_token.setdefault(field, table)
            self.field2token_id.setdefault(field, table)
            if ftype == FeatureType.TOKEN:
                feat[field] = part
            else:
                row_ends = np.cumsum(feat[field].map(len).to_numpy())[:-1]
                feat[field] = object_array(np.split(part.astype(np.int64), row_ends))

    def _to_remap(self, feat: Any, field: str, ftype: FeatureType) -> TextColumn:
        values = feat[field].to_numpy()
        if ftype == FeatureType.TOKEN_SEQ:
            return TextColumn.of(np.concatenate(list(values)).astype(object))
        return TextColumn(_codes(values), self._texts[field])

    def _discretization(self) -> None:
        """Let RecBole discretize the distinct values of a column of numbers.

        Other numbers stay as they are. Where RecBole makes two numbers of each,
        :meth:`_to_tensor` does.
        """
        methods = dict(self.config["discretization"] or {})
        fields = list(self.config["numerical_features"])
        for field in [name for name in fields if self.field2type.get(name) is FeatureType.FLOAT]:
            fields.remove(field)
            if field not in methods:
                continue
            method = {field: methods.pop(field)}
            for feat in self.field2feats(field):
                codes, values = pd.factorize(feat[field].to_numpy(), use_na_sentinel=False)
                distinct = make_frame({field: values})
                self._discretize_by_recbole(
                    [field], method, field2feats=lambda _, of=distinct: [of]
                )
                feat[field] = np.array(distinct[field].to_list())[:, 1][codes]
        self._discretize_by_recbole(fields, methods)

    def _discretize_by_recbole(
        self, fields: list[str], methods: dict[str, Any], **replaced: Any
    ) -> None:
        """Run RecBole's own method for some fields only."""
        view = copy.copy(self)
        view.config = {"numerical_features": fields, "discretization": methods}
        view.__dict__.update(replaced)
        Dataset._discretization(view)

    # ----------------------------------------------------------------------------------------------
    # Splits

    def build(self) -> list[FastDataset]:
        """Split by RecBole's own method, and scale the numbers of the splits.

        Raises:
            UsageError: the training split has no number of a field that is to be scaled, or
                :attr:`number_scalers` are of other fields.
        """
        methods = scaling_methods(self.config, self.field2type)
        fields = unchanged_numbers(self.config, self.field2type)
        self._fill_by_all_rows([name for name in fields if name not in methods])
        splits = super().build()
        scalers = fit_scalers(splits[0], methods, self.number_scalers)
        scale_splits(splits, scalers)
        return splits

    def _fill_by_all_rows(self, fields: list[str]) -> None:
        """Fill missing numbers by the mean of the others, as RecBole does."""
        for field in fields:
            for feat in self.field2feats(field):
                if self.field2type[field] is FeatureType.FLOAT:
                    feat[field] = feat[field].fillna(feat[field].mean())

    # ----------------------------------------------------------------------------------------------
    # Tensors and statistics

    def _dataframe_to_interaction(self, data: Any) -> CompactInteraction:
        """Make tensors of a frame's columns; those of Python objects are left to RecBole."""
        of_objects = [name for name in data.columns if data[name].dtype == object]
        tensors = {}
        if of_objects:
            tensors = super()._dataframe_to_interaction(data[of_objects]).interaction
        for name in data.columns:
            if name not in tensors:
                tensors[name] = self._to_tensor(name, data[name].to_numpy())
        return CompactInteraction({name: tensors[name] for name in data.columns})

    def _to_tensor(self, field: str, values: NDArray[Any]) -> torch.Tensor:
        if self.field2type[field] is FeatureType.TOKEN:
            if values.dtype.kind == "f":
                values = values.astype(np.int64)
            return torch.from_numpy(np.array(values))
        with np.errstate(over="ignore"):  # infinite, to be refused
            numbers = torch.from_numpy(values.astype(np.float32))
        if field not in self.config["numerical_features"]:
            return numbers
        ones = torch.ones_like(numbers)
        # A number scales the one embedding of its field, a bucket chooses one.
        is_bucket = field in (self.config["discretization"] or {})
        return torch.stack([ones, numbers] if is_bucket else [numbers, ones], dim=-1)

    def num(self, field: str) -> int:
        """The number of tokens of a field, without decoding them; see RecBole's."""
        if self.field2type.get(field) in _TOKEN_LIKE:
            return len(dict.__getitem__(self.field2id_token, field))
        return super().num(field)

    @property
    def avg_actions_of_users(self) -> np.float64:
        """The average number of users' records, of those that have any."""
        return self._average_records(self.uid_field)

    @property
    def avg_actions_of_items(self) -> np.float64:
        """The average number of items' records, of those that have any."""
        return self._average_records(self.iid_field)

    def _average_records(self, field: str) -> np.float64:
        counts = np.bincount(np.asarray(self.inter_feat[field]))
        return np.float64(np.mean(counts[counts > 0]))


class _Counts:
    """How often each number, or NaN, appears: a ``Counter`` as RecBole's filter uses it."""

    def __init__(self, values: Any = ()) -> None:
        self.counts = np.bincount(_codes(np.asarray(values)) + 1)

    def __isub__(self, other: _Counts) -> _Counts:
        common = min(len(self.counts), len(other.counts))
        self.counts[:common] -= other.counts[:common]
        return self

    def of(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """The count of each value."""
        places = _codes(values) + 1
        return np.append(self.counts, 0)[np.minimum(places, len(self.counts))]

    def values_of(self, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The values whose counts are chosen."""
        codes = np.flatnonzero(chosen) - 1
        return np.where(codes < 0, np.nan, codes)


def _codes(values: NDArray[Any]) -> Integers:
    """Numbers of tokens as a frame holds them, with -1 for a missing one instead of NaN."""
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), -1, values)
    return values.astype(np.int64, copy=False)


def _in_one_numbering(columns: list[TextColumn]) -> tuple[Integers, Tokens]:
    """Put columns below one another, equal tokens by one number."""
    tokens = columns[0].tokens
    if all(column.tokens is tokens for column in columns):
        return np.concatenate([column.codes for column in columns]), tokens
    tokens, places = merge([column.tokens for column in columns])
    codes = [
        np.append(place, -1)[column.codes] for place, column in zip(places, columns, strict=True)
    ]
    return np.concatenate(codes), tokens
