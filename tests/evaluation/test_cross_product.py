"""Scores of all pairs, against a loop over them."""

import pytest
import torch

from recbole_midpg.evaluation.cross_product import score_pairs

LEFT = {"user": torch.tensor([3, 5]), "tags": torch.tensor([[1, 2], [4, 0]])}
RIGHT = {"item": torch.tensor([10.0, 20.0, 30.0])}


def predict(columns):
    return columns["user"] * 100 + columns["tags"].sum(dim=1) + columns["item"]


@pytest.mark.parametrize("batch_size", [1, 2, 4, 6, 100])
def test_pairs_are_those_of_a_loop(batch_size):
    seen = []

    def counted(columns):
        seen.append(len(columns["item"]))
        return predict(columns)

    scores = score_pairs(counted, LEFT, RIGHT, 2, batch_size)
    assert scores.tolist() == [[313.0, 323.0, 333.0], [514.0, 524.0, 534.0]]
    assert sum(seen) == 6
    assert max(seen) == min(batch_size, 6)


def test_no_left_columns_give_each_request_the_same_scores():
    scores = score_pairs(lambda columns: columns["item"] * 2, {}, RIGHT, 3, 4)
    assert scores.tolist() == [[20.0, 40.0, 60.0]] * 3


def test_the_columns_of_a_batch_of_one_model_output_may_have_a_last_dimension():
    scores = score_pairs(lambda columns: columns["item"].unsqueeze(-1), {}, RIGHT, 1, 2)
    assert scores.tolist() == [[10.0, 20.0, 30.0]]


def test_no_requests_have_no_scores():
    assert score_pairs(predict, LEFT, RIGHT, 0, 4).shape == (0, 3)
