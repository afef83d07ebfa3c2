"""Forward passes that leave no trace: in eval mode, each from the same random state and the same buffers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from . import nests
from .restore import Memory


class Runner:
    """Runs `forward(model, batch)` again and again as if each time were the first."""

    def __init__(self, model: Any, modules: Mapping[str, nn.Module], forward: Callable[[Any, Any], Any]) -> None:
        self.model = model
        self.modules = modules
        self.forward = forward
        self.was_training = False
        self._each: Memory | None = None

    @contextmanager
    def in_eval_mode(self) -> Iterator[None]:
        """Switch every module to eval mode, and put modes, buffers, weights and random streams back afterwards."""
        whole = Memory(list(self.modules.values()))
        inner = [one for module in self.modules.values() for one in module.modules()]
        self.was_training = any(one.training for one in inner)
        for one in inner:
            one.training = False  # not `eval()`: an override of the user's may do more than that
        self._each = Memory((), (), [tensor for one in inner for tensor in one.buffers(recurse=False)])
        try:
            yield
        finally:
            whole.restore()

    def run(self, batch: Any) -> Any:
        """Return the output for a batch; the random streams and buffers are those of the first time."""
        if self._each is not None:
            self._each.restore()
        return self.forward(self.model, batch)

    def in_double(self) -> Runner | None:
        """Return a runner of a float64 copy, None where the model cannot be copied."""
        try:
            twin = copy.deepcopy(self.model)
            modules = dict(enumerate(twin.values())) if isinstance(twin, Mapping) else {"": twin}
            for module in modules.values():
                module.double()
        except Exception:  # noqa: BLE001 - a model that cannot be copied is judged as it is
            return None
        other = Runner(twin, {str(name): module for name, module in modules.items()}, self.forward)
        other._each = Memory((), (), [tensor for module in modules.values() for tensor in module.buffers()])
        return other


def in_double(batch: Any) -> Any:
    """Copy a batch with its floating-point tensors in float64."""
    return nests.copied(batch, lambda tensor: tensor.double() if tensor.is_floating_point() else tensor.clone())


def default_forward(model: Any, batch: Any) -> Any:
    """Call the model as one would: a tuple is its arguments, a mapping its keyword arguments, all else one argument."""
    if isinstance(batch, tuple):
        return model(*batch)
    if isinstance(batch, Mapping):
        return model(**batch)
    return model(batch)


def sensitivities(
    runner: Runner, batch: Any, size: int, axis: int, rows: list[int]
) -> Iterator[tuple[int, list[float], list[Any]]]:
    """Yield for each of these output rows the largest gradient at each sample (or position), and the gradients.

    Yields nothing where the output cannot be differentiated by the batch.
    """
    leaves: list[torch.Tensor] = []

    def leaf(tensor: torch.Tensor) -> torch.Tensor:
        new = tensor.clone()
        if new.is_floating_point() and new.dim() > axis and new.shape[axis] == size:
            leaves.append(new.requires_grad_())
        return new

    fresh = nests.copied(batch, leaf)
    if not leaves:
        return
    try:
        with torch.enable_grad():
            parts = [
                one for one in nests.tensors_in(runner.run(fresh)) if one.requires_grad and one.is_floating_point()
            ]
        for row in rows:
            seed = sum(_weighted(part, row, size, axis) for part in parts)
            if not isinstance(seed, torch.Tensor):
                return
            grads = torch.autograd.grad(seed, leaves, retain_graph=True, allow_unused=True)
            yield row, _largest(grads, size, axis), list(grads)
    except RuntimeError:  # an operation without a derivative
        return


def _weighted(part: torch.Tensor, row: int, size: int, axis: int) -> Any:
    if part.dim() <= axis or part.shape[axis] != size:
        return 0
    values = part.select(axis, row).flatten()
    # uneven weights, so that rows which always sum to the same (a softmax) do not cancel
    return (values * torch.linspace(0.5, 1.5, values.numel(), dtype=values.dtype, device=values.device)).sum()


def _largest(grads: Any, size: int, axis: int) -> list[float]:
    found = [0.0] * size
    for grad in grads:
        if grad is not None:
            moved = grad.detach().nan_to_num().abs().movedim(axis, 0).reshape(size, -1)
            found = [max(a, float(b)) for a, b in zip(found, moved.amax(1), strict=True)]
    return found


def nudged(batch: Any, grads: list[Any], place: int, size: int, axis: int) -> Any:
    """Return a copy of the batch in which one sample has gone a small step along its gradient."""
    left = iter(grads)

    def nudge(tensor: torch.Tensor) -> torch.Tensor:
        new = tensor.clone()
        if new.is_floating_point() and new.dim() > axis and new.shape[axis] == size:
            grad = next(left)
            if grad is not None:
                step = 0.1 * float(new.std()) if new.numel() > 1 else 0.1
                new.select(axis, place).add_(grad.select(axis, place).sign(), alpha=step or 0.1)
        return new

    return nests.copied(batch, nudge)
