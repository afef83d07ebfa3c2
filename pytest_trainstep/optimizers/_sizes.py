"""How much an optimizer keeps: itself, its class, and what the module that it comes from keeps."""

from __future__ import annotations

import collections
import functools
import sys
import types
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

_DEEPEST = 40
_CACHED = type(functools.cache(lambda: None))
_CONTAINERS = (list, tuple, set, frozenset, collections.deque)


def size_of(optimizer: Any, params: Iterable[Tensor]) -> tuple[int, int]:
    """Count elements of tensors and other values that can be reached, the parameters themselves left out."""
    seen: dict[int, object] = {id(one): one for one in params}  # and held: a node of a graph that goes lends its id
    elements = others = 0
    stack: list[tuple[object, int]] = [(root, 0) for root in _roots(optimizer)]
    while stack:
        thing, depth = stack.pop()
        if id(thing) in seen or depth > _DEEPEST:
            continue
        seen[id(thing)] = thing
        inside = list(_inside(thing))
        elements += thing.numel() if isinstance(thing, Tensor) else 0
        others += _weight(thing, len(inside))
        deeper = depth if isinstance(thing, Node) else depth + 1  # a graph is as deep as the steps that made it
        stack.extend((one, deeper) for one in inside)
    return elements, others


def _weight(thing: object, inside: int) -> int:
    if isinstance(thing, str | bytes | bytearray):
        return len(thing)
    if isinstance(thing, Node):
        return 1
    if isinstance(thing, _CACHED):
        return thing.cache_info().currsize
    if (numpy := sys.modules.get("numpy")) is not None and isinstance(thing, numpy.ndarray):
        return int(thing.nbytes)
    return inside if _holds(thing) else 0


def _holds(thing: object) -> bool:
    return isinstance(thing, (*_CONTAINERS, Mapping))


def _is_function(thing: object) -> bool:
    return isinstance(thing, types.FunctionType | _CACHED)


def _roots(optimizer: Any) -> Iterable[object]:
    yield vars(optimizer)
    for cls in type(optimizer).__mro__:
        if cls.__module__.partition(".")[0] in ("torch", "builtins", "typing", "abc"):
            continue
        inside = [getattr(value, "__func__", value) for value in vars(cls).values()]  # of static and class methods
        yield from (value for value in inside if _holds(value) or _is_function(value))
        modules = {id(one.__globals__): one.__globals__ for one in inside if hasattr(one, "__globals__")}
        for module in modules.values():
            yield from _kept_by(module)


def _kept_by(module: Mapping[str, Any]) -> Iterable[object]:
    for name, value in module.items():
        own = _is_function(value) and getattr(value, "__module__", None) == module.get("__name__")
        if not name.startswith("__") and (_holds(value) or own):
            yield value


def _inside(thing: object) -> Iterable[object]:
    if isinstance(thing, Mapping):
        yield from thing.keys()
        yield from thing.values()
    elif isinstance(thing, _CONTAINERS):
        yield from thing
    elif isinstance(thing, Tensor):
        yield from () if thing.grad_fn is None else (thing.grad_fn,)
    elif isinstance(thing, Node):
        yield from (node for node, _ in thing.next_functions if node is not None)
    elif _is_function(thing):
        yield from _inside_function(thing)
    elif isinstance(thing, torch.optim.Optimizer) or (
        hasattr(thing, "__dict__")
        and not isinstance(thing, type | types.ModuleType | nn.Module)
        and not callable(thing)
    ):
        yield from vars(thing).values()


def _inside_function(function: Any) -> Iterable[object]:
    """Yield what a function keeps from call to call: not whatever else its closure happens to see."""
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or () if cell != types.CellType()]
    defaults = [
        *(getattr(function, "__defaults__", None) or ()),
        *(getattr(function, "__kwdefaults__", None) or {}).values(),
    ]
    kept = [*cells, *defaults, *vars(function).values()]
    yield from (one for one in kept if _holds(one) or _is_function(one))
