"""Where autocast's smaller types are not exact enough."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """Widen float16 and bfloat16 to float32; other types stay as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
