"""Types that are widened, and those that are not."""

import pytest
import torch

from recbole_midpg.layers.precision import at_least_float32


@pytest.mark.parametrize(
    ("dtype", "widened"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_smaller_types_become_float32_and_others_stay(dtype, widened):
    values = torch.ones(3, dtype=dtype)
    assert at_least_float32(values).dtype == widened
    assert (at_least_float32(values) is values) == (dtype == widened)
