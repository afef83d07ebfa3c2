"""The ledger of gradients: of which backward passes the present `.grad` of each parameter is made.

Kept in parallel lists and brought up to date at the entry and the exit of each backward pass and at
each optimizer step. The clock is `_version` of the gradient; no gradient is kept alive, no weak
reference is made (`torch.utils.swap_tensors` refuses tensors that have one).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch

from . import measures
from .snapshots import sample_of

ABSENT = -1
_NOTHING = id(None)


class Window(NamedTuple):
    """The backward passes inside one gradient: the first, the last, how many, and the numbers of some."""

    first: int
    last: int
    passes: int
    members: tuple[int, ...] = ()

    def followed_by(self, number: int) -> Window:
        """Return the window with one more pass in it."""
        members = (*self.members[:1], *self.members[1:][-MEMBERS:], number)
        return Window(self.first, number, self.passes + 1, members)


MEMBERS = 14  # that are kept beside the first and the last: enough to see a pattern


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
        self._used_last = 0  # the value of the backward counter at the last step of any optimizer
        self._fresh: Window | None = None  # of which every gradient is made, and which no step has used
        self._used_up = -1  # at this value of the backward counter, every gradient there was had been used
        self._written: set[int] = set()  # changed in place since the last backward pass, perhaps zeroed
        self._leaves = False  # all are, as was seen at the last backward pass
        self.versions, self.ids = self._look()
        # what lies there from before the watch counts as used up
        for index, version in enumerate(self.versions):
            if version != ABSENT:
                self.window[index] = Window(0, 0, 1, (0,))

    def grow(self, tensor: torch.Tensor, grad: torch.Tensor | None) -> None:
        """Take up one more tensor, found while watching; `tensors` already holds it."""
        del tensor
        self._used_up, self._fresh, self._leaves = -1, None, False
        self.lost.append(None)
        self.window.append(None)
        self.thrown.append(False)
        self.consumed.append(0)
        self.reached.append(1 if grad is not None and self.backward else 0)
        self.versions.append(self._versions([grad])[0])
        self.ids.append(id(grad))
        if grad is not None and self.backward:
            self.window[-1] = Window(self.backward, self.backward, 1, (self.backward,))

    def rebind(self, index: int, tensor: torch.Tensor) -> None:
        """Another tensor object has taken the place of number `index`."""
        self.tensors[index] = tensor
        self._leaves = False
        self._fresh = self.window[index] = self.lost[index] = None
        grad = self._grad(tensor)
        self.versions[index] = self._versions([grad])[0]
        self.ids[index] = id(grad)

    def _look(self) -> tuple[list[int], list[int]]:
        """Read the clock and the identity of every gradient: the hot path of a watch, so in one go."""
        if self._leaves:
            grads = [tensor.grad for tensor in self.tensors]
        else:
            grads = [self._grad(tensor) for tensor in self.tensors]
        ids = list(map(id, grads))
        if ids.count(_NOTHING) == len(ids):
            return [ABSENT] * len(ids), ids
        return self._versions(grads), ids

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
        versions, ids = self._look()
        if versions == self.versions and ids == self.ids:
            return
        self._fresh = None
        if self._used_up == self.backward and ids.count(_NOTHING) == len(ids):
            self.window = [None] * len(ids)  # as in every loop: the step has used them, then all were cleared
        else:
            for index, version in enumerate(versions):
                if version != self.versions[index] or ids[index] != self.ids[index]:
                    self._changed_by_hand(index, version, ids[index])
        self.versions, self.ids = versions, ids

    def _changed_by_hand(self, index: int, version: int, identity: int) -> None:
        window = self.window[index]
        if version == ABSENT:
            if window is not None and window.last > self.consumed[index]:
                self.lost[index], self.thrown[index] = window, True
            self.window[index] = None
        elif identity != self.ids[index] or version < self.versions[index]:  # the clock of one tensor never goes back
            # put there by the user, or (inside a backward pass) by autograd itself
            self.window[index] = self._new_window(index) if self.running else None
        else:
            self._written.add(index)

    def enter(self) -> int:
        """A backward pass begins; return its number."""
        self._leaves = all([tensor.is_leaf for tensor in self.tensors])  # noqa: C419 - the list is faster
        self.sync()
        if self._written and not self.running:
            self.forget_zeroed(self._written)
            self._written.clear()
        self.backward += 1
        self.running += 1
        return self.backward

    def forget_zeroed(self, indices: Iterable[int]) -> None:
        """Let go of what gradients were made of that are all zeros now: `zero_grad(set_to_none=False)`."""
        self._fresh = None
        present = [index for index in indices if self.window[index] and self.versions[index] != ABSENT]
        samples = [_some(self.tensors[index].grad) for index in present]
        for index, largest in zip(present, measures.largest(samples), strict=True):
            if largest == 0:
                self.window[index] = None

    def leave(self, number: int) -> int:
        """It has ended; return how many gradients it changed."""
        self.running -= 1
        old_versions, old_ids = self.versions, self.ids
        self.versions, self.ids = self._look()
        versions = self.versions
        if old_versions.count(ABSENT) == len(versions):  # as in every loop: all of them are new
            window = Window(number, number, 1, (number,))
            if ABSENT not in versions:
                self.window = [window] * len(versions)
                self.reached = [count + 1 for count in self.reached]
                self._fresh = window if not self.running and number > self._used_last else None
                return len(versions)
            self.window = [None if version == ABSENT else window for version in versions]
            self.reached = [count + (version != ABSENT) for count, version in zip(self.reached, versions, strict=True)]
            return len(versions) - versions.count(ABSENT)
        self._fresh = None
        return self._add_pass(number, old_versions, old_ids)

    def _add_pass(self, number: int, old_versions: list[int], old_ids: list[int]) -> int:
        """Compare with what lay there before the pass, one by one."""
        changed = 0
        cache: dict[Window | None, Window] = {None: Window(number, number, 1, (number,))}
        for index, version in enumerate(self.versions):
            if version == old_versions[index] and self.ids[index] == old_ids[index]:
                continue
            if version == ABSENT:
                self._changed_by_hand(index, version, _NOTHING)
                continue
            changed += 1
            old = self.window[index] if old_versions[index] != ABSENT else None
            if old is not None and old.last == number:
                continue  # a nested pass has entered it already
            if old not in cache:
                cache[old] = old.followed_by(number)  # type: ignore[union-attr]
            self.window[index] = cache[old]
            self.reached[index] += 1
        return changed

    def _new_window(self, index: int) -> Window:
        self.reached[index] += 1
        return Window(self.backward, self.backward, 1, (self.backward,))

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

    def stands(self, indices: Sequence[int]) -> list[str]:
        """Tell it of each of these; neighbours are mostly alike."""
        if self._fresh is not None:
            return ["fresh"] * len(indices)
        words: list[str] = []
        alike: tuple[Window, int] | None = None
        for index in indices:
            window, consumed = self.window[index], self.consumed[index]
            if alike is None or window is not alike[0] or consumed != alike[1]:
                words.append(self.stand(index))
                alike = None if window is None else (window, consumed)
            else:
                words.append(words[-1])
        return words

    def longest(self, indices: Sequence[int]) -> int:
        """Return how many backward passes are in the gradient that holds the most of them."""
        if self._fresh is not None:
            return 1 if indices else 0
        return max((window.passes for index in indices if (window := self.window[index])), default=0)

    def newest(self, index: int) -> int:
        """Return the number of the last backward pass inside the present gradient; 0 where none is known."""
        window = self.window[index]
        return 0 if window is None else window.last

    def newly(self, index: int) -> bool:
        """Tell whether a backward pass has left a gradient that no step has used yet."""
        window = self.window[index]
        return window is not None and window.last > self.consumed[index]

    def consume(self, indices: Sequence[int]) -> None:
        """An optimizer step has used the gradients of these (each named once)."""
        self._fresh, self._used_last = None, self.backward
        if len(indices) == len(self.tensors):
            self.consumed = [self.backward] * len(indices)
            self.lost = [None] * len(indices)
            self._used_up = self.backward
            return
        for index in indices:
            self.consumed[index] = self.backward
            self.lost[index] = None


def _some(grad: Any) -> torch.Tensor:
    """Return some of a gradient's values: who zeroes in place zeroes all of it."""
    plain = grad.layout is torch.strided and grad.numel() and not hasattr(grad, "to_local")
    return sample_of(grad.detach()) if plain else grad
