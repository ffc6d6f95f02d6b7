"""Run every model of RecBole by the command on a small set of the kind that it needs.

    python -m robustness.recbole_models [--only NAME ...] [--output docs/recbole_models.md]

Each is trained for one epoch, in this process, and evaluated. Prints a Markdown table, or writes
the page around it; the exit status is 0 where every model trains, or names the package that it
lacks.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import recbole_midpg  # noqa: F401 - RecBole can be imported only after it is mended
from recbole_midpg.cli import run_recbole_command
from recbole_midpg.common.errors import UsageError
from recbole_midpg.common.version import versions
from recbole_midpg.integration.models.model_names import recbole_models
from recbole_midpg.integration.models.registry import get_model
from tests.support.recbole_shop import (
    CONTEXT,
    NAME,
    PACKAGES,
    Kind,
    kind_of,
    own_arguments,
    write_shop,
)

EVERY_RUN = ("--epochs=1", "--show_progress=False", "--state=ERROR")


@dataclass(frozen=True)
class Outcome:
    """What became of a model.

    Attributes:
        model: its name.
        kind: its kind.
        status: the command's exit status.
        said: the first metric of the test, or the command's sentence.
        seconds: how long it took.
    """

    model: str
    kind: Kind
    status: int
    said: str
    seconds: float


def kind_of_model(model: str) -> Kind:
    """The kind of a model, without its package too."""
    try:
        return kind_of(model, get_model(model).type)
    except UsageError:
        return CONTEXT  # trees


def run(model: str, data_path: Path, checkpoint_dir: Path) -> Outcome:
    """Run the command of a model.

    Args:
        model: its name.
        data_path: where the set is.
        checkpoint_dir: a folder without reports.
    """
    kind, errors = kind_of_model(model), io.StringIO()
    started = time.monotonic()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        status = run_recbole_command(
            [
                *(f"--model={model}", f"--dataset={NAME}", f"--data_path={data_path}"),
                *(f"--checkpoint_dir={checkpoint_dir}", *EVERY_RUN),
                *kind.arguments,
                *own_arguments(model),
            ]
        )
    seconds = time.monotonic() - started
    if status:
        return Outcome(model, kind, status, errors.getvalue().strip(), seconds)
    (report,) = checkpoint_dir.glob("*.json")
    (name, value), *_ = json.loads(report.read_text(encoding="utf-8"))["test"].items()
    return Outcome(model, kind, status, f"{name} {value:.2f}", seconds)


def table(outcomes: list[Outcome]) -> str:
    """The outcomes as a Markdown table."""
    lines = ["| model | kind | beside its kind's arguments | outcome |", "|---|---|---|---|"]
    for outcome in outcomes:
        arguments = " ".join(f"`{word}`" for word in own_arguments(outcome.model))
        if outcome.model in PACKAGES:
            arguments = f"`pip install {PACKAGES[outcome.model][1]}` {arguments}".strip()
        what = f"trains, {outcome.said}" if outcome.status == 0 else outcome.said
        lines.append(f"| {outcome.model} | {outcome.kind.name} | {arguments} | {what} |")
    return "\n".join(lines)


def page(outcomes: list[Outcome]) -> str:
    """The page of docs/."""
    trained = sum(outcome.status == 0 for outcome in outcomes)
    kinds = Counter(outcome.kind for outcome in outcomes)
    kind_lines = [
        f"| {kind.name} | {count} | {kind.files} | {' '.join(f'`{a}`' for a in kind.arguments)} |"
        for kind, count in sorted(kinds.items(), key=lambda item: item[0].name)
    ]
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    return PAGE.format(
        trained=trained,
        models=len(outcomes),
        packages=packages,
        kinds="\n".join(kind_lines),
        table=table(outcomes),
    )


PAGE = """\
# RecBole's models

`python -m robustness.recbole_models --output docs/recbole_models.md` writes this page: each model
of RecBole 1.2.1 by `run_recbole --dataset=shop --epochs=1` with `--model` and the arguments of its
kind, on random interactions of 60 users and 40 items (`tests/support/recbole_shop.py`). Of
{models} models {trained} train, evaluate, and write checkpoint and report; numbers on random rows
say no more than that. `pytest -m slow tests/integration/test_recbole_models.py` holds it. Here:
{packages}.

| kind | models | atomic files | arguments |
|---|---|---|---|
{kinds}

{table}

What a model needs and does not find is said in one sentence with exit status 2, before data is
loaded: a package with how to install it, a field that is not loaded with the `load_col` that loads
it, a file of a graph, weights that a stage begins with, `train_neg_sample_args` that do not go with
a model's loss (`tests/integration/models/test_model_needs.py`).

What is not as in RecBole:

- **XGBoost, LightGBM** read the fields that any context-aware model embeds (`numerical_features`
  for numbers) and are trained by epochs, each of which adds `xgb_num_boost_round` or
  `lgb_num_boost_round` trees; `stopping_step` chooses the epoch. Checkpoint, report, scenarios'
  metrics and `predict` are those of any model.
- **KGAT, KGIN, MCCLK** need neither `dgl` nor `torch_scatter`: what they use of them is computed by
  torch and scipy.
- **NCL** clusters on the CPU where faiss has no GPU.
- **DGCF** regularises on no more users, or items, than there are.
- **KSR** keeps the relations' vectors in float32, and **KSR, GRU4RecKG** have the split of other
  sequential models by default.
- **GRU4RecCPR, SASRecCPR** score all items at once only, so that their FLOPs are not counted and
  `mode` has to be `full`.
"""


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=recbole_models(), metavar="NAME")
    parser.add_argument("--output", type=Path, help="the page to write; prints a table by default")
    options = parser.parse_args()
    output = options.output and options.output.resolve()
    sys.argv[1:] = []
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        data_path = Path(folder) / "dataset"
        write_shop(data_path)
        for model in options.only or recbole_models():
            outcome = run(model, data_path, Path(folder) / "saved" / model)
            print(f"{model}: {outcome.said} ({outcome.seconds:.1f} s)", file=sys.stderr)
            outcomes.append(outcome)
        os.chdir("/")
    if output:
        output.write_text(page(outcomes), encoding="utf-8")
    else:
        print(table(outcomes))
    sys.exit(any(outcome.status and outcome.model not in PACKAGES for outcome in outcomes))


if __name__ == "__main__":
    main()
