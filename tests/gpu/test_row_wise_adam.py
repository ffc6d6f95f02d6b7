"""Row-wise Adam in a CUDA graph."""

import torch

from tests.gpu.runs import only_on_a_gpu
from tests.training.test_row_wise_adam import Training


@only_on_a_gpu
def test_a_graph_gives_the_weights_of_the_cpu_and_the_same_bits_twice() -> None:
    on_cpu = Training(capturable=True)
    on_cpu.train(range(3))
    on_cpu.train_with_incidents(range(3, 430))
    results = []
    for _ in range(2):
        on_gpu = Training(capturable=True, device="cuda")
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            on_gpu.train(range(3))
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            on_gpu.python_step()
        on_gpu.step = graph.replay
        on_gpu.train_with_incidents(range(3, 430))
        results.append(on_gpu.result())
    torch.testing.assert_close(*results, rtol=0, atol=0)
    torch.testing.assert_close(results[0], on_cpu.result(), rtol=1e-9, atol=1e-12)
