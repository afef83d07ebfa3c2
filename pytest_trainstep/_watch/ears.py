"""What happens inside one call: backward passes, optimizer steps, and how the gradients stand at each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from . import owners, sites, taps

Gradients = list[torch.Tensor | None]

BUDGET = 256 * 2**20  # bytes of gradients that are kept


@dataclass(slots=True)
class Heard:
    """One event; norms are over the gradients of all parameters listened to."""

    kind: str  # backward, step, skip
    at: str | None
    name: str = ""  # of the optimizer
    holds: frozenset[int] = frozenset()  # numbers of the parameters that the optimizer holds
    lr: dict[int, float] = field(default_factory=dict)  # by number of the parameter
    decay: dict[int, float] = field(default_factory=dict)
    maximize: bool = False
    had_state: bool = False
    closure: bool = False
    before: float = 0.0  # norm of the gradients as the event began
    after: float = 0.0  # and as it ended
    passes: int = 0  # backward passes that are in the gradients
    left_over: bool = False  # something from before the call, or already used by a step, is in them too


class Ear:
    """A watcher that listens to the parameters `tensors`; `keep` keeps the gradient of every pass."""

    def __init__(self, tensors: Sequence[torch.Tensor], *, keep: bool = False) -> None:
        self.notes: list[str] = []
        self.tensors = list(tensors)
        self.number = {id(tensor): number for number, tensor in enumerate(self.tensors)}
        self.heard: list[Heard] = []
        self.parts: list[Gradients] | None = [] if keep else None  # what each backward pass added
        self.consumed: Gradients | None = None  # the gradients at the first optimizer step
        self.present: set[int] = set()  # parameters that had a gradient at an optimizer step
        self.meet: Callable[[Any], None] = lambda _: None  # is told each optimizer before its step
        self._keep = keep
        self._depth = 0
        self._passes = 0
        self._left_over = False
        self._used = True  # what lies there from before has been used, as far as anybody knows
        self._open: list[tuple[Any, Heard]] = []

    # -- see `taps.Watcher` ----------------------------------------------------------------

    def before_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Write down what the optimizer holds, and how the gradients stand."""
        if not self._open:
            self.meet(optimizer)
        event = self._step_event(optimizer)
        event.closure = taps.closure_of(args, kwargs) is not None
        self._open.append((optimizer, event))
        if not event.closure:
            self._note_gradients(event)

    def after_step(self, optimizer: Any) -> None:
        """File the step, unless it is part of another one's."""
        while self._open:
            known, event = self._open.pop()
            if known is optimizer:
                break
        else:
            return
        if event.closure:
            self._note_gradients(event)
        self._used = True
        if not self._open:
            event.after = self._norm()
            self.heard.append(event)

    def step_skipped(self, optimizer: Any, *, reported: bool = False) -> None:
        """File the skip; a fused optimizer has reported a step all the same."""
        if reported and self.heard and self.heard[-1].kind == "step":
            self.heard.pop()
        event = self._step_event(optimizer)
        event.kind = "skip"
        self.heard.append(event)

    def before_backward(self, roots: Sequence[Any]) -> object:  # noqa: ARG002 - see `taps.Watcher`
        """Keep what is there already."""
        self._depth += 1
        if self._depth > 1:
            return None
        event = Heard("backward", sites.here(), before=self._norm())
        empty = event.before == 0
        if empty:
            self._passes, self._left_over = 0, False
        elif self._used:
            self._passes, self._left_over = 0, True
        self._used = False
        return event, None if self.parts is None or empty else self.gradients()

    def after_backward(self, token: object, error: BaseException | None) -> None:
        """File the pass and what it added."""
        self._depth -= 1
        if not isinstance(token, tuple) or error is not None:
            return
        event: Heard = token[0]
        before: Gradients | None = token[1]
        self._passes += 1
        event.after, event.passes, event.left_over = self._norm(), self._passes, self._left_over
        self.heard.append(event)
        if self.parts is not None:
            self.parts.append(_added(before, self.gradients()))
            size = sum(one.numel() * one.element_size() for one in self.parts[-1] if one is not None)
            if len(self.parts) * size > BUDGET:
                self.parts = None

    def differentiated(self, inputs: Sequence[Any]) -> None:
        """Gradients that go elsewhere."""

    # -- gradients -------------------------------------------------------------------------

    def _step_event(self, optimizer: Any) -> Heard:
        event = Heard("step", sites.here(), name=type(optimizer).__name__)
        for group in vars(optimizer).get("param_groups", []):
            for number in (self.number.get(id(tensor)) for tensor in group.get("params", ())):
                if number is not None:
                    event.lr[number] = float(group.get("lr") or 0.0)
                    event.decay[number] = float(group.get("weight_decay") or 0.0)
            event.maximize = event.maximize or bool(group.get("maximize"))
        event.holds = frozenset(event.lr)
        state = getattr(optimizer, "state", {})
        event.had_state = isinstance(state, Mapping) and any(state.get(one) for one in owners.held_tensors(optimizer))
        return event

    def _note_gradients(self, event: Heard) -> None:
        event.before, event.passes, event.left_over = self._norm(), self._passes, self._left_over
        self.present |= {i for i, tensor in enumerate(self.tensors) if tensor.is_leaf and tensor.grad is not None}
        if self._keep and self.consumed is None:
            self.consumed = self.gradients()

    def _grads(self) -> list[torch.Tensor | None]:
        grads = [tensor.grad if tensor.is_leaf else None for tensor in self.tensors]
        return [grad.detach().to_dense() if grad is not None and grad.is_sparse else grad for grad in grads]

    @torch.no_grad()
    def _norm(self) -> float:
        grads = [grad for grad in self._grads() if grad is not None and grad.numel() and grad.device.type != "meta"]
        return float(sum(float(torch.linalg.vector_norm(grad)) ** 2 for grad in grads) ** 0.5)

    @torch.no_grad()
    def gradients(self) -> Gradients:
        """Copy all gradients."""
        return [None if grad is None or grad.device.type == "meta" else grad.clone() for grad in self._grads()]

    def standing(self) -> float:
        """Return the norm of the gradients as they are now."""
        return self._norm()


@torch.no_grad()
def _added(before: Gradients | None, now: Gradients) -> Gradients:
    if before is None:
        return now
    return [b if a is None or b is None else b - a for a, b in zip(before, now, strict=True)]


@contextmanager
def listening(ear: Ear) -> Iterator[None]:
    """Let `ear` hear what this thread does."""
    taps.attach(ear)
    try:
        yield
    finally:
        taps.detach(ear)
