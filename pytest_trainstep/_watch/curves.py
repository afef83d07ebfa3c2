"""What a training does, step by step, in a few numbers: loss, gradient norm, update norm, learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .listeners import Listener
from .naming import modules_of, slots_of
from .snapshots import local, readable
from .trials import loss_of, seed


@dataclass(slots=True)
class Curves:
    """One number for each call of the step; None where there is none to give."""

    loss: list[float | None] = field(default_factory=list)
    gradient: list[float | None] = field(default_factory=list)
    update: list[float | None] = field(default_factory=list)
    size: list[float] = field(default_factory=list)  # norm of all weights after the call
    lr: list[list[float]] = field(default_factory=list)
    weights: dict[str, list[float]] = field(default_factory=dict)  # norm and projection, at the end


class _Listener(Listener):
    """Adds up the gradients that optimizer steps use, and keeps the loss of the last backward pass."""

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self.own = {id(tensor) for tensor in tensors}
        self.begin()

    def begin(self) -> None:
        """A new call of the step."""
        self.squares: float | None = None
        self.lrs: list[float] = []
        self.loss: float | None = None

    def before_step(self, optimizer: Any, /, args: Any, kwargs: Any) -> None:  # noqa: ARG002 - the signature of every listener
        grads = [
            tensor.grad
            for group in optimizer.param_groups
            for tensor in group["params"]
            if id(tensor) in self.own and tensor.grad is not None
        ]
        self.squares = (self.squares or 0.0) + sum(_square(grad) for grad in grads)
        self.lrs += [float(group["lr"]) for group in optimizer.param_groups if "lr" in group]

    def before_backward(self, roots: Any) -> object:
        root = roots if isinstance(roots, torch.Tensor) else roots[0]
        if isinstance(root, torch.Tensor) and root.numel() == 1:
            self.loss = float(root.detach().real)
        return None


def measure(model: Any, step_fn: Callable[[], object], steps: int, start: int) -> Curves:
    """Seed every stream with `start` and run the step; return what it did."""
    slots = slots_of(modules_of(model))
    tensors = [slot.tensor for slot in slots]
    listener, curves = _Listener(tensors), Curves()
    seed(dict.fromkeys(("python", "numpy", "torch"), start))
    with listener:
        for _ in range(steps):
            before = [_values(tensor) for tensor in tensors]
            listener.begin()
            returned = loss_of(step_fn())
            curves.loss.append(listener.loss if returned is None else returned)
            curves.gradient.append(None if listener.squares is None else math.sqrt(listener.squares))
            curves.update.append(_distance(before, tensors))
            curves.size.append(math.sqrt(sum(_norm(tensor) ** 2 for tensor in tensors)))
            curves.lr.append(listener.lrs)
    curves.weights = {slot.name: [_norm(slot.tensor), _projection(slot.tensor)] for slot in slots}
    return curves


def _values(tensor: torch.Tensor) -> torch.Tensor:
    if not readable(tensor):
        return torch.zeros(0)
    values = local(tensor)
    return (torch.view_as_real(values) if values.dtype.is_complex else values).double().clone()


def _square(grad: torch.Tensor) -> float:
    dense = grad.to_dense() if grad.layout is not torch.strided else grad
    return float(_values(dense).square().sum())


def _distance(before: Sequence[torch.Tensor], tensors: Sequence[torch.Tensor]) -> float:
    pairs = [(old, _values(now)) for old, now in zip(before, tensors, strict=True)]
    return math.sqrt(sum(float((new - old).square().sum()) for old, new in pairs if new.shape == old.shape))


def _norm(tensor: torch.Tensor) -> float:
    return float(_values(tensor).norm())


def _projection(tensor: torch.Tensor) -> float:
    """The scalar product with a fixed, slowly turning direction: tells permutations apart, tolerates noise."""
    flat = _values(tensor).reshape(-1)
    direction = torch.cos(torch.arange(flat.numel(), dtype=torch.float64, device=flat.device) * 1.618)
    return float((flat * direction).sum())
