"""The ledger of gradients: of which backward passes the present `.grad` of each parameter is made.

Kept in parallel lists and brought up to date at the entry and the exit of each backward pass and at
each optimizer step. The clock is `_version` of the gradient; no gradient is kept alive, no weak
reference is made (`torch.utils.swap_tensors` refuses tensors that have one).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

ABSENT = -1


class Window(NamedTuple):
    """The backward passes inside one gradient: the first, the last, how many."""

    first: int
    last: int
    passes: int


class Ledger:
    """What is known about the gradients of the watched tensors."""

    def __init__(self, tensors: list[torch.Tensor]) -> None:
        self.tensors = tensors
        size = len(tensors)
        self.window: list[Window | None] = [None] * size
        self.lost: list[Window | None] = [None] * size  # cleared before any step used it
        self.thrown: list[bool] = [False] * size  # something was ever lost
        self.consumed = [0] * size  # the backward counter at the last step that held it
        self.reached = [0] * size  # how many backward passes changed its gradient
        self.backward = 0
        self.running = 0
        self.versions = self._versions(self._grads())
        self.ids = list(map(id, self._grads()))
        # what lies there from before the watch counts as used up
        for index, version in enumerate(self.versions):
            if version != ABSENT:
                self.window[index] = Window(0, 0, 1)

    def grow(self, tensor: torch.Tensor, grad: torch.Tensor | None) -> None:
        """Take up one more tensor, found while watching; `tensors` already holds it."""
        del tensor
        self.lost.append(None)
        self.window.append(None)
        self.thrown.append(False)
        self.consumed.append(0)
        self.reached.append(1 if grad is not None and self.backward else 0)
        self.versions.append(self._versions([grad])[0])
        self.ids.append(id(grad))
        if grad is not None and self.backward:
            self.window[-1] = Window(self.backward, self.backward, 1)

    def rebind(self, index: int, tensor: torch.Tensor) -> None:
        """Another tensor object has taken the place of number `index`."""
        self.tensors[index] = tensor
        self.window[index] = self.lost[index] = None
        grad = self._grad(tensor)
        self.versions[index] = self._versions([grad])[0]
        self.ids[index] = id(grad)

    def _grads(self) -> list[torch.Tensor | None]:
        return [self._grad(tensor) for tensor in self.tensors]

    @staticmethod
    def _grad(tensor: torch.Tensor) -> torch.Tensor | None:
        # asking a non-leaf tensor for its gradient makes torch warn
        return tensor.grad if tensor.is_leaf else None

    @staticmethod
    def _versions(grads: Sequence[Any]) -> list[int]:
        try:
            return [ABSENT if grad is None else grad._version for grad in grads]  # noqa: SLF001 - the only clock a gradient has
        except RuntimeError:  # inference tensors keep no version
            return [ABSENT if grad is None else 0 for grad in grads]

    def sync(self) -> None:
        """Notice what happened to the gradients outside backward passes."""
        grads = self._grads()
        versions, ids = self._versions(grads), list(map(id, grads))
        if versions != self.versions or ids != self.ids:
            for index, version in enumerate(versions):
                if version == self.versions[index] and ids[index] == self.ids[index]:
                    continue
                self._changed_by_hand(index, version, ids[index])
            self.versions, self.ids = versions, ids

    def _changed_by_hand(self, index: int, version: int, identity: int) -> None:
        window = self.window[index]
        if version == ABSENT:
            if window is not None and window.last > self.consumed[index]:
                self.lost[index], self.thrown[index] = window, True
            self.window[index] = None
        elif identity != self.ids[index]:
            # put there by the user, or (inside a backward pass) by autograd itself
            self.window[index] = self._new_window(index) if self.running else None

    def enter(self) -> int:
        """A backward pass begins; return its number."""
        self.sync()
        self.backward += 1
        self.running += 1
        return self.backward

    def leave(self, number: int) -> int:
        """It has ended; return how many gradients it changed."""
        self.running -= 1
        grads = self._grads()
        versions, ids = self._versions(grads), list(map(id, grads))
        changed = 0
        cache: dict[Window | None, Window] = {None: Window(number, number, 1)}
        for index, version in enumerate(versions):
            if version == self.versions[index] and ids[index] == self.ids[index]:
                continue
            if version == ABSENT:
                self._changed_by_hand(index, version, ids[index])
                continue
            changed += 1
            old = self.window[index] if self.versions[index] != ABSENT else None
            if old is not None and old.last == number:
                continue  # a nested pass has entered it already
            if old not in cache:
                cache[old] = Window(old.first, number, old.passes + 1)  # type: ignore[union-attr]
            self.window[index] = cache[old]
            self.reached[index] += 1
        self.versions, self.ids = versions, ids
        return changed

    def _new_window(self, index: int) -> Window:
        self.reached[index] += 1
        return Window(self.backward, self.backward, 1)

    def stand(self, index: int) -> str:
        """Tell how the gradient of number `index` stands at an optimizer step (after `sync`)."""
        if self.versions[index] == ABSENT:
            return "cleared" if self.lost[index] is not None else "none"
        window = self.window[index]
        if window is None:
            return "manual"
        if window.last <= self.consumed[index]:
            return "stale"
        return "mixed" if window.first <= self.consumed[index] else "fresh"

    def newest(self, index: int) -> int:
        """Return the number of the last backward pass inside the present gradient; 0 where none is known."""
        window = self.window[index]
        return 0 if window is None else window.last

    def newly(self, index: int) -> bool:
        """Tell whether a backward pass has left a gradient that no step has used yet."""
        window = self.window[index]
        return window is not None and window.last > self.consumed[index]

    def consume(self, indices: Sequence[int]) -> None:
        """An optimizer step has used the gradients of these."""
        for index in indices:
            self.consumed[index] = self.backward
            self.lost[index] = None
