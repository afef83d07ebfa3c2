"""Tensors that an optimizer of a suite holds and nobody else: no model can ever give them a gradient."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch

from . import registry
from .owners import tensors_of

if TYPE_CHECKING:
    from pytest_trainstep._heard import Heard

    from .kept import Kept


class Orphans:
    """Looks for them from step to step. Holds identities only."""

    def __init__(self, optimizer: Any, *, built_here: bool) -> None:
        self._lonely = registry.of_models(tensors_of(optimizer)) if built_here else set()
        """Tensors that a model had when this was built, and that never had a gradient at a step."""
        self._loose = built_here and not self._lonely

    def look(self, optimizer: Any, kept: Kept, reached: set[int], heard: Heard) -> None:
        """Count tensors without any gradient that nobody but the optimizer holds.

        Once something has moved, a tensor that no model had may be meant to stand alone.
        """
        still = not any(kept.settled)
        if not (self._lonely or self._loose or still):
            return
        waiting = {
            id(tensor)
            for tensor in kept.params
            if tensor.requires_grad and tensor.is_leaf and tensor.grad is None and id(tensor) not in reached
        }
        self._lonely &= waiting
        number = _number(kept.params, reached) if self._loose else None
        candidates = waiting if still else self._lonely
        kept.params = []  # our own list would be one holder more
        found = _count_orphans(optimizer, candidates if number is None else {*candidates, number})
        kept.params = tensors_of(optimizer)
        heard.clockwork = number is not None and any(found) and not self._lonely
        heard.orphans = 0 if heard.clockwork else sum(found)
        for group, orphans in zip(heard.groups, found, strict=True):
            group.orphans = orphans

    def close(self, kept: Kept, heard: Heard) -> None:
        """Forget what was found before something moved, but for tensors that a model had."""
        if any(kept.settled):
            heard.orphans = min(heard.orphans, len(self._lonely))


def _number(params: list[Any], reached: set[int]) -> int | None:
    """Return the identity of the one tensor there is, if that is a single number that never got a gradient."""
    if len(params) != 1 or params[0].grad is not None or id(params[0]) in reached:
        return None
    return id(params[0]) if _is_number(params[0]) else None


def _is_number(tensor: Any) -> bool:
    return not torch.nn.parameter.is_lazy(tensor) and bool(tensor.is_leaf) and tensor.numel() <= 1


def _count_orphans(optimizer: Any, candidates: set[int]) -> list[int]:
    """Count those of the tensors of each group that nothing else in Python refers to."""
    return [_count(group["params"], optimizer.state, candidates) for group in optimizer.param_groups]


def _count(params: list[Any], state: Any, candidates: set[int]) -> int:
    orphans = 0
    for tensor in params:
        if id(tensor) in candidates and registry.owner(tensor) is None:
            held = 3 + (tensor in state)  # the list, this loop, the call below
            orphans += sys.getrefcount(tensor) <= held
    return orphans
