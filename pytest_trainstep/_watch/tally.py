"""What a test trains, counted with as little as possible: its optimizer steps, what stood where before, and where.

For a later run of the same test to begin where this one began, the weights and the optimizer state that outlive it (a
model of the module, a parameter of the test) are kept from before its first step. What dies with the test is dropped.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Collection
from typing import Any

import torch

from . import faults, listeners, restore, snapshots, taps


def most_steps(control: int) -> int:
    """Return how many optimizer steps a run with a fault may take, whose control took so many."""
    return 10 * control + 100


class Stopped(BaseException):
    """Ends a training that a fault has made endless. No `except Exception` of the user's may swallow it."""

    __module__ = "pytest_trainstep"


class Starts:
    """The tensors that a test's optimizers hold, as they were before their first step in it."""

    def __init__(self) -> None:
        self._tensors: list[tuple[weakref.ref[Any], torch.Tensor]] = []
        self._optimizers: list[tuple[weakref.ref[Any], Callable[[], Any]]] = []
        self._seen: set[int] = set()

    def meet(self, optimizer: Any) -> None:
        """Keep what this optimizer holds, if it is not known yet."""
        if id(optimizer) in self._seen:
            return
        self._seen.add(id(optimizer))
        for tensor in (tensor for group in faults.groups(optimizer) for tensor in group):
            if id(tensor) not in self._seen and snapshots.readable(tensor):
                self._seen.add(id(tensor))
                self._tensors.append((weakref.ref(tensor), tensor.detach().clone()))
        state = getattr(optimizer, "state", None)
        if state:  # one that was built for this test has none yet
            self._optimizers.append((weakref.ref(optimizer), restore.keep(state)))

    def prune(self) -> None:
        """Let go of what is no longer alive."""
        self._tensors = [(ref, values) for ref, values in self._tensors if ref() is not None]
        self._optimizers = [(ref, back) for ref, back in self._optimizers if ref() is not None]

    @property
    def empty(self) -> bool:
        """Nothing that is kept has outlived its test."""
        return not (self._tensors or self._optimizers)

    @property
    def size(self) -> int:
        """Return the bytes kept."""
        return sum(values.numel() * values.element_size() for _, values in self._tensors)

    def forget(self) -> None:
        """Let go of everything."""
        self._tensors, self._optimizers = [], []

    def restore(self) -> None:
        """Put what is still alive back to where it was."""
        self.prune()
        with torch.no_grad():
            for ref, values in self._tensors:
                tensor = ref()
                if tensor is not None:
                    faults.write(tensor, values.clone())
                    if tensor.is_leaf:
                        tensor.grad = None
            for _, back in self._optimizers:
                back()


class Tally(listeners.Listener):
    """Counts the optimizer steps of what runs, looks at the first, and ends a run that has too many."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.limit: int | None = None
        self.starts: Starts | None = None
        self.at_first: Callable[[Any], object] | None = None
        self.updated: bool | None = None
        """Whether a step has changed a weight; None: nobody asks. Setting it to False asks."""
        self._before: list[tuple[torch.Tensor, torch.Tensor]] = []

    def install(self) -> None:
        """Attach to torch, until `remove`: every step of every thread counts."""
        taps.overhear(self)

    def remove(self) -> None:
        """Undo `install`."""
        taps.detach(self)

    def before_step(self, optimizer: Any, /, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """See `taps.Watcher`."""
        del args, kwargs
        self.steps += 1
        if self.starts is not None:
            self.starts.meet(optimizer)
        if self.at_first is not None:
            look, self.at_first = self.at_first, None
            look(optimizer)
        if self.updated is False:
            held = (tensor for group in faults.groups(optimizer) for tensor in group if snapshots.readable(tensor))
            self._before = [(tensor, tensor.detach().clone()) for tensor in held]
        if self.limit is not None and self.steps > self.limit:
            raise Stopped(f"stopped after {self.limit} optimizer steps")

    def after_step(self, optimizer: Any, /) -> None:
        """See `taps.Watcher`."""
        del optimizer
        if self.updated is False:
            self.updated = any(faults.differ(tensor, before) for tensor, before in self._before)
            self._before = []


def living(kept: Collection[Starts]) -> list[Starts]:
    """Drop what has died; return those of which something is left."""
    for starts in kept:
        starts.prune()
    return [starts for starts in kept if not starts.empty]


def within_budget(kept: Collection[Starts]) -> bool:
    """Tell whether what is alive may stay; what only waits for the garbage collector may not count."""
    if sum(starts.size for starts in kept) <= snapshots.BUDGET:
        return True
    gc.collect()
    return sum(starts.size for starts in living(kept)) <= snapshots.BUDGET
