import numpy as np
import pytest

from recbole_midpg.generated.permutation import Permutation


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 100, 1_024, 10_007])
def test_every_number_once(size):
    permutation = Permutation(np.random.default_rng(0), size)
    assert sorted(permutation(np.arange(size)).tolist()) == list(range(size))


def test_looks_random():
    permutation = Permutation(np.random.default_rng(0), 108_649_408)
    mapped = permutation(np.arange(50_000))
    assert len(np.unique(mapped)) == 50_000
    assert abs(np.corrcoef(mapped[:-1], mapped[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(np.arange(50_000), mapped)[0, 1]) < 0.02
    assert np.abs(np.histogram(mapped, 10, (0, 108_649_408))[0] - 5_000).max() < 400


def test_pieces_make_the_whole():
    permutation = Permutation(np.random.default_rng(1), 1_000)
    pieces = [permutation(np.arange(start, start + 100)) for start in range(0, 1_000, 100)]
    np.testing.assert_array_equal(np.concatenate(pieces), permutation(np.arange(1_000)))
