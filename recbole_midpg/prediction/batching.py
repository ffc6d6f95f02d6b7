"""Requests of a service that come at once, scored together.

A call of a model costs almost as much for one row as for a hundred: a service that scores its
requests one after the other spends its time on calls.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise, starmap
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from recbole_midpg.common.errors import UsageError
from recbole_midpg.prediction.encoding import check_lengths
from recbole_midpg.prediction.recognition import ValueCounts
from recbole_midpg.prediction.scorer import Scorer

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Columns = Mapping[str, Sequence[Any]]


# --------------------------------------------------------------------------------------------------
# Several requests in one call of the model


@dataclass(frozen=True)
class ScoredRequest:
    """What becomes of a request.

    Attributes:
        scores: the probability of each row's label being 1, ``(B,)``.
        counts: how many values of each column training has seen.
    """

    scores: NDArray[np.float32]
    counts: dict[str, ValueCounts]


def score_together(
    scorer: Scorer,
    requests: Sequence[Columns],
    to_fields: Callable[[Columns], Columns] = dict,
) -> list[ScoredRequest | Exception]:
    """Score the rows of several requests in as few calls of the model as there may be.

    A request gets the scores that it would get alone, but for the rounding of a sum in a larger
    batch, and fails by nothing but its own rows.

    Args:
        scorer: the model.
        requests: columns of each one's rows, plain sequences.
        to_fields: makes columns as :meth:`Scorer.encode` takes them of those of the requests, as
            :meth:`Scorer.fields_of_log` does; by default they are those.

    Returns:
        For each request its scores, or the error of its own rows: a ``UsageError`` where they
        cannot be scored.

    Raises:
        UsageError: the GPU fails.
    """
    answers: dict[int, ScoredRequest | Exception] = {}
    alike: dict[Any, list[int]] = defaultdict(list)
    for place, columns in enumerate(requests):
        try:
            check_lengths(columns, columns)
        except UsageError as error:
            answers[place] = error
        else:
            alike[_form(columns)].append(place)
    for places in alike.values():
        group = [requests[place] for place in places]
        answers.update(zip(places, _score_alike(scorer, group, to_fields), strict=True))
    return [answers[place] for place in range(len(requests))]


# Of these 1, 1.0 and True are equal in Python and three tokens.
_EQUAL_TYPES = frozenset({bool, int, float})


def _form(columns: Columns) -> Any:
    """What requests must have in common to be columns of each other.

    Beside the names those are the types of values that may be equal and differ as tokens.
    """
    return frozenset((name, _types(values) & _EQUAL_TYPES) for name, values in columns.items())


def _types(values: Sequence[Any]) -> frozenset[type]:
    types = frozenset(map(type, values))
    if list in types:
        elements = chain.from_iterable(value for value in values if isinstance(value, list))
        return types.union(map(type, elements))
    return types


def _score_alike(
    scorer: Scorer, requests: Sequence[Columns], to_fields: Callable[[Columns], Columns]
) -> list[ScoredRequest | Exception]:
    """Score requests of one form."""
    joined = {
        name: list(chain.from_iterable(columns[name] for columns in requests))
        for name in requests[0]
    }
    try:
        fields = to_fields(joined)
        encoded = scorer.encode(fields)
    except Exception as error:  # whatever a request's rows fail by, the others do not
        if len(requests) == 1:
            return [error]
        half = len(requests) // 2
        parts = (requests[:half], requests[half:])
        return [answer for part in parts for answer in _score_alike(scorer, part, to_fields)]
    scores = scorer.probabilities(encoded)
    rows = list(accumulate(map(_count_rows, requests), initial=0))
    slices = list(starmap(slice, pairwise(rows)))
    counts = _count_parts(scorer, fields, encoded, slices)
    return [
        ScoredRequest(scores[part], counted) for part, counted in zip(slices, counts, strict=True)
    ]


def _count_parts(
    scorer: Scorer, fields: Columns, encoded: Mapping[str, Tensor], parts: Sequence[slice]
) -> list[dict[str, ValueCounts]]:
    """Count what training has seen of each of some parts of rows.

    A column whose every value is known is so in each part: most are, and are counted once.
    """
    scored = scorer.scoring.fields.scored
    whole = scorer.counts(fields, encoded)
    rows = sum(part.stop - part.start for part in parts)
    known = {
        name
        for name, counts in whole.items()
        if counts == ValueCounts(rows) and not scored[name].type.value.endswith("_seq")
    }
    doubtful = [name for name in whole if name not in known]

    def count(part: slice) -> dict[str, ValueCounts]:
        counts = scorer.counts(
            {name: fields[name][part] for name in doubtful},
            {name: encoded[name][part] for name in doubtful},
        )
        all_known = ValueCounts(part.stop - part.start)
        return {name: all_known if name in known else counts[name] for name in whole}

    return list(map(count, parts))


def _count_rows(columns: Columns) -> int:
    return len(next(iter(columns.values()), ()))


# --------------------------------------------------------------------------------------------------
# Requests that come at once


class BusyError(Exception):
    """More rows wait than a service means to answer."""


class Batcher(Generic[Request, Answer]):
    """Answers the requests of an asyncio program that come at once by one call in a thread.

    While the thread is at one call, requests wait; the next call takes all that wait then, up to
    ``max_rows``. A request that comes alone waits for nothing, and the more there are the larger
    are the calls.

    Example:
        >>> async with Batcher(partial(score_together, scorer)) as batcher:  # doctest: +SKIP
        ...     scored = await batcher.ask({"user_id": ["196"], "item_id": ["242"]}, rows=1)

    Args:
        answer: gives an answer or an error for each of several requests; runs in one thread.
        max_rows: of one call; a request of more has a call of its own.
        max_waiting: rows; a request for which there is no room is refused.
        linger: seconds for which a call waits for more requests than the first.
    """

    def __init__(
        self,
        answer: Callable[[list[Request]], Sequence[Answer | Exception]],
        max_rows: int = 4096,
        max_waiting: int = 100_000,
        linger: float = 0.0,
    ) -> None:
        self._answer, self._linger = answer, linger
        self._max_rows, self._max_waiting = max_rows, max_waiting
        self._waiting: deque[_Waiting[Request, Answer]] = deque()
        self._waiting_rows = 0
        self._arrival = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "batcher")

    async def __aenter__(self) -> Batcher[Request, Answer]:
        self._task = asyncio.create_task(self._answer_batches())
        return self

    async def __aexit__(self, *_: object) -> None:
        """End after the call that runs; requests that wait then are cancelled."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for waiting in self._waiting:
            waiting.answer.cancel()
        self._thread.shutdown()

    async def ask(self, request: Request, rows: int) -> Answer:
        """Answer a request.

        Args:
            request: what ``answer`` takes.
            rows: how large it is.

        Raises:
            BusyError: too many rows wait.
            Exception: what ``answer`` has for this request, or raises.
        """
        if self._waiting and self._waiting_rows + rows > self._max_waiting:
            raise BusyError(
                f"{self._waiting_rows:,} rows are waiting, expected at most {self._max_waiting:,}."
            )
        waiting = _Waiting[Request, Answer](
            request, rows, asyncio.get_running_loop().create_future()
        )
        self._waiting.append(waiting)
        self._waiting_rows += rows
        self._arrival.set()
        return await waiting.answer

    async def _answer_batches(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrival.wait()
            if self._linger:
                await asyncio.sleep(self._linger)
            batch = self._take_batch()
            requests = [waiting.request for waiting in batch]
            answers: Sequence[Answer | Exception]
            try:
                answers = await loop.run_in_executor(self._thread, self._answer, requests)
            except asyncio.CancelledError:
                self._waiting.extendleft(batch)  # to be cancelled with the others
                raise
            except Exception as error:
                answers = [error] * len(batch)
            for waiting, answer in zip(batch, answers, strict=True):
                waiting.set(answer)

    def _take_batch(self) -> list[_Waiting[Request, Answer]]:
        """Take those that wait, from the first on, in ``max_rows``."""
        batch: list[_Waiting[Request, Answer]] = []
        rows = 0
        while self._waiting and (not batch or rows + self._waiting[0].rows <= self._max_rows):
            waiting = self._waiting.popleft()
            self._waiting_rows -= waiting.rows
            if not waiting.answer.done():  # its client may have gone
                batch.append(waiting)
                rows += waiting.rows
        if not self._waiting:
            self._arrival.clear()
        return batch


@dataclass(frozen=True)
class _Waiting(Generic[Request, Answer]):
    """A request and where its answer goes."""

    request: Request
    rows: int
    answer: asyncio.Future[Answer]

    def set(self, answer: Answer | Exception) -> None:
        if self.answer.done():  # its client has gone
            return
        if isinstance(answer, Exception):
            self.answer.set_exception(answer)
        else:
            self.answer.set_result(answer)
