"""Where each optimizer was built, and which of them have ever been seen to step.

The one thing of torch that is touched when nothing watches: `Optimizer.__init__`, wrapped once.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

from . import sites

_births: weakref.WeakKeyDictionary[Any, str | None] = weakref.WeakKeyDictionary()
_stepped: weakref.WeakSet[Any] = weakref.WeakSet()
_original: Any = None
observers: list[Callable[[Any], object]] = []
"""Called with each optimizer that was built; what they raise is lost."""


def install() -> None:
    """Wrap `torch.optim.Optimizer.__init__` so that birthplaces are known. Does nothing twice."""
    global _original  # noqa: PLW0603 - one wrapper per process
    import torch

    cls: Any = torch.optim.Optimizer
    if _original is not None:
        return
    original = _original = cls.__init__

    @functools.wraps(original)
    def recorded(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        try:
            _births[self] = sites.here(constructing=self)
            for observer in tuple(observers):
                observer(self)
        except Exception:  # noqa: BLE001 - an observer must never break the user's constructor
            return

    cls.__init__ = recorded


def remove() -> None:
    """Undo `install`."""
    global _original  # noqa: PLW0603 - one wrapper per process
    if _original is None:
        return
    import torch

    cls: Any = torch.optim.Optimizer
    if getattr(cls.__init__, "__wrapped__", None) is _original:
        cls.__init__ = _original
    _original = None


def birthplace(optimizer: object) -> str | None:
    """Return `file:line` of the constructor call, when it was seen."""
    return _births.get(optimizer)


def known() -> list[Any]:
    """Return the living optimizers whose construction was seen."""
    return list(_births.keys())


def mark_stepped(optimizer: object) -> None:
    """Remember that this optimizer has stepped at least once in this process."""
    _stepped.add(optimizer)


def has_stepped(optimizer: object) -> bool:
    """Tell whether a step of it has been seen, in this or an earlier watch."""
    return optimizer in _stepped
