"""The first optimizer of a process imports several hundred modules: better before a test's clock runs."""

from __future__ import annotations

import functools
import warnings

import torch

from . import origins


@functools.cache
def warm_up() -> None:
    """Import what the first optimizer would import, once, quietly, without touching a random stream."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch without numpy warns here
        torch.optim.SGD([torch.zeros((), requires_grad=True)], lr=0.1)
    origins.install()
