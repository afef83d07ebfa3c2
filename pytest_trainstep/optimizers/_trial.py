"""One run of an optimizer over generated parameters and gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ._tensors import World, copies, same, values

if TYPE_CHECKING:
    from ._subject import Subject

Gradient = Callable[[int, int, Tensor], Tensor | None]  # of a step, a place, and the parameter there

_CURVATURE = 0.1


@dataclass(frozen=True, slots=True)
class Manner:
    """How an optimizer wants to be called.

    Attributes:
        closure: `step` needs a closure.
        graph: Gradients must have a graph of their own (second derivatives).
        sparse: Gradients must be sparse.
    """

    closure: bool = False
    graph: bool = False
    sparse: bool = False


class Trial:
    """Parameters, an optimizer over them, and steps with generated gradients.

    With `in_place` every gradient is written into the tensor of the one before, as after
    ``zero_grad(set_to_none=False)``.
    """

    in_place = False

    def __init__(
        self,
        subject: Subject,
        manner: Manner,
        params: Sequence[Tensor],
        *,
        groups: Sequence[int] | None = None,
        seed: int = 0,
        **overrides: Any,
    ) -> None:
        self.manner = manner
        self.params = list(params)
        self.seed = seed
        self.start = copies(self.params)
        torch.manual_seed(seed)
        self.optimizer = subject.build(grouped(self.params, groups) if groups else self.params, **overrides)
        self.done = 0
        self.given: list[Tensor | None] = []
        self.path: list[list[Tensor]] = []

    def step(self, gradient: Gradient | None = None) -> object:
        """Do one step with fresh gradients."""
        return self.optimizer.step(*self.prepare(gradient))

    def prepare(self, gradient: Gradient | None = None) -> list[Any]:
        """Give every parameter the gradient of the next step; return what `step` is to be called with."""
        make = gradient or self.ordinary
        drawn = [make(self.done, place, one) for place, one in enumerate(self.params)]
        self.done += 1
        self.hand_over(drawn)
        return [lambda: self.hand_over(drawn)] if self.manner.closure else []

    def steps(self, count: int, gradient: Gradient | None = None) -> list[Tensor]:
        """Do several steps; return copies of the parameters after them."""
        for _ in range(count):
            self.step(gradient)
            self.path.append(copies(self.params))
        return copies(self.params)

    def moved(self, place: int) -> bool:
        """Tell whether a parameter was elsewhere after any of the `steps`; steps by sign may lead back."""
        return any(not same(passed[place], self.start[place]) for passed in self.path)

    def differs(self, other: Trial, place: int) -> bool:
        """Tell whether a parameter went another way than in another run."""
        pairs = zip(self.path, other.path, strict=True)
        return any(not same(one[place], two[place]) for one, two in pairs)

    def step_on(self, loss_fn: Callable[[], Tensor]) -> None:
        """Do one step on a loss of one's own."""

        def closure() -> Tensor:
            with torch.enable_grad():
                for param in self.params:
                    param.grad = None
                loss = loss_fn()
                loss.backward(create_graph=self.manner.graph)  # type: ignore[no-untyped-call]
            for param in self.params if self.manner.sparse else []:
                assert param.grad is not None
                param.grad = param.grad.to_sparse(1)
            return loss.detach()

        closure()
        self.done += 1
        self.optimizer.step(*([closure] if self.manner.closure else []))

    def ordinary(self, step: int, place: int, param: Tensor) -> Tensor:
        """Return the gradient of ordinary size for a place and a step."""
        return values(tuple(param.shape), self.seed, 7919, step, place, dtype=param.dtype)

    def constant(self, _: int, place: int, param: Tensor) -> Tensor:
        """Return the same gradient in every step."""
        return self.ordinary(0, place, param)

    def hand_over(self, drawn: Sequence[Tensor | None]) -> Tensor:
        """Give these gradients to the parameters; return the loss that has them."""
        loss = torch.zeros(())
        for param, one in zip(self.params, drawn, strict=True):
            if one is not None:
                # Losses of several dtypes are added up; a complex one counts by its real part.
                loss = loss + (param.detach() * one.to_dense()).sum().real.to(torch.float32)
        with torch.enable_grad():
            self.given = [self._give(param, one) for param, one in zip(self.params, drawn, strict=True)]
        return loss

    def _give(self, param: Tensor, drawn: Tensor | None) -> Tensor | None:
        kept, param.grad = param.grad if self.in_place else None, None
        if drawn is None:
            return None
        if self.manner.sparse and drawn.layout is torch.strided and drawn.dim():
            drawn = drawn.to_sparse(1)
        if self.manner.graph:
            bent = (param * drawn).sum() + _CURVATURE / 2 * param.square().sum()
            bent.backward(create_graph=True)  # type: ignore[no-untyped-call]
        elif kept is not None and kept.layout is drawn.layout is torch.strided:
            param.grad = kept.copy_(drawn)
        else:
            param.grad = drawn if _expanded(drawn) else drawn.clone()
        return param.grad


def _expanded(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and any(stride == 0 for stride in tensor.stride())


def grouped(params: Sequence[Tensor], groups: Sequence[int]) -> list[dict[str, Any]]:
    """Deal parameters out to groups of these sizes."""
    dealt, at = [], 0
    for size in groups:
        dealt.append({"params": list(params[at : at + size])})
        at += size
    return dealt


def leaves(world: World, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Make the parameters of a world."""
    shapes = [shape for group in world.groups for shape in group]
    return [values(shape, world.seed, place, dtype=dtype).requires_grad_() for place, shape in enumerate(shapes)]
