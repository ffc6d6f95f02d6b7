"""Folded models as files: made of a checkpoint, and read back to predict with."""

from __future__ import annotations

import os
from pathlib import Path

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.run.checkpoint import (
    load_data_and_model,
    load_plain,
    write_atomically,
)
from recbole_midpg.models.dpg import DPG
from recbole_midpg.models.folding import FoldedModel, fold_model


def fold_checkpoint(
    checkpoint: str | os.PathLike[str], output: str | os.PathLike[str]
) -> FoldedModel:
    """Fold the model of a checkpoint into one plain network a scenario, and write it.

    The checkpoint's dataset has to be where it was: it says how many tokens each field has.

    Args:
        checkpoint: a file written by the training of DPG or MIDPG with ``generator_input:
            scenario``.
        output: the file to write, of plain values and tensors only; whole or not at all.

    Returns:
        The folded model.

    Raises:
        UsageError: the checkpoint cannot be read or holds another model, or the output cannot be
            written.
    """
    if not Path(output).parent.is_dir():
        raise UsageError(f"output {os.fspath(output)!r}: there is no folder to write it to.")
    model = load_data_and_model(os.fspath(checkpoint))[1]
    if not isinstance(model, DPG):
        raise UsageError(
            f"checkpoint {os.fspath(checkpoint)!r}: it holds a {type(model).__name__}, "
            "expected a DPG or MIDPG."
        )
    folded = fold_model(model)
    write_atomically(folded.to_plain(), output)
    return folded


def load_folded(path: str | os.PathLike[str]) -> FoldedModel:
    """Read a folded model, on the CPU and ready to predict.

    Raises:
        UsageError: there is no such file, or it holds no folded model.
    """
    if not Path(path).is_file():
        raise UsageError(f"folded model {os.fspath(path)!r}: there is no such file.")
    plain = load_plain(path, "cpu", "folded model")
    if (
        not isinstance(plain, dict)
        or not {"config", "types", "sizes", "state_dict"} <= plain.keys()
    ):
        raise UsageError(f"folded model {os.fspath(path)!r}: the file holds no folded model.")
    try:
        return FoldedModel.from_plain(plain)
    except UsageError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UsageError(
            f"folded model {os.fspath(path)!r}: its parts do not fit each other ({error!r})."
        ) from error
