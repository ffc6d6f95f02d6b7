"""Trained models in the Open Neural Network Exchange format, for other languages and servers.

A file of ONNX computes scores of token ids and scaled numbers. What these are, a JSON file beside
it says: the id of each of a field's tokens, and what training did to its numbers.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.report_files import json_text
from recbole_midpg.common.version import __version__
from recbole_midpg.common.whole_files import written_whole
from recbole_midpg.integration.scoring.scoring import ScoredField
from recbole_midpg.loading.column_encoding import (
    NumberEncoder,
    NumberSequenceEncoder,
    TokenEncoder,
    TokenSequenceEncoder,
)
from recbole_midpg.prediction.export import (
    Program,
    compare_program,
    example_columns,
    refusing_what_cannot_be_exported,
    traced_program,
)
from recbole_midpg.prediction.scorer import Scorer

SCORE = "score"
"""The name of a file's output, ``(rows,)``: the probability of each row's label being 1."""

VOCABULARY_ENDING = ".vocabulary.json"
_VOCABULARY_FORMAT = "recbole-midpg vocabulary 1"
# A file of ONNX is one message of at most 2 GB.
_MOST_BYTES = (1 << 31) - (1 << 20)


def export_onnx(scorer: Scorer, path: str | os.PathLike[str]) -> None:
    """Write a scorer's model as ``NAME.onnx`` and its vocabulary as ``NAME.vocabulary.json``.

    The file's inputs are the fields that the model reads, by name, of any number of rows: token ids
    ``(rows,)`` and sequences of them ``(rows, length)`` as int64, numbers ``(rows, 2)`` and
    sequences of them ``(rows, length, 2)`` as float32, each a number on training's scale and the
    index of its embedding. The features of a row's user and item are inputs too. Its output is
    :data:`SCORE`. The vocabulary's entry of a field has its ``type`` as in an atomic file, and

    * ``ids`` of tokens, that of a ``missing`` one and that of all others, ``unknown``;
    * ``length`` and ``separator`` of a sequence;
    * ``scale`` of numbers, see :class:`~recbole_midpg.loading.column_encoding.NumberScale`.

    Args:
        scorer: holds the model.
        path: the ``.onnx`` file; both are written or neither.

    Raises:
        UsageError: the packages of the extra ``onnx`` are missing, this torch cannot export the
            model, onnxruntime gives other scores, the model is too large for one file, or a file
            cannot be written.
    """
    onnxruntime = _import_onnxruntime()
    _check_size(scorer)
    inputs = list(example_columns(scorer, 1))
    with refusing_what_cannot_be_exported(scorer), _quiet_exporter():
        exported: Any = torch.onnx.export(
            traced_program(scorer),
            dynamo=True,
            custom_translation_table=_translations(),
            input_names=inputs,
            output_names=[SCORE],
            # The optimizer takes the 1e-8 that keeps the mean of an empty sequence at zero for 0.
            optimize=False,
            verbose=False,
        )
        content: bytes = exported.model_proto.SerializeToString()
    compare_program(scorer, _in_onnxruntime(onnxruntime, content))
    target = Path(path)
    with written_whole([target, vocabulary_path(target)]) as (part, vocabulary):
        part.write_bytes(content)
        vocabulary.write_text(json_text(vocabulary_of_inputs(scorer)), encoding="utf-8")


def vocabulary_path(target: str | os.PathLike[str]) -> Path:
    """The file of the vocabulary beside a program."""
    return Path(target).with_name(Path(target).stem + VOCABULARY_ENDING)


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime  # noqa: PLC0415 - an extra
        import onnxscript  # noqa: F401, PLC0415 - which torch's exporter writes with
    except ImportError as error:
        raise UsageError(
            f"export: a package for ONNX cannot be imported ({error}); "
            "pip install 'recbole-midpg[onnx]'."
        ) from error
    return onnxruntime


def _check_size(scorer: Scorer) -> None:
    weights = scorer.scoring.model.state_dict().values()
    size = sum(weight.numel() * weight.element_size() for weight in weights)
    if size > _MOST_BYTES:
        raise UsageError(
            f"export: the model's weights take {size:,} bytes, expected at most {_MOST_BYTES:,} "
            "for a file of ONNX (.scorer and .pt2 have no such limit)."
        )


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Leave out the exporter's warnings, as of operators of packages that no model here uses."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _translations() -> dict[Any, Any]:
    """Operators that torch's exporter lacks and ONNX can express, of models with scenario tiles."""
    import onnxscript  # noqa: PLC0415 - an extra

    op: Any = onnxscript.opset18

    def stable_sort(
        self: Any, stable: bool | None = None, dim: int = -1, descending: bool = False
    ) -> Any:
        # Of equal values TopK gives the one with the lower index first, which is what stable means.
        size = op.Gather(op.Shape(self), op.Constant(value_ints=[dim]))
        return op.TopK(self, size, axis=dim, largest=int(descending), sorted=1)

    def search_sorted(
        sorted_sequence: Any,
        self: Any,
        out_int32: bool = False,
        right: bool = False,
        side: str | None = None,
        sorter: Any = None,
    ) -> Any:
        # A value's place is how many of the sequence stand before it.
        bounds = op.Unsqueeze(sorted_sequence, op.Constant(value_ints=[0]))
        values = op.Unsqueeze(self, op.Constant(value_ints=[1]))
        before = op.LessOrEqual(bounds, values) if right else op.Less(bounds, values)
        counted = op.Cast(before, to=7)  # int64
        return op.ReduceSum(counted, op.Constant(value_ints=[1]), keepdims=0)

    return {
        torch.ops.aten.sort.stable: stable_sort,
        torch.ops.aten.searchsorted.Tensor: search_sorted,
    }


def _in_onnxruntime(onnxruntime: Any, content: bytes) -> Program:
    """A file's content as a function of encoded columns."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def program(columns: Mapping[str, Tensor]) -> Tensor:
        given = {name: column.cpu().numpy() for name, column in columns.items()}
        some_column = next(iter(columns.values()))
        return torch.from_numpy(session.run([SCORE], given)[0]).to(some_column.device)

    return program


# --------------------------------------------------------------------------------------------------
# The vocabulary


def vocabulary_of_inputs(scorer: Scorer) -> dict[str, Any]:
    """What each input of a scorer's model means, as plain values for JSON."""
    scoring = scorer.scoring
    return {
        "format": _VOCABULARY_FORMAT,
        "version": __version__,
        "model": scoring.config["model"],
        "dataset": scoring.config["dataset"],
        "output": SCORE,
        "inputs": {name: _input_of(scored) for name, scored in scoring.fields.scored.items()},
    }


def _input_of(scored: ScoredField) -> dict[str, Any]:
    encoder = scored.encoder
    entry: dict[str, Any] = {"type": scored.type.value}
    if isinstance(encoder, (TokenSequenceEncoder, NumberSequenceEncoder)):
        entry |= {"length": encoder.width, "separator": encoder.separator}
    if isinstance(encoder, TokenEncoder):
        read_as = encoder.read(np.arange(len(encoder.tokens.texts()))).tolist()
        ids = {token: read_as[place] for token, place in encoder.ids.items() if place}
        entry |= {"ids": ids, "missing": 0, "unknown": encoder.unknown}
    if isinstance(encoder, NumberEncoder):
        entry["scale"] = encoder.scale.to_plain()
    return entry
