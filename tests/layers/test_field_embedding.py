"""Averages of sequences and numbers, by hand."""

from __future__ import annotations

import torch

from recbole_midpg.layers.field_embedding import mean_of_present, split_numbers


def test_mean_leaves_padding_out() -> None:
    embeddings = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]], [[5.0, 5.0]] * 3])
    is_present = torch.tensor([[True, True, False], [False, False, False]])
    means = mean_of_present(embeddings, is_present)
    torch.testing.assert_close(means, torch.tensor([[2.0, 4.0], [0.0, 0.0]]))


def test_an_empty_sequence_has_gradients_in_float16() -> None:
    """Divided by RecBole's 1e-8 they would be larger than float16 can hold."""
    table = torch.nn.Embedding(3, 2)
    tokens = torch.tensor([[1, 2], [0, 0]])
    with torch.autocast("cpu", dtype=torch.float16):
        mean_of_present(table(tokens), tokens != 0).sum().backward()
    assert table.weight.grad is not None
    torch.testing.assert_close(
        table.weight.grad, torch.tensor([[0.0, 0.0], [0.5, 0.5], [0.5, 0.5]])
    )


def test_numbers_are_pairs_of_value_and_index() -> None:
    values, indices = split_numbers(torch.tensor([[[0.5, 2.0]], [[1.5, 0.0]]]))
    assert values.tolist() == [[[0.5]], [[1.5]]]
    assert indices.tolist() == [[2], [0]]
