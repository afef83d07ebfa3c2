"""Running an accumulation window and the whole batch at once, from the same weights and optimizer state."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch

from pytest_trainstep._errors import TrainStepUsageError

from . import compare, modes, naming
from .ears import Ear, listening
from .owners import tensors_of
from .stage import Stage, nudge, optimizers_of

_COARSE = 8.0  # how many rounding errors of a dtype coarser than float32 an update may be off


class WindowTrial:
    """One call of `step_fn` over micro-batches against one backward of `full_loss()`."""

    def __init__(
        self,
        model: Any,
        step_fn: Callable[[], object],
        full_loss: Callable[[], object],
        optimizers: Sequence[Any],
        max_norm: float | None,
    ) -> None:
        self.modules = naming.modules_of(model)
        self.slots = naming.slots_of(self.modules)
        self.step_fn, self.full_loss, self.optimizers, self.max_norm = step_fn, full_loss, optimizers, max_norm
        known = {id(one): one for one in (*optimizers, *optimizers_of(self.modules))}
        self.stage = Stage(self.modules, list(known.values()))
        self.whole = True  # the whole model in eval mode, not only its layers of chance
        self.precision = 0.0

    def run(self) -> list[compare.Gap]:
        """Go both ways; return how far apart they end."""
        try:
            return self._both()
        except Exception:  # noqa: BLE001 - some models cannot train in eval mode at all
            self.stage.restore()
        self.whole = False
        return self._both()

    def _both(self) -> list[compare.Gap]:
        self.start = compare.values_of(self.slots)
        self.ear = Ear([slot.tensor for slot in self.slots], keep=True)
        self.ear.meet = self.stage.adopt
        with modes.steady(self.modules, whole=self.whole) as mode, listening(self.ear):
            self.step_fn()
        self.precision = max([mode.precision, *map(_coarseness, self.slots)])
        mine = compare.values_of(self.slots)
        self.stage.restore()
        self.wanted = self._full()
        return compare.gaps(self.slots, self.start, mine, self.wanted)

    def _full(self) -> list[torch.Tensor | None]:
        with modes.steady(self.modules, whole=self.whole):
            if any(event.closure for event in self.ear.heard) or any(map(_needs_closure, self.optimizers)):
                for optimizer in self.optimizers:
                    optimizer.step(self._backward)
            else:
                self._backward()
                for optimizer in self.optimizers:
                    optimizer.step()
        return compare.values_of(self.slots)

    def _backward(self) -> torch.Tensor:
        with torch.enable_grad():
            for tensor in self._everything():
                tensor.grad = None
            loss = _checked(self.full_loss())
            loss.backward()  # type: ignore[no-untyped-call]
        params = [slot.tensor for slot in self.slots]
        if all(tensor.grad is None for tensor in self._everything()):
            raise TrainStepUsageError("full_loss() does not depend on any parameter of the model or of the optimizer")
        self.whole_gradient = Ear(params).gradients()
        for index in self.ear.present:  # zeros are not the same as no gradient: they decay, and momentum goes on
            if params[index].grad is None:
                params[index].grad = torch.zeros_like(params[index])
        if self.max_norm is not None:
            torch.nn.utils.clip_grad_norm_([one for one in params if one.grad is not None], self.max_norm)
        self.clipped_gradient = Ear(params).gradients()
        return loss

    def _everything(self) -> list[torch.Tensor]:
        held = [one for optimizer in self.optimizers for one in tensors_of(optimizer)]
        return [*(slot.tensor for slot in self.slots), *held]

    def noise(self) -> dict[str, float]:
        """Return how far the whole batch's update goes astray when the start is nudged by one rounding error.

        Nothing where it does not come to the same end a second time: then it is no measure of noise.
        """
        first = self.start, self.wanted
        kept = self.whole_gradient, self.clipped_gradient
        try:
            if any(compare.distances(self.slots, self._again(nudged=False), first).values()):
                return {}
            return compare.distances(self.slots, self._again(nudged=True), first)
        except Exception:  # noqa: BLE001 - a loss that is computed only once has no measure of its noise
            return {}
        finally:
            self.whole_gradient, self.clipped_gradient = kept

    def _again(self, *, nudged: bool) -> tuple[compare.Values, compare.Values]:
        self.stage.restore()
        if nudged:
            nudge([slot.tensor for slot in self.slots])
        return compare.values_of(self.slots), self._full()

    def rtol(self, asked: float) -> float:
        """Return the relative tolerance that the coarsest dtype at work allows."""
        return max(asked, _COARSE * self.precision)


def _coarseness(slot: naming.Slot) -> float:
    dtype = slot.tensor.dtype
    eps = torch.finfo(dtype).eps if dtype.is_floating_point else 0.0
    return eps if eps > torch.finfo(torch.float32).eps else 0.0


def _needs_closure(optimizer: Any) -> bool:
    step = getattr(type(optimizer).step, "__wrapped__", type(optimizer).step)
    closure = inspect.signature(step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


def _checked(loss: object) -> torch.Tensor:
    if not isinstance(loss, torch.Tensor):
        msg = f"full_loss() must return the loss of the whole batch as a tensor, not {type(loss).__name__}"
        raise TrainStepUsageError(msg)
    if loss.numel() != 1:
        shape = tuple(loss.shape)
        msg = f"full_loss() must return a single number, not a tensor of shape {shape}: reduce it (mean, sum)"
        raise TrainStepUsageError(msg)
    if not loss.requires_grad:
        msg = "full_loss() needs no gradient: compute it from the model with gradients on, and do not detach it"
        raise TrainStepUsageError(msg)
    return loss
