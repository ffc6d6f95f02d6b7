"""Scalers of numbers: fitted to the training rows, and applied to every row alike.

RecBole embeds a number as two: a value, and the index of the embedding of its field that the value
scales. A scaler makes both. Index 0 is padding, 1 the embedding of a field that has one, or the
first of its buckets; the last is the missing value's, where it has learned one.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

UNSCALED = "none"
"""The method of a number that stays as it stands in the file."""

DEFAULT_BUCKETS = 20
"""How many buckets ``quantile`` alone asks for."""

Method = str | Mapping[str, int]
"""``standard``, ``log``, ``quantile``, or ``{"quantile": buckets}``."""

# How far the parameters of two fits to the same rows may be apart, in standard deviations.
_ROUNDING = 1e-5


LARGEST_NUMBER = float(np.finfo(np.float32).max)
"""The largest number that models compute with, 3.4e38."""


def is_finite_float32(numbers: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which numbers are finite as float32 too; of the same shape."""
    return np.abs(numbers) <= LARGEST_NUMBER


@dataclass(frozen=True)
class NumberScaler(ABC):
    """What training learned of a field's numbers.

    A number counts as RecBole keeps it, in float32, and so do the parameters: the same rows give
    the same bits whatever machine they were summed on.

    Attributes:
        learns_missing: whether a missing number has an embedding of its own. Without, it is
            :attr:`typical`.
    """

    method: ClassVar[str]
    learns_missing: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.learns_missing, bool):
            raise ValueError(f"{self} is not fitted")

    @property
    @abstractmethod
    def n_embeddings(self) -> int:
        """How many embeddings the numbers have, without padding and the missing number's."""

    @property
    @abstractmethod
    def typical(self) -> tuple[float, int]:
        """Value and index of a number that says nothing."""

    @abstractmethod
    def embed_present(self, numbers: NDArray[np.float64]) -> NDArray[np.float32]:
        """As :meth:`embed`, of numbers none of which is missing."""

    @abstractmethod
    def agrees_with(self, other: NumberScaler) -> bool:
        """Whether another scaler may be one of the same rows, summed in another order."""

    @abstractmethod
    def words(self) -> str:
        """What it does to a number, in a few words."""

    @property
    def size(self) -> int:
        """How many indices a field's table of embeddings has, padding included."""
        return 1 + self.n_embeddings + self.learns_missing

    @property
    def missing(self) -> tuple[float, int]:
        """Value and index of a missing number."""
        return (1.0, self.size - 1) if self.learns_missing else self.typical

    def embed(self, numbers: NDArray[np.floating]) -> NDArray[np.float32]:
        """Make the value and the index of numbers.

        Args:
            numbers: of any shape, NaN where one is missing.

        Returns:
            ``(*shape, 2)``. An infinite number stays one, and so can be refused.
        """
        missing = np.isnan(numbers)
        with np.errstate(over="ignore"):  # infinite, to be refused
            present = np.where(missing, 0, numbers).astype(np.float32).astype(np.float64)
        embedded = self.embed_present(present)
        embedded[missing] = self.missing
        return embedded

    def to_plain(self) -> dict[str, Any]:
        """The scaler as plain values."""
        return {"method": self.method, **asdict(self)}


@dataclass(frozen=True)
class StandardScaler(NumberScaler):
    r"""Standardised numbers, :math:`(x - \mu) / \sigma`, of the training rows' :math:`\mu, \sigma`.

    A missing number without an embedding of its own gives exactly 0, as :math:`\mu` does.

    Attributes:
        mean: :math:`\mu`, the mean.
        deviation: :math:`\sigma`, the standard deviation; 1 where all numbers are equal.
    """

    method: ClassVar[str] = "standard"
    mean: float
    deviation: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not np.isfinite([self.mean, self.deviation]).all() or self.deviation <= 0:
            raise ValueError(f"{self} is not fitted")

    @classmethod
    def fit(cls, numbers: NDArray[np.float32], *, learns_missing: bool = False) -> StandardScaler:
        """Fit to numbers, at least one of them finite; the others do not count.

        Args:
            numbers: of any shape.
            learns_missing: see :class:`NumberScaler`.
        """
        finite = cls.transform(numbers[np.isfinite(numbers)].astype(np.float64))
        mean = np.float32(finite.mean())
        # Of equal numbers rounding may leave a deviation, but not in their span.
        deviation = np.float32(finite.std() if np.ptp(finite) else 0)
        return cls(float(mean), float(deviation) or 1.0, learns_missing=learns_missing)

    @staticmethod
    def transform(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """What is done to numbers before they are standardised."""
        return numbers

    @property
    def n_embeddings(self) -> int:
        """See :class:`NumberScaler`."""
        return 1

    @property
    def typical(self) -> tuple[float, int]:
        """See :class:`NumberScaler`: the mean."""
        return 0.0, 1

    def apply(self, numbers: NDArray[np.floating]) -> NDArray[np.float32]:
        """Scale numbers of any shape."""
        kept = self.transform(numbers.astype(np.float32).astype(np.float64))
        return ((kept - self.mean) / self.deviation).astype(np.float32)

    def embed_present(self, numbers: NDArray[np.float64]) -> NDArray[np.float32]:
        """See :class:`NumberScaler`."""
        scaled = self.apply(numbers)
        return np.stack([scaled, np.ones_like(scaled)], axis=-1)

    def agrees_with(self, other: NumberScaler) -> bool:
        """See :class:`NumberScaler`."""
        return (
            isinstance(other, StandardScaler)
            and self.method == other.method
            and self.learns_missing is other.learns_missing
            and abs(self.mean - other.mean) <= _ROUNDING * self.deviation
            and math.isclose(self.deviation, other.deviation, rel_tol=_ROUNDING)
        )

    def words(self) -> str:
        """See :class:`NumberScaler`."""
        return f"standardised by mean {self.mean:g} and deviation {self.deviation:g}"


@dataclass(frozen=True)
class LogScaler(StandardScaler):
    r"""Logarithms :math:`\mathrm{sign}(x) \ln(1 + |x|)`, standardised as :class:`StandardScaler`.

    For numbers whose size matters by its order, as prices and counts; 0 and negative ones are
    allowed.

    Attributes:
        mean: of the training rows' logarithms.
        deviation: of the training rows' logarithms; 1 where all are equal.
    """

    method: ClassVar[str] = "log"

    @staticmethod
    def transform(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """See :class:`StandardScaler`."""
        logarithms = np.copysign(np.log1p(np.abs(numbers)), numbers)
        # So that equal numbers are their mean exactly.
        return logarithms.astype(np.float32).astype(np.float64)

    def words(self) -> str:
        """See :class:`NumberScaler`."""
        return f"logarithms, {super().words()}"


@dataclass(frozen=True)
class QuantileBuckets(NumberScaler):
    """Buckets of about as many training rows each; a bucket is an embedding of its field.

    So a model learns a value for each range of numbers, whatever its form. A missing number without
    an embedding of its own is in the middle bucket.

    Attributes:
        edges: the least number of each bucket but the first, ascending.
    """

    method: ClassVar[str] = "quantile"
    edges: tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        edges = np.array(self.edges, np.float64)
        if edges.ndim != 1 or not np.isfinite(edges).all() or not (np.diff(edges) > 0).all():
            raise ValueError(f"{self} is not fitted")
        object.__setattr__(self, "edges", tuple(edges.tolist()))  # files keep a list

    @classmethod
    def fit(
        cls, numbers: NDArray[np.float32], buckets: int, *, learns_missing: bool = False
    ) -> QuantileBuckets:
        """Fit to numbers, at least one of them finite; the others do not count.

        One bucket after the other takes the numbers that come next, until it has about its share of
        the rows that are left. Equal numbers stay together: one that fills several shares by itself
        takes a single bucket, and the rest is shared among the others.

        Args:
            numbers: of any shape.
            buckets: how many there are at most.
            learns_missing: see :class:`NumberScaler`.
        """
        values, counts = np.unique(numbers[np.isfinite(numbers)], return_counts=True)
        if len(values) <= buckets:
            return cls(tuple(values[1:].tolist()), learns_missing=learns_missing)
        rows_until = np.cumsum(counts)  # rows of a value and all below it
        edges: list[float] = []
        first, done = 0, 0
        for left in range(buckets, 1, -1):
            share = done + (rows_until[-1] - done) / left
            last = int(np.searchsorted(rows_until, share))
            # The value that reaches the share, or the one below, whichever comes nearer to it.
            if last > first and rows_until[last] - share > share - rows_until[last - 1]:
                last -= 1
            first, done = last + 1, int(rows_until[last])
            if first == len(values):
                break
            edges.append(float(values[first]))
        return cls(tuple(edges), learns_missing=learns_missing)

    @property
    def n_embeddings(self) -> int:
        """See :class:`NumberScaler`."""
        return len(self.edges) + 1

    @property
    def typical(self) -> tuple[float, int]:
        """See :class:`NumberScaler`: the middle bucket."""
        return 1.0, 1 + self.n_embeddings // 2

    def embed_present(self, numbers: NDArray[np.float64]) -> NDArray[np.float32]:
        """See :class:`NumberScaler`."""
        indices = np.searchsorted(np.array(self.edges), numbers, side="right") + 1
        values = np.where(np.isinf(numbers), numbers, 1)
        return np.stack([values, indices], axis=-1).astype(np.float32)

    def agrees_with(self, other: NumberScaler) -> bool:
        """See :class:`NumberScaler`."""
        return self == other

    def words(self) -> str:
        """See :class:`NumberScaler`."""
        return f"in {self.n_embeddings} buckets"


_SCALERS: Mapping[str, type[NumberScaler]] = {
    scaler.method: scaler for scaler in (StandardScaler, LogScaler, QuantileBuckets)
}


def fit_scaler(
    method: Method, numbers: NDArray[np.float32], *, learns_missing: bool = False
) -> NumberScaler:
    """Fit the scaler of a method.

    Args:
        method: see :data:`Method`.
        numbers: of any shape, at least one of them finite; the others do not count.
        learns_missing: see :class:`NumberScaler`.
    """
    if method == StandardScaler.method:
        return StandardScaler.fit(numbers, learns_missing=learns_missing)
    if method == LogScaler.method:
        return LogScaler.fit(numbers, learns_missing=learns_missing)
    buckets = DEFAULT_BUCKETS if isinstance(method, str) else method[QuantileBuckets.method]
    return QuantileBuckets.fit(numbers, buckets, learns_missing=learns_missing)


def scaler_from_plain(plain: Mapping[str, Any]) -> NumberScaler:
    """Undo :meth:`NumberScaler.to_plain`.

    Raises:
        ValueError: its values are not finite numbers, or numbers cannot be divided by one.
        TypeError: it has other values than a scaler of its method.
        KeyError: it is of no method that is known here.
    """
    values = dict(plain)
    return _SCALERS[values.pop("method")](**values)
