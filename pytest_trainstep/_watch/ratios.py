"""The numbers behind the audit's pictures: update ratio and gradient of each parameter, at steps 1, 2, 4, 8, ..."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from pytest_trainstep._heard import Curve

if TYPE_CHECKING:
    from .kept import Kept

MOST = 48  # parameters in a picture
LOSSES = 64  # points of a loss curve


@torch.no_grad()
def add(curves: list[Curve], kept: Kept, step: int, name: Callable[[int], str]) -> None:
    """Add one point for each of the first parameters; called after the step, before the copies go."""
    found = [(index, kept.before(index)) for index in range(min(MOST, len(kept.params)))]
    pairs = [(index, old) for index, old in found if old is not None and old.dtype.is_floating_point]
    if not pairs:
        return
    if not curves:
        curves += [Curve(name=name(index), shape=tuple(kept.params[index].shape)) for index, _ in pairs]
    if len(curves) != len(pairs):
        return  # parameters were added since; the picture shows the beginning
    olds = [old for _, old in pairs]
    news = [kept.params[index].detach() for index, _ in pairs]
    if any(old.shape != new.shape or old.dtype != new.dtype for old, new in zip(olds, news, strict=True)):
        return
    changes = _norms([new.float() - old.float() for old, new in zip(olds, news, strict=True)])
    weights = _norms([old.float() for old in olds])
    grads = [_gradient(kept.params[index]) for index, _ in pairs]
    for curve, change, weight, grad in zip(curves, changes, weights, grads, strict=True):
        ratio = change / max(weight, 1e-12) if change > 0 else None
        curve.points.append((step, ratio, grad))


def _norms(tensors: list[torch.Tensor]) -> list[float]:
    return [float(norm) for norm in torch._foreach_norm(tensors)]  # noqa: SLF001 - used by torch.nn.utils, and no public name


def _gradient(tensor: Any) -> float | None:
    grad = tensor.grad if tensor.is_leaf else None
    if grad is None or grad.layout is not torch.strided or not grad.dtype.is_floating_point:
        return None
    return float(grad.detach().float().norm()) / float(max(1, grad.numel()) ** 0.5)


class Losses:
    """The values that backward passes began with: at most `LOSSES` of them, evenly spread."""

    def __init__(self) -> None:
        self.points: list[tuple[int, float]] = []
        self._stride = 1

    def hear(self, number: int, roots: Any) -> None:
        """Keep the value of a backward pass of this number, if it begins at one scalar on the CPU."""
        root = roots if isinstance(roots, torch.Tensor) else next(iter(roots), None)
        if (number - 1) % self._stride or type(root) is not torch.Tensor:
            return
        if root.numel() != 1 or root.device.type != "cpu" or not root.dtype.is_floating_point:
            return
        self.points.append((number, float(root.detach())))
        if len(self.points) > LOSSES:
            self._stride *= 2
            self.points = [point for point in self.points if (point[0] - 1) % self._stride == 0]
