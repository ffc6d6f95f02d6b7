"""Blocks that are copied beside the work of a GPU."""

import torch

from recbole_midpg.training.side_stream import SideStream, one_ahead
from tests.gpu.runs import only_on_a_gpu


@only_on_a_gpu
def test_blocks_arrive_on_a_gpu_as_they_were_sent():
    device = torch.device("cuda")
    numbers = [torch.randint(-128, 127, (100_000,), dtype=torch.int8) for _ in range(20)]
    sent = ((None, {"number": column, "price": column.float()}) for column in numbers)
    for column, (_, arrived) in zip(numbers, one_ahead(sent, SideStream(device)), strict=True):
        busy = torch.rand(2000, 2000, device=device)
        for _ in range(10):
            busy = busy @ busy / 1000
        assert arrived["number"].dtype == torch.int64
        assert torch.equal(arrived["number"].cpu(), column.long())
        assert torch.equal(arrived["price"].cpu(), column.float())
