"""Requests that come at once get what each would get alone."""

import asyncio
import threading

import numpy as np
import pytest

from recbole_midpg.common.errors import UsageError
from recbole_midpg.loading.column_encoding import BadValueError
from recbole_midpg.prediction import Scorer
from recbole_midpg.prediction.batching import Batcher, BusyError, score_together
from tests.prediction.checkpoints import gaps_checkpoint
from tests.prediction.test_scorer import gaps_rows


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    return Scorer.read(gaps_checkpoint(tmp_path_factory.mktemp("gaps")).path)


def requests_of(scorer, size=2):
    frame = gaps_rows()[[name for name in gaps_rows() if name in scorer.fields]]
    parts = [frame[start : start + size] for start in range(0, len(frame), size)]
    return [part.to_dict("list") for part in parts]


def test_each_request_gets_what_it_would_get_alone(scorer):
    requests = requests_of(scorer)
    assert len(requests) > 1
    for columns, scored in zip(requests, score_together(scorer, requests), strict=True):
        np.testing.assert_allclose(scored.scores, scorer.scores(columns), rtol=1e-5)
        assert scored.counts == scorer.counts(columns, scorer.encode(columns))


def test_counts_are_those_of_each_request_where_others_have_what_training_has_not(scorer):
    requests = requests_of(scorer)
    name = next(n for n, kind in scorer.fields.items() if kind == "token")
    requests[1][name] = ["never seen", None]
    scored = score_together(scorer, requests)
    assert [one.counts[name].unknown for one in scored] == [
        scorer.counts(columns, scorer.encode(columns))[name].unknown for columns in requests
    ]
    assert (scored[1].counts[name].unknown, scored[1].counts[name].missing) == (1, 1)
    assert scored[1].counts[name].examples == ("never seen",)


def test_numbers_that_are_equal_and_other_tokens_stay_apart(scorer):
    name = next(n for n, kind in scorer.fields.items() if kind == "token")
    first = requests_of(scorer)[0]
    values = [[True, None], [1, "x"], [1.0, 2.5], [None, "1"]]
    requests = [{**first, name: value} for value in values]
    for columns, scored in zip(requests, score_together(scorer, requests), strict=True):
        np.testing.assert_allclose(scored.scores, scorer.scores(columns), rtol=1e-5)
        assert scored.counts == scorer.counts(columns, scorer.encode(columns))


def test_columns_are_made_fields_of_before_they_are_scored(scorer):
    requests = requests_of(scorer)
    renamed = [{f"raw {name}": column for name, column in r.items()} for r in requests]

    def to_fields(columns):
        return {name.removeprefix("raw "): column for name, column in columns.items()}

    for plain, raw in zip(
        score_together(scorer, requests),
        score_together(scorer, renamed, to_fields),
        strict=True,
    ):
        assert plain.scores.tolist() == raw.scores.tolist()
        assert plain.counts == raw.counts


def test_a_bad_request_fails_alone_and_names_its_row_and_field(scorer):
    requests = requests_of(scorer)
    requests[1]["price"] = [requests[1]["price"][0], "dear"]
    good, bad, *others = score_together(scorer, requests)
    assert isinstance(bad, BadValueError)
    assert (bad.row, bad.field) == (1, "price")
    assert len(good.scores) == 2
    assert not any(isinstance(answer, Exception) for answer in others)


def test_columns_of_other_lengths_are_not_mixed_with_those_of_others(scorer):
    first, second, *_ = requests_of(scorer)
    first["price"], second["price"] = [*first["price"], "1"], second["price"][1:]
    answers = score_together(scorer, [first, second])
    assert [type(answer) for answer in answers] == [UsageError, UsageError]


def test_what_comes_while_the_thread_is_busy_is_one_call():
    calls, release = [], threading.Event()

    def answer(requests):
        calls.append(requests)
        assert release.wait(10)
        return [ValueError("bad") if request == "bad" else request * 2 for request in requests]

    async def program():
        async with Batcher(answer, max_rows=2, max_waiting=3) as batcher:
            asked = [asyncio.create_task(batcher.ask("a", 1))]
            while not calls:
                await asyncio.sleep(0.001)
            asked += [asyncio.create_task(batcher.ask(text, 1)) for text in ("b", "bad", "c")]
            await asyncio.sleep(0)
            with pytest.raises(BusyError, match="3 rows are waiting"):
                await batcher.ask("d", 1)
            release.set()
            return await asyncio.gather(*asked, return_exceptions=True)

    a, b, bad, c = asyncio.run(program())
    assert (a, b, c) == ("aa", "bb", "cc")
    assert isinstance(bad, ValueError)
    assert calls == [["a"], ["b", "bad"], ["c"]]
