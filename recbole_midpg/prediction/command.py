"""The commands ``recbole-midpg predict`` and ``recbole-midpg export``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from recbole_midpg.errors import UsageError
from recbole_midpg.integration.outside_models import import_model
from recbole_midpg.prediction.export import export_program
from recbole_midpg.prediction.files import score_file
from recbole_midpg.prediction.scorer import Scorer

_CHECKPOINT = "of a context-aware model, its dataset where it was; or a .scorer file"


def _add_checkpoint(parser: Any) -> None:
    parser.add_argument("--checkpoint", required=True, help=_CHECKPOINT)
    parser.add_argument(
        "--model",
        metavar="PACKAGE.MODULE:CLASS",
        help="the checkpoint's model, where it is written outside of recbole_midpg and RecBole",
    )


def _read_scorer(checkpoint: str, model: str | None) -> Scorer:
    """Read a checkpoint; its model is imported from outside where the command names it."""
    if model is not None:
        import_model(model)
    return Scorer.read(checkpoint)


def add_predict(commands: Any) -> None:
    """Add ``predict`` to a parser's commands."""
    parser = commands.add_parser("predict", help="score the rows of a file")
    _add_checkpoint(parser)
    parser.add_argument("--input", required=True, help="rows: .csv with a line of names, or .inter")
    parser.add_argument("--output", required=True, help="the .csv file to write, a line a row")
    parser.add_argument(
        "--keep", nargs="*", default=[], metavar="COLUMN", help="columns to copy beside the score"
    )
    parser.add_argument(
        "--show_progress",
        action="store_true",
        default=None,
        help="show progress even where stderr is not a terminal",
    )
    parser.set_defaults(action=_predict)


def _predict(
    checkpoint: str,
    model: str | None,
    input: str,
    output: str,
    keep: list[str],
    show_progress: bool | None,
) -> None:
    _check_folder(output)
    scorer = _read_scorer(checkpoint, model)
    scored = score_file(scorer, input, output, keep, show_progress)
    for name, counts in scored.counts.items():
        print(f"{name}: {counts}", file=sys.stderr)
    for sentence in scorer.warnings(scored.counts).values():
        print(f"warning: {sentence}", file=sys.stderr)
    print(f"{output}: {scored.rows:,} scores.")


def add_export(commands: Any) -> None:
    """Add ``export`` to a parser's commands."""
    parser = commands.add_parser(
        "export", help="make a trained model a file that needs no dataset, or a program"
    )
    _add_checkpoint(parser)
    parser.add_argument(
        "--output",
        required=True,
        help="NAME.scorer: all that predict needs; NAME.pt2: a program of torch.export, "
        "from token ids to probabilities",
    )
    parser.set_defaults(action=_export)


_EXPORTS = {".scorer": Scorer.save, ".pt2": export_program}


def _export(checkpoint: str, model: str | None, output: str) -> None:
    suffix = Path(output).suffix
    if suffix not in _EXPORTS:
        raise UsageError(
            f"output {output!r}: its ending is {suffix!r}, expected one of {', '.join(_EXPORTS)}."
        )
    _check_folder(output)
    _EXPORTS[suffix](_read_scorer(checkpoint, model), output)
    print(f"{output}: {Path(output).stat().st_size:,} bytes.")


def _check_folder(output: str) -> None:
    if not Path(output).parent.is_dir():
        raise UsageError(f"output {output!r}: there is no folder to write it to.")
