"""How much an optimizer keeps: itself, its class, and the containers of the module that it comes from."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_DEEPEST = 40
_CONTAINERS = (list, tuple, set, frozenset, collections.deque)


def size_of(optimizer: Any, params: Iterable[Tensor]) -> tuple[int, int]:
    """Count elements of tensors and other values that can be reached, the parameters themselves left out."""
    seen = {id(one) for one in params}
    counts = [0, 0]
    stack: list[tuple[object, int]] = [(root, 0) for root in _roots(optimizer)]
    while stack:
        thing, depth = stack.pop()
        if id(thing) in seen or depth > _DEEPEST:
            continue
        seen.add(id(thing))
        if isinstance(thing, Tensor):
            counts[0] += thing.numel()
            continue
        inside = list(_inside(thing))
        counts[1] += len(inside) if _counts(thing) else 0
        stack.extend((one, depth + 1) for one in inside)
    return counts[0], counts[1]


def _counts(thing: object) -> bool:
    return isinstance(thing, (*_CONTAINERS, Mapping))


def _roots(optimizer: Any) -> Iterable[object]:
    yield vars(optimizer)
    for cls in type(optimizer).__mro__:
        if cls.__module__.partition(".")[0] in ("torch", "builtins", "typing", "abc"):
            continue
        yield from (value for value in vars(cls).values() if _counts(value))
        modules = {id(one.__globals__): one.__globals__ for one in vars(cls).values() if hasattr(one, "__globals__")}
        for module in modules.values():
            yield from (value for name, value in module.items() if _counts(value) and not name.startswith("__"))


def _inside(thing: object) -> Iterable[object]:
    if isinstance(thing, Mapping):
        yield from thing.keys()
        yield from thing.values()
    elif isinstance(thing, _CONTAINERS):
        yield from thing
    elif isinstance(thing, torch.optim.Optimizer) or (
        hasattr(thing, "__dict__") and not isinstance(thing, type | nn.Module) and not callable(thing)
    ):
        yield from vars(thing).values()
