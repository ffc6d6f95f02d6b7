from types import SimpleNamespace

import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.utils import FeatureType

from recbole_midpg.common.errors import UsageError
from recbole_midpg.integration.dataset.dataset_state import TokenTables
from recbole_midpg.integration.dataset.vocabulary import (
    check_vocabulary,
    digest_of_rows,
    vocabulary_of,
)
from recbole_midpg.loading.atomic_reader import Tokens
from tests.support.recbole_data import dataset_of, gaps_config


def dataset(**tokens):
    types = dict.fromkeys(tokens, FeatureType.TOKEN)
    return SimpleNamespace(field2id_token=tokens, field2type=types)


def test_tokens_and_their_order_decide():
    digests = vocabulary_of(dataset(a=["[PAD]", "x", "yz"], b=["[PAD]", "xy", "z"]))
    assert len(set(digests.values())) == 2
    assert digests == vocabulary_of(dataset(b=["[PAD]", "xy", "z"], a=["[PAD]", "x", "yz"]))
    swapped = vocabulary_of(dataset(a=["[PAD]", "yz", "x"], b=["[PAD]", "xy", "z"]))
    assert swapped["a"] != digests["a"] and swapped["b"] == digests["b"]


def test_bytes_and_texts_are_the_same_vocabulary():
    texts = ["[PAD]", "é", "b"]
    kept = TokenTables("array", {"a": Tokens.of(texts)})
    assert vocabulary_of(dataset(a=texts)) == vocabulary_of(
        SimpleNamespace(field2id_token=kept, field2type={"a": FeatureType.TOKEN})
    )


def test_a_dataset_has_the_same_vocabulary_from_its_files_and_from_the_cache():
    first, second = (vocabulary_of(dataset_of(gaps_config())) for _ in range(2))
    assert first == second
    assert first == vocabulary_of(dataset_of(gaps_config(dataset_cache=False)))
    assert "job" in first and "price" not in first


@pytest.mark.parametrize(
    ("here", "message"),
    [
        ({"a": "1", "b": "3"}, "the field 'b' has other tokens"),
        ({"a": "1"}, "the field 'b' is only in that dataset"),
        ({"a": "1", "b": "2", "c": "3"}, "the field 'c' is only in this dataset"),
    ],
)
def test_the_field_that_differs_is_named(here, message):
    with pytest.raises(UsageError, match=f"checkpoint 'x': {message}"):
        check_vocabulary({"a": "1", "b": "2"}, here, "checkpoint 'x'")
    check_vocabulary(here, here, "checkpoint 'x'")


def test_rows_and_features_decide():
    def split(values, features):
        return SimpleNamespace(
            inter_feat=Interaction({"a": torch.tensor(values)}),
            user_feat=Interaction({"b": torch.tensor(features)}),
            item_feat=None,
        )

    def digest(values, features):
        return digest_of_rows(split(values, features))

    assert digest([1, 2], [0.5]) == digest([1, 2], [0.5])
    assert len({digest([1, 2], [0.5]), digest([2, 1], [0.5]), digest([1, 2], [0.25])}) == 3
    several = [([1, 2], [3]), ([1], [2, 3]), ([3], [1, 2]), ([1, 2], [4])]
    digests = [digest_of_rows(*(split(rows, [0.5]) for rows in parts)) for parts in several]
    assert len(set(digests)) == len(several)
