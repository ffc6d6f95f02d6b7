"""Fixtures for the tests of models."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Toy models are too small for a second thread to help."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
