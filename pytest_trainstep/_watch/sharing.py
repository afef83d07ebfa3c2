"""State that two trainers of one process share: generators, lists and dictionaries of modules and functions."""

from __future__ import annotations

import functools
import inspect
import random
import sys
import types
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch

_DEPTH = 4
_LIBRARY = {"torch", "numpy", "pytest_trainstep", "_pytest", "pytest"}


def shared_state(make_trainer: Callable[[], Any]) -> dict[str, Callable[[], None]]:
    """Find mutable state that outlives a trainer; each name comes with a callable that puts it back."""
    seen: set[int] = set()
    found: dict[str, Callable[[], None]] = {}
    for name, value in _reachable("make_trainer", make_trainer, seen, _DEPTH):
        back = _keeper(value)
        if back is not None:
            found[name] = back
    return found


def _reachable(name: str, value: Any, seen: set[int], depth: int) -> Iterator[tuple[str, Any]]:
    if id(value) in seen or depth < 0:
        return
    seen.add(id(value))
    yield name, value
    if isinstance(value, types.MethodType):
        yield from _reachable(name, value.__func__, seen, depth)
        yield from _reachable(f"{name}.__self__", value.__self__, seen, depth - 1)
    elif isinstance(value, types.FunctionType):
        yield from _of_function(value, seen, depth)
    elif inspect.isclass(value) and _is_users(value.__module__):
        for key, item in list(vars(value).items()):
            yield from _reachable(f"{value.__name__}.{key}", item, seen, depth - 1)


def _of_function(function: types.FunctionType, seen: set[int], depth: int) -> Iterator[tuple[str, Any]]:
    if not _is_users(function.__module__):
        return
    code = function.__code__
    for number, item in enumerate(function.__defaults__ or ()):
        yield from _reachable(f"default {number} of {function.__qualname__}", item, seen, depth - 1)
    for key, item in (function.__kwdefaults__ or {}).items():
        yield from _reachable(f"default {key} of {function.__qualname__}", item, seen, depth - 1)
    for key, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield from _reachable(key, cell.cell_contents, seen, depth - 1)
        except ValueError:  # not filled yet
            continue
    for key in _names(code):
        if key in function.__globals__:
            yield from _reachable(key, function.__globals__[key], seen, depth - 1)


def _names(code: types.CodeType) -> list[str]:
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += _names(constant)
    return names


def _is_users(module: str | None) -> bool:
    room = (module or "").partition(".")[0]
    return room not in _LIBRARY and room not in sys.stdlib_module_names


def _keeper(value: Any) -> Callable[[], None] | None:
    """Return what puts `value` back, for the kinds of things that training changes in place."""
    if isinstance(value, random.Random) and not isinstance(value, random.SystemRandom):
        return functools.partial(value.setstate, value.getstate())
    if isinstance(value, torch.Generator):
        return functools.partial(_set, value, value.get_state())
    if isinstance(value, list | deque):
        return functools.partial(_refill, value, list(value))
    if isinstance(value, dict | set):
        return functools.partial(_update, value, value.copy())
    bits = getattr(value, "bit_generator", None)  # numpy's Generator
    if bits is not None and "numpy" in type(value).__module__:
        return functools.partial(setattr, bits, "state", bits.state)
    return None


def _set(generator: torch.Generator, state: torch.Tensor) -> None:
    generator.set_state(state)


def _refill(items: Any, content: list[Any]) -> None:
    items.clear()
    items.extend(content)


def _update(items: Any, content: Any) -> None:
    items.clear()
    items.update(content)
