"""One gradient of a parameter group, followed through backward passes and steps: is it used again, or never cleared?"""

from __future__ import annotations

from typing import Any

import torch

UNKNOWN = -1


class Witness:
    """Stands for its group. Holds no tensor: it finds its own through the optimizer."""

    __slots__ = ("consumed", "first", "index", "key", "last", "number", "rewritten")

    def __init__(self, number: int, index: int, tensor: Any, clock: int) -> None:
        self.number, self.index = number, index
        self.key = _key(tensor)
        self.first = self.last = clock or UNKNOWN  # backward passes inside the gradient
        self.consumed = 0  # the newest backward pass that a step has used
        self.rewritten = False  # the last step wrote into the gradient itself

    def _tensor(self, optimizer: Any) -> Any:
        return optimizer.param_groups[self.number]["params"][self.index]

    def sync(self, optimizer: Any) -> None:
        """Notice what happened to the gradient outside backward passes and steps."""
        tensor = self._tensor(optimizer)
        key = _key(tensor)
        if key == self.key:
            if 0 < self.last <= self.consumed and _is_zero(tensor.grad):
                self.first = self.last = 0  # cleared past its version: `.data`, numpy
            return
        self._changed(tensor.grad, key, by_step=False)

    def _changed(self, grad: Any, key: tuple[int, int] | None, *, by_step: bool) -> None:
        if key is None:
            self.first = self.last = 0
        elif self.key is None or key[0] != self.key[0]:
            self.first = self.last = UNKNOWN  # put there by hand
        else:
            self.rewritten = True
            if (by_step or self.last <= self.consumed) and _is_zero(grad):
                self.first = self.last = 0  # cleared
            elif not by_step and self.last <= self.consumed:
                self.first = self.last = UNKNOWN  # changed on purpose after it was used
        self.key = key

    def grow(self, optimizer: Any, clock: int) -> None:
        """A backward pass has ended: take note if it left something."""
        key = _key(self._tensor(optimizer))
        if key == self.key:
            return
        if key is None:
            self.first = self.last = 0
        else:
            if self.key is None or self.first == 0:
                self.first = clock
            self.last = clock
        self.key = key

    def verdict(self, optimizer: Any) -> str:
        """Tell, at a step, whether the gradient is reused, leftover (old and new together), or in order."""
        self.sync(optimizer)
        self.rewritten = False
        if self.key is None or self.first <= 0:
            return ""
        if self.last <= self.consumed:
            return "reused"
        return "leftover" if self.first <= self.consumed else ""

    def leave(self, optimizer: Any, *, used: bool) -> None:
        """A step has come back; it used the gradient if it moved something, and may have rewritten it."""
        if used:
            self.consumed = max(self.consumed, self.last)
        tensor = self._tensor(optimizer)
        key = _key(tensor)
        if key != self.key:
            self.rewritten = False
            self._changed(tensor.grad, key, by_step=True)


def _is_zero(grad: Any) -> bool:
    values = grad._values() if grad.layout is torch.sparse_coo else grad  # noqa: SLF001 - values() insists on coalescing
    return not bool(values.any())


def _key(tensor: Any) -> tuple[int, int] | None:
    grad = tensor.grad if tensor.is_leaf else None
    if grad is None:
        return None
    return id(grad), 0 if grad.is_inference() else grad._version  # noqa: SLF001 - the only clock a gradient has
