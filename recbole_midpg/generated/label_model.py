r"""The true probability of a label, with effects that depend on how alike scenarios are.

For a row of scenario :math:`s` with context values :math:`x` (of the user, the time, the page) and
item values :math:`z`,

.. math::
    \text{logit}\, p = b + \sigma_m\, m_s + \sigma_f \sum_f G_f[\cdot]
        + \sigma_p\, u_0(x)\, v_0(z) + \sigma_i \sum_{r=1}^{S+2} A_{sr}\, u_r(x)\, v_r(z),

.. math::
    u_r(x) = \sum_f w_f U_{f,r}[x_f], \qquad v_r(z) = \sum_f w_f V_{f,r}[z_f].

All tables are drawn from normal distributions. The four sums are scaled to a standard deviation of
one over the rows that the model is fitted on, so that each sigma is a spread in logits; :math:`b`
gives the base rate.

The planted similarity of scenarios is the kernel

.. math:: K_{st} = \rho \cos(\theta_s - \theta_t) + (1 - \rho)\, [s = t],

positive definite for :math:`\rho < 1`: scenarios stand on a circle, neighbours share their
interactions, opposite ones have them with the opposite sign, and each has a part of its own. The
coefficients are its exact root, :math:`A A^\top = K`:

.. math:: A = [\sqrt\rho \cos\theta,\; \sqrt\rho \sin\theta,\; \sqrt{1-\rho}\, I].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Columns = Mapping[str, NDArray[np.integer]]
"""The values of a chunk of rows by field, as numbers from 0; each array ``(rows,)``."""

_PIECE = 1 << 16
_NEWTON_STEPS = 50
_NEWTON_TOLERANCE = 1e-10


@dataclass(frozen=True)
class Factor:
    """How the values of one field enter a sum.

    Attributes:
        field: the field, a key of the columns.
        size: the number of its values.
        weight: factor on the table of its values.
        smoothness: 0 for values that have nothing to do with each other; for ordered values the
            distance over which they are alike. The first and the last value are neighbours.
        missing: the value that stands for a missing one and adds nothing.
    """

    field: str
    size: int
    weight: float = 1.0
    smoothness: float = 0.0
    missing: int | None = None


@dataclass(frozen=True)
class Spreads:
    """Standard deviations of the parts of a logit.

    Attributes:
        scenario: main effects of scenarios.
        shared: effects of single fields, the same in all scenarios.
        shared_pair: the interaction of context and item that is the same in all scenarios.
        interaction: the interactions of context and item that depend on the scenario.
    """

    scenario: float
    shared: float
    shared_pair: float
    interaction: float


def scenario_coefficients(angles: Sequence[float], closeness: float) -> Floats:
    r"""Compute the root :math:`A` of the planted similarity.

    Args:
        angles: the place of each scenario on the circle, in degrees.
        closeness: :math:`\rho`, in [0, 1).

    Returns:
        ``(S, S + 2)``, with :math:`A A^\top = K`.
    """
    theta = np.deg2rad(np.asarray(angles, dtype=float))
    on_circle = np.sqrt(closeness) * np.stack([np.cos(theta), np.sin(theta)], axis=1)
    return np.concatenate([on_circle, np.sqrt(1 - closeness) * np.eye(len(theta))], axis=1)


class LabelModel:
    """The true probabilities of rows; see the module's formula.

    Args:
        random: the source of the tables.
        scenario_field: the field of the scenario.
        angles: each scenario's place on the circle, in degrees, in the order of its values.
        closeness: how much of a scenario's interactions its neighbours share.
        shared: the fields with effects of their own.
        context: the context's side of the interactions.
        item: the item's side of the interactions.
        spreads: the standard deviations of the parts.
    """

    def __init__(
        self,
        random: Generator,
        scenario_field: str,
        angles: Sequence[float],
        closeness: float,
        shared: Sequence[Factor],
        context: Sequence[Factor],
        item: Sequence[Factor],
        spreads: Spreads,
    ) -> None:
        self.scenario_field = scenario_field
        self.coefficients = scenario_coefficients(angles, closeness)
        self.spreads = spreads
        n_pairs = self.coefficients.shape[1]
        self._main = [(scenario_field, random.standard_normal((len(angles), 1)))]
        self._shared = _tables(random, shared, 1)
        self._shared_context = _tables(random, context, 1)
        self._shared_item = _tables(random, item, 1)
        self._context = _tables(random, context, n_pairs)
        self._item = _tables(random, item, n_pairs)
        self._scales = np.ones(4)
        self.intercept = 0.0

    @property
    def similarity(self) -> Floats:
        """The planted similarity ``(S, S)`` of scenarios, 1 on the diagonal."""
        return self.coefficients @ self.coefficients.T

    def fit(self, columns: Columns, base_rate: float) -> None:
        """Choose the scales of the parts and the intercept.

        Args:
            columns: the rows over which the spreads and the base rate hold.
            base_rate: the mean probability over these rows.
        """
        n_rows = len(columns[self.scenario_field])
        # In pieces, for the sums hold S + 2 numbers a row while they are made.
        parts = np.concatenate(
            [
                self._parts(
                    {name: values[place : place + _PIECE] for name, values in columns.items()}
                )
                for place in range(0, n_rows, _PIECE)
            ],
            axis=1,
        )
        wanted = np.array(
            [
                self.spreads.scenario,
                self.spreads.shared,
                self.spreads.shared_pair,
                self.spreads.interaction,
            ]
        )
        deviations = parts.std(axis=1)
        # A part may be the same on all rows of a tiny set: it then says nothing.
        self._scales = wanted / np.where(deviations > 0, deviations, 1.0)
        self.intercept = solve_intercept(self._scales @ parts, base_rate)

    def probability(self, columns: Columns) -> Floats:
        """Compute the true probabilities ``(rows,)`` of rows."""
        return sigmoid(self.intercept + self._scales @ self._parts(columns))

    def _parts(self, columns: Columns) -> Floats:
        """The four sums before scaling, ``(4, rows)``."""
        pairs = _sum(self._context, columns) * _sum(self._item, columns)
        coefficients = self.coefficients[columns[self.scenario_field]]
        shared_pair = _sum(self._shared_context, columns) * _sum(self._shared_item, columns)
        return np.stack(
            [
                _sum(self._main, columns)[:, 0],
                _sum(self._shared, columns)[:, 0],
                shared_pair[:, 0],
                np.einsum("br,br->b", coefficients, pairs),
            ]
        )


def _tables(random: Generator, factors: Sequence[Factor], width: int) -> list[tuple[str, Floats]]:
    """Draw a table ``(size, width)`` for each field."""
    tables = []
    for factor in factors:
        table = random.standard_normal((factor.size, width))
        if factor.smoothness > 0:
            table = _smoothed(table, factor.smoothness)
        table = factor.weight * table
        if factor.missing is not None:
            table[factor.missing] = 0.0
        tables.append((factor.field, table))
    return tables


def _smoothed(table: Floats, width: float) -> Floats:
    """Average values with their neighbours on a ring, by a Gaussian; the variance stays one."""
    places = np.arange(len(table))
    distances = np.minimum(places, len(table) - places)
    weights = np.exp(-0.5 * (distances / width) ** 2)
    weights /= np.sqrt((weights**2).sum())
    ring = weights[(places[:, None] - places[None, :]) % len(table)]
    return ring @ table


def _sum(tables: Sequence[tuple[str, Floats]], columns: Columns) -> Floats:
    first, *others = (table[columns[field]] for field, table in tables)
    for values in others:
        first += values
    return first


def sigmoid(logits: Floats) -> Floats:
    """Compute the logistic function."""
    return 1 / (1 + np.exp(-logits))


def solve_intercept(logits: Floats, base_rate: float) -> float:
    """Find ``b`` for which the mean of ``sigmoid(logits + b)`` is ``base_rate``.

    Newton's method: the mean rises with ``b``, and its slope is the mean of ``p (1 - p)``.
    """
    intercept = float(np.log(base_rate / (1 - base_rate)))
    for _ in range(_NEWTON_STEPS):
        probability = sigmoid(logits + intercept)
        error = float(probability.mean()) - base_rate
        if abs(error) < _NEWTON_TOLERANCE * base_rate:
            break
        intercept -= error / float((probability * (1 - probability)).mean())
    return intercept


class LabelDrawer:
    """Draws labels with exactly the given probabilities, and with as many positives as expected.

    Systematic sampling in random order: the probabilities of a chunk, shuffled, are laid end to
    end on a line that starts at a uniform random place below zero, and a label is 1 where its
    piece holds a whole number. The pieces of the next chunk follow on. Over all chunks the number
    of positives is the sum of the probabilities, rounded up or down.

    Args:
        random: the source of randomness.
    """

    def __init__(self, random: Generator) -> None:
        self._random = random
        self._end = float(random.random())

    def draw(self, probability: Floats) -> NDArray[np.uint8]:
        """Draw the labels ``(rows,)`` of a chunk."""
        order = self._random.permutation(len(probability))
        ends = self._end + np.cumsum(probability[order])
        whole = np.floor(np.concatenate([[self._end], ends]))
        labels = np.empty(len(probability), dtype=np.uint8)
        labels[order] = np.diff(whole)
        if len(ends):
            self._end = float(ends[-1] % 1.0)
        return labels
