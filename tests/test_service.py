"""``examples/service.py``, in a process of its own, asked by an HTTP client."""

import csv
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from recbole_midpg.prediction import Scorer
from tests.prediction.checkpoints import gaps_checkpoint
from tests.prediction.test_log_rows import HEADER, RAW, checkpoint
from tests.prediction.test_scorer import gaps_rows

log_checkpoint = checkpoint  # a fixture

SERVICE = Path(__file__).parents[1] / "examples" / "service.py"


@contextmanager
def running(scorer, folder, *words):
    """A client of the service of a model."""
    scorer.save(folder / "model.scorer")
    command = [sys.executable, str(SERVICE), str(folder / "model.scorer"), "--port=0", *words]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        timer = threading.Timer(120, process.kill)
        timer.start()
        try:
            lines = iter(process.stderr.readline, "")
            (port,) = [next(x.rpartition(":")[2].split()[0] for x in lines if " on http" in x)]
            threading.Thread(target=process.stderr.read, daemon=True).start()
            retries = httpx.HTTPTransport(retries=10)  # workers listen a while after that line
            url = f"http://127.0.0.1:{port}"
            with httpx.Client(base_url=url, timeout=60, transport=retries) as client:
                client.get("/health")
                yield client
        finally:
            timer.cancel()
            process.terminate()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The scorer that is served, and a client."""
    folder = tmp_path_factory.mktemp("served")
    scorer = Scorer.read(gaps_checkpoint(folder).path)
    with running(scorer, folder) as client:
        yield scorer, client


@pytest.fixture(scope="module")
def log_scorer(log_checkpoint):
    return Scorer.read(log_checkpoint)


def rows_of(scorer):
    frame = gaps_rows()
    return frame[[name for name in frame if name in scorer.fields]].to_dict("records")


def ask(client, rows):
    return client.post("/scores", json={"rows": rows})


def test_rows_get_the_scores_of_the_scorer(served):
    scorer, client = served
    rows = rows_of(scorer)
    rows[0]["user_id"], rows[0]["colour"] = "nobody", "red"
    answer = ask(client, rows).json()
    columns = {name: [row[name] for row in rows] for name in rows[1]}
    np.testing.assert_allclose(answer["scores"], scorer.scores(columns), rtol=1e-5)
    assert answer["unknown"]["user_id"] >= 1
    assert answer["unused"] == ["colour"]


def test_a_bad_request_does_not_fail_those_beside_it(served):
    scorer, client = served
    good = rows_of(scorer)[:2]
    bad = [good[0], {**good[1], "price": "dear"}]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: ask(client, bad if i % 4 == 0 else good), range(40)))
    assert [a.status_code for a in answers] == [422 if i % 4 == 0 else 200 for i in range(40)]
    assert len({tuple(np.round(a.json()["scores"], 5)) for a in answers if a.is_success}) == 1


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda rows: rows[1].pop("user_id"), [1, "user_id"]),
        (lambda rows: rows[1].update(price="dear"), [1, "price"]),
        (lambda rows: rows[1].update(price=10**400), [1, "price"]),
        (lambda rows: rows[1].update(user_id=["a", "b"]), [1, "user_id"]),
        (lambda rows: rows.clear(), []),
        (lambda rows: rows.extend(rows[:1] * 10_000), []),
    ],
    ids=["missing", "no number", "a huge number", "a list", "no rows", "too many rows"],
)
def test_what_cannot_be_scored_is_named(served, change, place):
    scorer, client = served
    rows = rows_of(scorer)[:2]
    change(rows)
    answer = ask(client, rows)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "rows", *place]


@pytest.mark.parametrize("body", [b"", b"{", b'{"rows": [', b"[]", b"\xff"])
def test_a_body_that_holds_no_rows_is_refused(served, body):
    answer = served[1].post("/scores", content=body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body"]


def test_a_body_that_is_too_large_is_refused(served):
    assert served[1].post("/scores", content=b" " * ((16 << 20) + 1)).status_code == 413


@pytest.mark.slow
def test_several_workers_give_the_same_scores(served, tmp_path):
    scorer, client = served
    rows = rows_of(scorer)
    expected = ask(client, rows).json()
    with running(scorer, tmp_path, "--workers=2") as others, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask(others, rows).json(), range(8)))
    np.testing.assert_allclose(
        [answer["scores"] for answer in answers], [expected["scores"]] * 8, rtol=1e-5
    )


@pytest.mark.slow
def test_a_model_of_a_log_takes_its_raw_rows(log_scorer, tmp_path):
    reader = csv.DictReader([HEADER, *RAW], delimiter=";")
    rows = list(reader)
    expected = log_scorer.scores_of_log({name: [r[name] for r in rows] for name in rows[0]})
    with running(log_scorer, tmp_path) as client:
        answer = ask(client, rows).json()
        np.testing.assert_allclose(answer["scores"], expected, rtol=1e-5)
        assert answer["unused"] == ["bought", "clicked", "note", "row"]
        fields = client.get("/fields").json()
        assert list(fields) == ["user", "item", "the channel", "price", "tags", "when"]
        rows[1]["when"] = "yesterday"
        (wrong,) = ask(client, rows).json()["detail"]
        assert wrong["loc"] == ["body", "rows", 1, "when"]
        assert "'yesterday' is not allowed" in wrong["msg"]


def test_it_says_what_it_serves(served):
    scorer, client = served
    assert client.get("/health").json() == {"model": "MIDPG"}
    fields = client.get("/fields").json()
    assert {name: field["type"] for name, field in fields.items()} == scorer.fields
    assert [name for name in fields if fields[name]["required"]] == scorer.required_fields
