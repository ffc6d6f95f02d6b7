"""Averages of sequences and numbers, by hand."""

from __future__ import annotations

import torch

from recbole_midpg.layers.field_embedding import mean_of_present, split_numbers


def test_mean_leaves_padding_out() -> None:
    embeddings = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]], [[5.0, 5.0]] * 3])
    is_present = torch.tensor([[True, True, False], [False, False, False]])
    means = mean_of_present(embeddings, is_present)
    torch.testing.assert_close(means, torch.tensor([[2.0, 4.0], [0.0, 0.0]]))


def test_numbers_are_pairs_of_value_and_index() -> None:
    values, indices = split_numbers(torch.tensor([[[0.5, 2.0]], [[1.5, 0.0]]]))
    assert values.tolist() == [[[0.5]], [[1.5]]]
    assert indices.tolist() == [[2], [0]]
