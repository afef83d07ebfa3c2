"""What lives for one execution of a test: the bridge to Hypothesis' own clean-up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from hypothesis import currently_in_test_context, register_random

try:
    from hypothesis.control import cleanup
except ImportError:  # it is documented in its source only; test_hypothesis_names.py is its canary
    CLEANUP: Callable[[Callable[[], Any]], None] | None = None
else:
    CLEANUP = cleanup


T = TypeVar("T")


def at_end(undo: Callable[[], None]) -> bool:
    """Call ``undo`` when this execution of the test ends, however it ends; false where there is no such end."""
    if CLEANUP is None or not currently_in_test_context():
        return False
    CLEANUP(undo)
    return True


def seeded(seed: int, make: Callable[[], T]) -> T:
    """Return what ``make`` returns with torch's stream at this seed, and put the stream back."""
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        return make()
    finally:
        torch.set_rng_state(state)


class TorchRandom:
    """Torch's stream of the CPU, in the manner of ``random``, for Hypothesis to seed and put back."""

    def seed(self, seed: int) -> None:
        """Seed it."""
        torch.default_generator.manual_seed(seed)

    def getstate(self) -> torch.Tensor:
        """Return its state."""
        return torch.get_rng_state()

    def setstate(self, state: torch.Tensor) -> None:
        """Put a state back."""
        torch.set_rng_state(state)


TORCH_RANDOM = TorchRandom()  # Hypothesis holds it weakly


def warm_up() -> None:
    """Let torch import what its first optimizer imports (seconds), and register its stream, outside any example."""
    import warnings

    register_random(TORCH_RANDOM)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without numpy, torch warns once
        weight = torch.nn.Parameter(torch.zeros(1))
        weight.grad = torch.ones(1)
        torch.optim.SGD([weight], lr=0.1).step()
