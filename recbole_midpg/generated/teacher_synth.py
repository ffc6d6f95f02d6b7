r"""Rows whose labels a random network draws: worlds in which the right architecture is known.

Every field is drawn for itself, the scenario too, so that no embedding of another field can stand
in for it, and a model must let the scenario change how the other fields act. There is a dataset for
each kind of teacher, see :mod:`recbole_midpg.generated.teachers`: ``teacher_dnn_synth``,
``teacher_star_synth`` and so on; at the same size and seed they have the same rows.

A token's embedding in the teacher is :math:`N(0, I_8)`. Logits are scaled to a standard deviation
of 1.5 over the first rows, and shifted to the base rate, 0.3. Users grow with the rows, one for 50
of them; items with their square root. Both have long tails.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from recbole_midpg.atomic_data_scripts.columns import token, whole_number, whole_number_between
from recbole_midpg.atomic_data_scripts.converter import Converter, Entity
from recbole_midpg.atomic_data_scripts.labels import is_one, label
from recbole_midpg.atomic_data_scripts.raw_file import Delimited
from recbole_midpg.generated.generated_set import CHUNK_ROWS, Chunk, GeneratedRows, GeneratedSet
from recbole_midpg.generated.label_model import LabelDrawer, sigmoid, solve_intercept
from recbole_midpg.generated.popularity import drawn, long_tailed_counts
from recbole_midpg.generated.teachers import KINDS, Floats, Teacher, draw_teacher

Columns = Mapping[str, NDArray[np.int64]]

N_SCENARIOS = 10
BASE_RATE = 0.3
SPREAD = 1.5
"""Standard deviation of the logits."""

EMBEDDING_SIZE = 8
ROWS_OF_A_USER = 50
_N_HOURS, _N_PAGES, _N_DEVICES = 24, 50, 6
_TAIL = 1.0
_ROWS_TO_FIT = 1 << 16
_ROWS_TO_COMPARE = 1 << 12


class TeacherModel:
    """The true probabilities of rows by a teacher.

    Args:
        teacher: the teacher.
        embeddings: its embeddings of each field's values but the scenario's.
        columns: the rows over which spread, base rate and similarity hold.

    Attributes:
        scenario_field: the scenario's field.
        similarity: the correlation of two scenarios' logits over the same rows, ``(S, S)``.
        embeddings: of each field's values but the scenario's, by the field's name.
        scale: what the teacher's outputs are multiplied with, for the logits' spread.
        intercept: what is added to them then, for the base rate.
    """

    scenario_field = "scenario"

    def __init__(
        self, teacher: Teacher, embeddings: Mapping[str, Floats], columns: Columns
    ) -> None:
        self._teacher, self.embeddings = teacher, embeddings
        inputs = self._inputs(columns)
        logits = teacher.logits(inputs, columns["scenario"])
        self.scale = SPREAD / logits.std()
        self.intercept = solve_intercept(self.scale * logits, BASE_RATE)
        compared = inputs[:_ROWS_TO_COMPARE]
        self.similarity = np.corrcoef(
            [teacher.of_scenario(compared, scenario) for scenario in range(N_SCENARIOS)]
        )

    def probability(self, columns: Columns) -> Floats:
        """Compute the true probabilities ``(rows,)`` of rows."""
        logits = self._teacher.logits(self._inputs(columns), columns["scenario"])
        return sigmoid(self.intercept + self.scale * logits)

    def _inputs(self, columns: Columns) -> Floats:
        return np.concatenate(
            [table[columns[name]] for name, table in self.embeddings.items()], axis=1
        )


def sources(seed: int) -> tuple[Generator, ...]:
    """The sources of rows, network, embeddings and labels, in this order."""
    return tuple(np.random.default_rng(seed).spawn(4))


def make(kind: str, rows: int, seed: int) -> GeneratedRows:
    """Make rows.

    Args:
        kind: the teacher's, a key of :data:`~recbole_midpg.generated.teachers.KINDS`.
        rows: how many.
        seed: the same seed makes the same rows, and of a kind the same labels.
    """
    random, network_random, token_random, label_random = sources(seed)
    columns = _make_columns(random, rows)
    fields = [name for name in columns if name != "scenario"]
    # A source each: of more rows, and so more tokens, the first tokens and the network stay.
    by_field = zip(fields, token_random.spawn(len(fields)), strict=True)
    embeddings = {
        name: source.standard_normal((int(columns[name].max()) + 1, EMBEDDING_SIZE))
        for name, source in by_field
    }
    teacher = draw_teacher(kind, network_random, EMBEDDING_SIZE * len(fields), N_SCENARIOS)
    first = {name: values[:_ROWS_TO_FIT] for name, values in columns.items()}
    model = TeacherModel(teacher, embeddings, first)
    return GeneratedRows(
        scenarios=tuple(map(str, range(N_SCENARIOS))),
        model=model,
        chunks=_chunks(columns, model, LabelDrawer(label_random)),
    )


def _make_columns(random: Generator, rows: int) -> dict[str, NDArray[np.int64]]:
    n_users, n_items = rows // ROWS_OF_A_USER, round(rows**0.5)
    return {
        "user": _in_random_order(random, n_users, rows),
        "item": _in_random_order(random, n_items, rows),
        "hour": random.integers(0, _N_HOURS, rows),
        "page": random.integers(0, _N_PAGES, rows),
        "device": random.integers(0, _N_DEVICES, rows),
        "scenario": drawn(random, [(1 + k) ** -0.5 for k in range(N_SCENARIOS)], rows),
    }


def _in_random_order(random: Generator, size: int, rows: int) -> NDArray[np.int64]:
    counts = long_tailed_counts(random, size, rows, _TAIL)
    return random.permutation(np.repeat(np.arange(size), counts))


def _chunks(
    columns: Mapping[str, NDArray[np.int64]], model: TeacherModel, drawer: LabelDrawer
) -> Iterator[Chunk]:
    for start in range(0, len(columns["scenario"]), CHUNK_ROWS):
        part = {name: values[start : start + CHUNK_ROWS] for name, values in columns.items()}
        probability = model.probability(part)
        drawn_labels = drawer.draw(probability)
        texts = zip(
            *(values.tolist() for values in part.values()), drawn_labels.tolist(), strict=True
        )
        lines = [",".join(map(str, row)) for row in texts]
        yield Chunk(lines, probability, drawn_labels)


def _generated_set(kind: str) -> GeneratedSet:
    return GeneratedSet(
        converter=Converter(
            name=f"teacher_{kind}_synth",
            title=f"Generated rows with the labels of a random network ({kind})",
            raw_name="rows.csv",
            form=Delimited(",", quoted=True),
            columns=(
                token("user_id", whole_number),
                token("item_id", whole_number),
                token("hour", whole_number_between(0, _N_HOURS - 1)),
                token("page", whole_number_between(0, _N_PAGES - 1)),
                token("device", whole_number_between(0, _N_DEVICES - 1)),
                token("scenario", whole_number_between(0, N_SCENARIOS - 1)),
                label("label"),
            ),
            entities=(Entity("user", "user_id"), Entity("item", "item_id")),
            label="label",
            is_positive=is_one,
            scenario="scenario",
            tallied=("device",),
            homepage=None,
            licence="generated files are free of rights",
            published={"rows": 500_000, "scenarios": N_SCENARIOS},
        ),
        smallest=5_000,
        largest=None,
        make=functools.partial(make, kind),
    )


GENERATED_SETS = tuple(_generated_set(kind) for kind in KINDS)
