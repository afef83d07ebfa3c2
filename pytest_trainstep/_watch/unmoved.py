"""Why a parameter group did not move in a step of a suite: how its gradients stand, and what a replay says."""

from __future__ import annotations

import math
from typing import Any

import torch

from pytest_trainstep._heard import Group

from . import measures, shadow
from .kept import measurable

_REPLAYED = 6  # tensors


def tally(group: Group, tensors: list[Any], optimizer: Any, *, reached: set[int], alive: bool, rewritten: bool) -> None:
    """Count how the gradients of a group that has not moved stand at this step.

    Args:
        group: What is known of it; written into.
        tensors: Its tensors.
        optimizer: Has just stepped.
        reached: Identities of the tensors that had a gradient after a backward pass.
        alive: One of the gradients of this group was not zero then.
        rewritten: The step wrote into the gradients, so that a zero there may be its own work.
    """
    group.frozen = sum(not tensor.requires_grad for tensor in tensors)
    group.dtype = str(tensors[0].dtype).removeprefix("torch.") if tensors else group.dtype
    usable = []
    for tensor in tensors:
        stand = _stand(group, tensor, reached=id(tensor) in reached, alive=alive, rewritten=rewritten)
        group.stands[stand] = group.stands.get(stand, 0) + 1
        if stand == "usable":
            usable.append(tensor)
    if usable and not group.wrote and group.lr is not None and group.lr[1] != 0:
        _replay(group, usable[:_REPLAYED], optimizer)


def _stand(group: Group, tensor: Any, *, reached: bool, alive: bool, rewritten: bool) -> str:
    grad = tensor.grad if tensor.is_leaf else None
    if grad is None:
        return _absent(tensor, reached=reached)
    if not measurable(grad) and grad.layout is not torch.sparse_coo:
        return "usable"
    largest = measures.largest([grad])[0]
    group.grad_max = max(group.grad_max or 0.0, largest) if math.isfinite(largest) else largest
    if not math.isfinite(largest):
        return "non-finite"
    if largest or (rewritten and (alive or not reached)):
        return "usable"
    lost = "scaled-to-zero" if measures.signs_left(grad) else "cleared"
    return lost if alive and reached else "zero"


def _absent(tensor: Any, *, reached: bool) -> str:
    if not tensor.requires_grad:
        return "frozen"
    if reached:
        return "cleared"
    return "hooked" if getattr(tensor, "_post_accumulate_grad_hooks", None) else "none"


def _replay(group: Group, tensors: list[Any], optimizer: Any) -> None:
    verdicts = shadow.verdicts(optimizer, tensors)
    group.wrote = verdicts[0].kind
    group.closure_helps = any(verdict.closure_helps for verdict in verdicts)
    lrs = [verdict.smallest_lr for verdict in verdicts if verdict.smallest_lr is not None]
    group.smallest_lr = min(lrs, default=None)
