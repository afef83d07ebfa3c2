"""Gradients that a program writes itself: does the new one still hold the old one?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_OVERWRITES = {"zero_", "copy_", "fill_", "_foreach_zero_", "_foreach_copy_"}
_IN_PLACE = {"__iadd__", "__isub__", "__imul__", "__itruediv__", "__setitem__"}


class HandMade(TorchFunctionMode):
    """Follows the gradients `old` (by identity) through one call of the step."""

    def __init__(self, old: Mapping[int, torch.Tensor]) -> None:
        super().__init__()
        self._old = dict(old)  # kept alive, so that no identity is used twice

    def holds_old(self, grad: torch.Tensor | None) -> bool:
        """Tell whether what a step used in the last call is a part of this gradient."""
        return grad is not None and id(grad) in self._old

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch.compiler.is_compiling():
            return result
        name = str(getattr(func, "__name__", ""))
        if name not in {"__get__", "__set__"} and args:
            self._note(name, args, result)
        return result

    def _note(self, name: str, args: Sequence[Any], result: Any) -> None:
        targets = list(_tensors(args[:1]))
        given = [one for one in _tensors(args) if id(one) in self._old]
        if name in _OVERWRITES:
            sources = list(_tensors(args[1:]))
            for target in targets:
                if not any(id(one) in self._old for one in sources):
                    self._old.pop(id(target), None)
        elif not given:
            return
        elif name in _IN_PLACE or (name.endswith("_") and not name.endswith("__")):
            self._old.update({id(one): one for one in targets})
        else:
            shapes = {tuple(one.shape) for one in given}
            self._old.update({id(one): one for one in _tensors([result]) if tuple(one.shape) in shapes})


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
