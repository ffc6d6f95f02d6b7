r"""Random networks of a named kind, which say what the label of a row is likely to be.

For every kind, the function of a scenario :math:`k` is a weighted sum of plain networks on the
embeddings :math:`x` of all other fields,

.. math::
    z_k(x) = \sum_i \omega_{k,i}\, f_{k,i}(x), \qquad
    f(x) = \text{relu}(\text{relu}(x W^1 + b^1) W^2 + b^2)\, w^3

and a kind is how the scenarios' networks hang together. Entries of :math:`W` are
:math:`N(0, 2 / \text{fan-in})`, and all entries called random are :math:`N(0, 1)`.

=========  ==================================================================================
dnn        :math:`b^1_k = \tfrac12 s_k W_s` with random :math:`s_k`; all else is shared
star       :math:`W_k = W \odot (1 + \tfrac12 R_k)`, :math:`R_k` random, in every layer
gate       :math:`W_k = W\, \text{diag}(2 \sigma(g_k))`, :math:`g_k` random, in both hidden layers
dpg        :math:`W_k = W \odot \text{tile}(2 \sigma(U_k V))`, :math:`U_k` (8 x 4) and
           :math:`V` (4 x 8) random, in both hidden layers
mixture    four networks that all share, :math:`\omega_k = \text{softmax}(2 r_k)`, :math:`r_k`
           random
=========  ==================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from recbole_midpg.generated.label_model import sigmoid

Floats = NDArray[np.float64]

WIDTHS = (32, 16)
"""Neurons of the hidden layers."""

TILE, RANK = 8, 4
N_EXPERTS = 4
_SCENARIO_WIDTH = 8


@dataclass(frozen=True)
class Network:
    """A plain network: a weight, ``(N, M)``, and a bias, ``(M,)``, for each layer."""

    weights: Sequence[Floats]
    biases: Sequence[Floats]

    def __call__(self, inputs: Floats) -> Floats:
        """Compute the outputs ``(rows,)`` of inputs ``(rows, N)``."""
        hidden = inputs
        for depth, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if depth > 0:
                hidden = np.maximum(hidden, 0.0)
            hidden = hidden @ weight + bias
        return hidden[:, 0]


@dataclass(frozen=True)
class Teacher:
    """The networks of each scenario and their weights in its sum.

    Attributes:
        networks: those of each scenario.
        shares: the weight of each of them.
    """

    networks: Sequence[Sequence[Network]]
    shares: Sequence[Sequence[float]]

    def of_scenario(self, inputs: Floats, scenario: int) -> Floats:
        """Compute :math:`z_k` of inputs ``(rows, N)``: ``(rows,)``."""
        parts = zip(self.shares[scenario], self.networks[scenario], strict=True)
        return np.sum([share * network(inputs) for share, network in parts], axis=0)

    def logits(self, inputs: Floats, scenarios: NDArray[np.int64]) -> Floats:
        """Compute each row by its own scenario's function: ``(rows,)``."""
        results = np.empty(len(inputs))
        for scenario in np.unique(scenarios):
            rows = scenarios == scenario
            results[rows] = self.of_scenario(inputs[rows], scenario)
        return results


def draw_teacher(kind: str, random: Generator, input_size: int, n_scenarios: int) -> Teacher:
    """Draw a teacher.

    Args:
        kind: one of :data:`KINDS`.
        random: the source of its weights.
        input_size: the width of ``x``.
        n_scenarios: how many scenarios.
    """
    return KINDS[kind](random, input_size, n_scenarios)


def draw_network(random: Generator, input_size: int) -> Network:
    """Draw a plain network, ``input_size -> 32 -> 16 -> 1``, its biases zero."""
    sizes = (input_size, *WIDTHS, 1)
    weights = [
        random.standard_normal((fan_in, fan_out)) * (2 / fan_in) ** 0.5
        for fan_in, fan_out in pairwise(sizes)
    ]
    return Network(weights, [np.zeros(size) for size in sizes[1:]])


def _normal(random: Generator, *shape: int) -> Floats:
    return random.standard_normal(shape)


def _one_each(networks: Sequence[Network]) -> Teacher:
    return Teacher([[network] for network in networks], [[1.0]] * len(networks))


def _dnn(random: Generator, input_size: int, n_scenarios: int) -> Teacher:
    shared = draw_network(random, input_size)
    embeddings = random.standard_normal((n_scenarios, _SCENARIO_WIDTH))
    from_scenario = random.standard_normal((_SCENARIO_WIDTH, WIDTHS[0])) / _SCENARIO_WIDTH**0.5
    biases = 0.5 * embeddings @ from_scenario
    return _one_each([Network(shared.weights, [b, *shared.biases[1:]]) for b in biases])


def _star(random: Generator, input_size: int, n_scenarios: int) -> Teacher:
    shared = draw_network(random, input_size)
    return _one_each(
        [
            Network(
                [w * (1 + 0.5 * random.standard_normal(w.shape)) for w in shared.weights],
                shared.biases,
            )
            for _ in range(n_scenarios)
        ]
    )


def _gate(random: Generator, input_size: int, n_scenarios: int) -> Teacher:
    shared = draw_network(random, input_size)
    *hidden, last = shared.weights
    return _one_each(
        [
            Network(
                [
                    *(w * 2 * sigmoid(_normal(random, w.shape[1])) for w in hidden),
                    last,
                ],
                shared.biases,
            )
            for _ in range(n_scenarios)
        ]
    )


@dataclass(frozen=True)
class WeightingFactors:
    """The factors of the weighting matrices of a ``dpg`` teacher, for each hidden layer.

    Attributes:
        shared: :math:`V` of each layer, ``(RANK, TILE)``.
        of_scenarios: :math:`U_k` of each scenario and layer, ``(TILE, RANK)``.
    """

    shared: Sequence[Floats]
    of_scenarios: Sequence[Sequence[Floats]]


def draw_weighting_factors(random: Generator, n_scenarios: int) -> WeightingFactors:
    """Draw the factors of a ``dpg`` teacher, right after its network."""
    shared = [random.standard_normal((RANK, TILE)) for _ in WIDTHS]
    return WeightingFactors(
        shared,
        [[random.standard_normal((TILE, RANK)) for _ in WIDTHS] for _ in range(n_scenarios)],
    )


def _dpg(random: Generator, input_size: int, n_scenarios: int) -> Teacher:
    network = draw_network(random, input_size)
    factors = draw_weighting_factors(random, n_scenarios)
    *hidden, last = network.weights

    def weighted(weight: Floats, row_factor: Floats, column_factor: Floats) -> Floats:
        matrix = 2 * sigmoid(row_factor @ column_factor)
        rows, places = (np.arange(size) % TILE for size in weight.shape)
        return weight * matrix[np.ix_(rows, places)]

    return _one_each(
        [
            Network([*map(weighted, hidden, own, factors.shared), last], network.biases)
            for own in factors.of_scenarios
        ]
    )


def _mixture(random: Generator, input_size: int, n_scenarios: int) -> Teacher:
    experts = [draw_network(random, input_size) for _ in range(N_EXPERTS)]
    weights = np.exp(2 * random.standard_normal((n_scenarios, N_EXPERTS)))
    shares = weights / weights.sum(axis=1, keepdims=True)
    return Teacher([experts] * n_scenarios, shares.tolist())


KINDS: dict[str, Callable[[Generator, int, int], Teacher]] = {
    "dnn": _dnn,
    "dpg": _dpg,
    "gate": _gate,
    "mixture": _mixture,
    "star": _star,
}
"""How a teacher of each kind is drawn."""
