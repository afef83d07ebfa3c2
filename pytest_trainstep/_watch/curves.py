"""What a training does, step by step, in a few numbers: loss, gradient norm, update norm, learning rates.

Some gradients are zero but for rounding (a bias before a batch norm, the bias of attention's keys), and Adam and its
kin make steps of full size of them, in directions that change with the number of threads. So each element counts
as far as its gradient stands out of what rounding leaves beside the largest one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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
    options: list[dict[str, list[Any]]] = field(default_factory=list)  # what else optimizers were told, by group
    weights: dict[str, list[float]] = field(default_factory=dict)  # norm and projection, at the end


class _Listener(Listener):
    """Adds up the gradients that optimizer steps use, and keeps the loss of the last backward pass."""

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self.own = {id(tensor): place for place, tensor in enumerate(tensors)}
        self.begin()

    def begin(self) -> None:
        """A new call of the step."""
        self.squares: float | None = None
        self.trust: dict[int, torch.Tensor] = {}  # by place: how far each element's gradient is no rounding
        self.lrs: list[float] = []
        self.options: dict[str, list[Any]] = {}
        self.loss: float | None = None

    def before_step(self, optimizer: Any, /, args: Any, kwargs: Any) -> None:  # noqa: ARG002 - the signature of every listener
        grads = {
            self.own[id(tensor)]: (_dense(tensor.grad), tensor.dtype)
            for group in optimizer.param_groups
            for tensor in group["params"]
            if id(tensor) in self.own and tensor.grad is not None
        }
        self.squares = (self.squares or 0.0) + sum(float(grad.square().sum()) for grad, _ in grads.values())
        largest = max((float(grad.abs().max()) for grad, _ in grads.values() if grad.numel()), default=0.0)
        for place, (grad, dtype) in grads.items():
            self.trust[place] = self.trust.get(place, 1.0) * _trust(grad, largest, dtype)
        self.lrs += [float(group["lr"]) for group in optimizer.param_groups if "lr" in group]
        _note(self.options, optimizer)

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
    kept = [torch.ones(()).double() for _ in tensors]  # the trust of all steps so far
    with listener:
        for _ in range(steps):
            before = [_values(tensor) for tensor in tensors]
            listener.begin()
            returned = loss_of(step_fn())
            curves.loss.append(listener.loss if returned is None else returned)
            curves.gradient.append(None if listener.squares is None else math.sqrt(listener.squares))
            kept = [all_ * listener.trust.get(place, 1.0) for place, all_ in enumerate(kept)]
            curves.update.append(_distance(before, tensors, listener.trust))
            curves.size.append(math.sqrt(sum(_norm(*pair) ** 2 for pair in zip(tensors, kept, strict=True))))
            curves.lr.append(listener.lrs)
            curves.options.append(listener.options)
    for slot, trust in zip(slots, kept, strict=True):
        curves.weights[slot.name] = [_norm(slot.tensor, trust), _projection(slot.tensor, trust)]
    return curves


_ROUNDING = 512  # times the resolution of the dtype: smaller parts of the largest gradient may be rounding
_AT_MOST = 0.05


def _trust(grad: torch.Tensor, largest: float, dtype: torch.dtype) -> torch.Tensor:
    """Return a weight for each element, from 0 (rounding) to 1; smooth, so that nothing hangs on a limit."""
    if not 0.0 < largest < math.inf:
        return torch.ones((), dtype=torch.float64, device=grad.device)
    limit = min(_ROUNDING * torch.finfo(dtype).eps, _AT_MOST) * largest
    power = (grad / limit) ** 4
    return torch.nan_to_num(power / (1 + power), nan=1.0)  # infinite by infinite


def _note(options: dict[str, list[Any]], optimizer: Any) -> None:
    """Add the numbers that an optimizer was given, besides its lr."""
    for group in optimizer.param_groups:
        for key in optimizer.defaults:
            values = value if isinstance(value := group.get(key), tuple | list) else [value]
            if key != "lr" and all(isinstance(one, int | float) and not isinstance(one, bool) for one in values):
                options.setdefault(key, []).append(
                    [float(one) for one in values] if len(values) > 1 else float(values[0])
                )


def _values(tensor: torch.Tensor) -> torch.Tensor:
    if not readable(tensor):
        return torch.zeros(0)
    values = local(tensor)
    return (torch.view_as_real(values) if values.dtype.is_complex else values).double().clone()


def _dense(grad: torch.Tensor) -> torch.Tensor:
    return _values(grad.to_dense() if grad.layout is not torch.strided else grad)


def _distance(
    before: Sequence[torch.Tensor], tensors: Sequence[torch.Tensor], trust: Mapping[int, torch.Tensor]
) -> float:
    pairs = [(place, old, _values(now)) for place, (old, now) in enumerate(zip(before, tensors, strict=True))]
    squares = ((new - old).square() * trust.get(place, 1.0) for place, old, new in pairs if new.shape == old.shape)
    return math.sqrt(sum(float(square.sum()) for square in squares))


def _norm(tensor: torch.Tensor, trust: torch.Tensor) -> float:
    return math.sqrt(float((_values(tensor).square() * trust).sum()))


def _projection(tensor: torch.Tensor, trust: torch.Tensor) -> float:
    """The scalar product with a fixed, slowly turning direction: tells permutations apart, tolerates noise."""
    flat = (_values(tensor) * trust).reshape(-1)
    direction = torch.cos(torch.arange(flat.numel(), dtype=torch.float64, device=flat.device) * 1.618)
    return float((flat * direction).sum())
