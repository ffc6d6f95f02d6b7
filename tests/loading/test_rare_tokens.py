"""Which tokens are rare, and how many rows have them."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_midpg.loading import rare_tokens
from recbole_midpg.loading.atomic_reader import Tokens
from recbole_midpg.loading.rare_tokens import RareTokens, rows_by_token, rows_with_rare

TOKENS = Tokens.of(["[PAD]", "a", "b", "c"])


def fitted(counts, min_count, tokens=TOKENS):
    return RareTokens.fit(np.array(counts, float), min_count, tokens)


def test_tokens_with_fewer_rows_are_read_as_the_one_after_the_last():
    rare = fitted([0, 2, 1, 0], 2)
    assert rare.unknown == 4
    assert rare.read_as.tolist() == [0, 1, 4, 4, 4]
    assert fitted([0, 2, 1, 0], 1).read_as.tolist() == [0, 1, 2, 4, 4]


def test_a_token_of_the_data_that_is_written_as_the_unknown_one_is_rare():
    tokens = Tokens.of(["[PAD]", "a", "[UNK]"])
    assert fitted([0, 9, 9], 2, tokens).read_as.tolist() == [0, 1, 3, 3]


@given(
    rows=st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=30),
    weighted=st.booleans(),
    min_count=st.integers(1, 5),
    block=st.integers(1, 7),
)
def test_counts_are_those_of_a_loop(rows, weighted, min_count, block):
    ids = np.zeros((len(rows), 4), np.int8)
    for row, of_row in zip(ids, rows, strict=True):
        row[: len(of_row)] = of_row
    weights = np.arange(len(rows), dtype=float) % 3 if weighted else None
    counts: Counter[int] = Counter()
    for row, of_row in enumerate(ids.tolist()):
        for token in set(of_row):
            counts[token] += 1 if weights is None else int(weights[row])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rare_tokens, "_BLOCK_ROWS", block)
        here = rows_by_token(ids, 10, weights)
        assert here.tolist() == [counts[token] for token in range(10)]
        rare = fitted(here, min_count, Tokens.of(["[PAD]", *"abcdefghi"]))
        are_rare = {token for token in range(1, 10) if counts[token] < min_count}
        assert rows_with_rare(ids, rare, weights) == sum(
            1 if weights is None else weights[row]
            for row, of_row in enumerate(ids.tolist())
            if are_rare & set(of_row)
        )
        assert rows_by_token(ids[:, 0], 10, weights).tolist() == [
            sum(
                1 if weights is None else weights[row]
                for row in range(len(rows))
                if ids[row, 0] == token
            )
            for token in range(10)
        ]


@given(st.lists(st.booleans(), max_size=40))
def test_plain_values_give_the_same_tokens(flags):
    rare = RareTokens(np.array([False, *flags]))
    plain = rare.to_plain()
    assert plain["bits"].nbytes == (len(flags) + 8) // 8
    assert RareTokens.from_plain(plain).equals(rare)


@pytest.mark.parametrize(
    "plain",
    [
        {"tokens": 9, "bits": np.zeros(1, np.uint8)},
        {"tokens": 0, "bits": np.zeros(0, np.uint8)},
        {"tokens": 3, "bits": np.array([0b10000000], np.uint8)},
    ],
)
def test_damaged_values_are_refused(plain):
    with pytest.raises(ValueError, match=r"bits of|no rare token"):
        RareTokens.from_plain(plain)
