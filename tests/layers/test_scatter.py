import torch

from recbole_midpg.layers.scatter import scatter_mean, scatter_softmax

# Index 1 has no row, index 3 one.
INDEX = torch.tensor([2, 0, 2, 3, 0, 2])


def rows(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(len(INDEX), 2, dtype=torch.float64, generator=generator)


def test_means_are_those_of_each_index():
    src = torch.tensor([[1.0, 0.0], [2.0, 4.0], [3.0, 6.0], [5.0, 5.0], [4.0, 0.0], [2.0, 3.0]])
    expected = torch.tensor([[3.0, 2.0], [0.0, 0.0], [2.0, 3.0], [5.0, 5.0], [0.0, 0.0]])
    torch.testing.assert_close(scatter_mean(src, INDEX, dim_size=5), expected)


def test_a_softmax_is_that_of_each_index():
    src = rows()
    result = scatter_softmax(src, INDEX)
    for index in INDEX.unique():
        chosen = index == INDEX
        torch.testing.assert_close(result[chosen], src[chosen].softmax(dim=0))


def test_a_softmax_of_large_numbers_is_finite():
    src = torch.tensor([[1e4], [-1e4], [1e4], [0.0], [-1e4], [9999.0]])
    result = scatter_softmax(src, INDEX)
    assert result.isfinite().all()
    torch.testing.assert_close(result[INDEX == 0].flatten(), torch.tensor([0.5, 0.5]))


def test_gradients_are_those_of_the_formulas():
    src = rows().requires_grad_()
    torch.autograd.gradcheck(lambda x: scatter_mean(x, INDEX, dim_size=5), src)
    torch.autograd.gradcheck(lambda x: scatter_softmax(x, INDEX), src)


def test_no_rows_give_no_softmax():
    none = torch.zeros(0, 2)
    assert scatter_softmax(none, torch.zeros(0, dtype=torch.long)).shape == (0, 2)
    assert scatter_mean(none, torch.zeros(0, dtype=torch.long), dim_size=3).tolist() == [[0, 0]] * 3
