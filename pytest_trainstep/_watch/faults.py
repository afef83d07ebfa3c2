"""Faults to plant into training: each makes torch do a little less, or the wrong thing, until it is taken out again.

They work through torch's own step hooks and the entrance of backward passes, so that closures, gradient scalers and
optimizers of others go on working, and nothing of the user's is replaced.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim import optimizer as optim

from . import engine, restore, taps
from .snapshots import local, readable, unequal

_Undo = Callable[[], object]


class Fault:
    """One fault.

    Attributes:
        applied: How often it made a difference: where that stays 0, it was never there.
        resisted: Weights changed all the same in a step in which it was to prevent that.
    """

    def __init__(self) -> None:
        self.applied = 0
        self.resisted = False

    def plant(self) -> Iterator[_Undo]:
        """Attach to torch, yielding how to undo each piece."""

        def before(optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return self.before_step(optimizer, args, kwargs)

        def after(optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            del args, kwargs
            self.after_step(optimizer)

        yield optim.register_optimizer_step_pre_hook(engine.uncompiled(before)).remove
        yield optim.register_optimizer_step_post_hook(engine.uncompiled(after)).remove

    def before_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An optimizer's step begins; what is returned replaces its arguments."""

    def after_step(self, optimizer: Any) -> None:
        """It has ended."""


class _Putback(Fault):
    """Some of the weights are put back after each step."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[tuple[Any, list[tuple[torch.Tensor, torch.Tensor]]]] = []

    def chosen(self, optimizer: Any) -> list[torch.Tensor]:
        raise NotImplementedError

    def before_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del args, kwargs
        self._kept = [entry for entry in self._kept if entry[0] is not optimizer]  # of a step that raised
        kept = [(tensor, tensor.detach().clone()) for tensor in self.chosen(optimizer) if readable(tensor)]
        self._kept.append((optimizer, kept))

    def after_step(self, optimizer: Any) -> None:
        kept: list[tuple[torch.Tensor, torch.Tensor]]
        kept = next((pairs for one, pairs in reversed(self._kept) if one is optimizer), [])
        self._kept = [entry for entry in self._kept if entry[0] is not optimizer]
        if not self.applied:  # once is enough to know
            self.applied += any(differ(tensor, before) for tensor, before in kept)
        for tensor, before in kept:
            write(tensor, before)


class NoopStep(_Putback):
    """`optimizer.step()` changes no weight."""

    def chosen(self, optimizer: Any) -> list[torch.Tensor]:
        return [tensor for group in groups(optimizer) for tensor in group]


class PartialStep(_Putback):
    """`optimizer.step()` leaves out the last parameter group; where there is one only, one parameter in four."""

    def chosen(self, optimizer: Any) -> list[torch.Tensor]:
        filled = groups(optimizer)
        if len(filled) > 1:
            return filled[-1]
        tensors = filled[0] if filled else []
        return tensors[3::4] or tensors[1:][-1:]  # of fewer than four the last; a single one would be the whole step


class ZeroLr(Fault):
    """The learning rate is 0 at every step, and is read as before outside of it."""

    def __init__(self) -> None:
        super().__init__()
        self._put: list[tuple[Any, dict[str, Any], Any, Any]] = []  # optimizer, group, its lr, ours
        self._kept: list[tuple[torch.Tensor, torch.Tensor]] = []

    def before_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del args, kwargs
        self._back(optimizer)  # a step that raised has left them
        for group in optimizer.param_groups:
            rate = group.get("lr")
            if rate is None or not bool(torch.as_tensor(rate).any()):
                continue
            zero = torch.zeros_like(rate) if isinstance(rate, torch.Tensor) else 0.0
            group["lr"] = zero
            self._put.append((optimizer, group, rate, zero))
            # whether there is a gradient is asked after the step: a closure brings it later
            self._kept += [(tensor, tensor.detach().clone()) for tensor in group["params"] if readable(tensor)]

    def after_step(self, optimizer: Any) -> None:
        # an optimizer that reads its step size elsewhere (Rprop does after the first step) has not been stopped,
        # nor one with a gradient that is not finite: 0 times infinity is NaN
        if any(differ(tensor, before) for tensor, before in self._kept):
            self.resisted = True
        elif not self.applied:
            self.applied += any(nonzero(gradient(tensor)) for tensor, _ in self._kept)
        self._kept = []
        self._back(optimizer)

    def _back(self, optimizer: Any) -> None:
        for one, group, rate, zero in self._put:
            if one is optimizer and group.get("lr") is zero:
                group["lr"] = rate
        self._put = [entry for entry in self._put if entry[0] is not optimizer]


class NoopBackward(Fault):
    """`backward()` computes no gradient."""

    def plant(self) -> Iterator[_Undo]:
        yield engine.intercept(self.handle)

    def handle(self, roots: Any, run: Callable[[Any], Any], /, *, accumulates: bool, inputs: Any) -> Any:
        """See `engine.Handler`."""
        del inputs
        if not (accumulates and _roots(roots)):
            return run(roots)
        self.applied += 1
        return ()


class DetachedLoss(NoopBackward):
    """The loss is detached from the model: the backward pass runs, and ends at the loss."""

    def handle(self, roots: Any, run: Callable[[Any], Any], /, *, accumulates: bool, inputs: Any) -> Any:
        """See `engine.Handler`."""
        del accumulates, inputs
        if not _roots(roots):
            return run(roots)
        self.applied += 1
        return run(tuple(root.detach().requires_grad_() for root in _roots(roots)))


class StaleGradients(Fault):
    """`zero_grad()` clears nothing, neither an optimizer's nor a module's."""

    def plant(self) -> Iterator[_Undo]:
        for owner in (optim.Optimizer, nn.Module):
            yield engine.swap(owner, "zero_grad", self._nothing(owner.zero_grad))

    def _nothing(self, original: Any) -> Any:
        def zero_grad(this: Any, *args: Any, **kwargs: Any) -> None:
            del args, kwargs
            tensors = this.parameters() if isinstance(this, nn.Module) else itertools.chain(*groups(this))
            self.applied += any(nonzero(gradient(tensor)) for tensor in tensors)

        zero_grad.__name__, zero_grad.__doc__ = original.__name__, original.__doc__
        return zero_grad


class FlippedGradient(Fault):
    """Every gradient has the opposite sign while an optimizer steps."""

    def __init__(self) -> None:
        super().__init__()
        self._flipped: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []  # tensor, its gradient, ours

    def before_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._back()
        closure = taps.closure_of(args, kwargs)
        if not callable(closure):
            self._flip(optimizer)
            return None

        def flipping(*inner: Any, **named: Any) -> Any:
            self._back()  # a closure that does not clear adds to what is there
            result = closure(*inner, **named)
            self._flip(optimizer)
            return result

        if "closure" in kwargs:
            return args, {**kwargs, "closure": flipping}
        return (args[0], flipping, *args[2:]), kwargs

    def after_step(self, optimizer: Any) -> None:
        del optimizer
        self._back()

    def _flip(self, optimizer: Any) -> None:
        for tensor in (tensor for group in groups(optimizer) for tensor in group):
            grad = gradient(tensor)
            if grad is not None:
                ours = grad.detach().neg()
                self._flipped.append((tensor, grad, ours))
                tensor.grad = ours
        self.applied += any(nonzero(ours) for _, _, ours in self._flipped)

    def _back(self) -> None:
        for tensor, grad, ours in self._flipped:
            if tensor.grad is ours:  # not cleared meanwhile
                tensor.grad = grad
        self._flipped = []


_KINDS: dict[str, type[Fault]] = {
    "noop-step": NoopStep,
    "noop-backward": NoopBackward,
    "zero-lr": ZeroLr,
    "stale-gradients": StaleGradients,
    "flipped-gradient": FlippedGradient,
    "partial-step": PartialStep,
    "detached-loss": DetachedLoss,
}


@contextmanager
def planted(name: str) -> Iterator[Fault]:
    """Plant a fault (by its name in `_faults.FAULTS`) for the body, and take it out again."""
    fault = _KINDS[name]()
    undo: list[_Undo] = []
    try:
        undo.extend(fault.plant())
        yield fault
    finally:
        while undo:
            undo.pop()()


def groups(optimizer: Any) -> list[list[torch.Tensor]]:
    """Return the tensors of each group that holds any."""
    return [list(group["params"]) for group in optimizer.param_groups if group["params"]]


def differ(tensor: torch.Tensor, before: torch.Tensor) -> bool:
    """Tell whether a tensor has other values than before; NaN that stays NaN is no change."""
    old, new = local(before), local(tensor)
    return old.shape != new.shape or old.dtype != new.dtype or bool(unequal(old, new).any())


def write(tensor: torch.Tensor, values: torch.Tensor) -> None:
    """Put values back into the same object, past the version counter: its version belongs to the user's graph."""
    if tensor.shape != values.shape or tensor.dtype != values.dtype or tensor.device != values.device:
        tensor.data = values
    else:
        restore.write(tensor, values)


def gradient(tensor: Any) -> torch.Tensor | None:
    """Return the gradient of a leaf."""
    return tensor.grad if tensor.is_leaf else None


def nonzero(grad: torch.Tensor | None) -> bool:
    """Tell whether there is a gradient with an element that is not zero."""
    if grad is None:
        return False
    values = grad.coalesce().values() if grad.is_sparse else grad
    return bool(values.detach().any())


def _roots(roots: Any) -> Sequence[torch.Tensor]:
    """Return the losses of a pass that torch would run; empty for one that is not ours to meddle with."""
    found = (roots,) if isinstance(roots, torch.Tensor) else tuple(roots)
    return found if all(isinstance(root, torch.Tensor) and root.requires_grad for root in found) else ()
