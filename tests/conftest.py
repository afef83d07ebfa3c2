"""One thread: the models here are tiny, and threads that wait for each other are all their time."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    import torch

    torch.set_num_threads(1)
