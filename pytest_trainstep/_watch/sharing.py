"""State that two trainers of one process share: what modules, classes, functions and closures hold."""

from __future__ import annotations

import functools
import inspect
import itertools
import os
import random
import re
import sys
import types
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

_DEPTH = 4
_LARGE = 1 << 26  # bytes; a larger tensor is more likely a data set than state
_LIBRARY = {"torch", "numpy", "pytest_trainstep", "_pytest", "pytest"}
_FIXED = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)
_COMPARED = (bool, int, float, str, bytes, tuple, set, torch.dtype)


@dataclass(slots=True)
class Shared:
    """One piece of state that outlives a trainer: where it stood, and how to put it back."""

    put_back: Callable[[], None]
    moved: Callable[[], bool]


def shared_state(make_trainer: Callable[[], Any]) -> dict[str, Shared]:
    """Find the mutable state that outlives a trainer, by name."""
    found = _of_the_process()
    for name, value, place in _reachable("make_trainer", make_trainer, None, set(), _DEPTH):
        try:
            shared = _shared(value, place)
        except Exception:  # noqa: BLE001, S112 - an object of the user's that does not like to be asked
            continue
        if shared is not None:
            found[name] = shared
    return found


def _of_the_process() -> dict[str, Shared]:
    """What is one for the whole process, and is changed by a call."""
    return {
        "os.environ": _kept(os.environ, dict, _update),
        "torch's default dtype": _kept(
            None, lambda _: torch.get_default_dtype(), lambda _, it: torch.set_default_dtype(it)
        ),
        "torch's number of threads": _kept(
            None, lambda _: torch.get_num_threads(), lambda _, it: torch.set_num_threads(it)
        ),
    }


@dataclass(slots=True)
class _Place:
    """Where a value is bound."""

    read: Callable[[], Any]
    write: Callable[[Any], object]


_Found = Iterator[tuple[str, Any, _Place | None]]


def _reachable(name: str, value: Any, place: _Place | None, seen: set[int], depth: int) -> _Found:
    if depth < 0 or id(value) in seen:
        return
    if not _is_plain(value):  # small numbers and None are one object in many places
        seen.add(id(value))
    yield name, value, place
    if isinstance(value, types.MethodType):
        yield from _reachable(name, value.__func__, None, seen, depth)
        yield from _reachable(f"{name}.__self__", value.__self__, None, seen, depth - 1)
    elif isinstance(value, types.FunctionType):
        yield from _of_function(value, seen, depth)
    elif isinstance(value, functools.partial):
        yield from _reachable(name, value.func, None, seen, depth)
    elif hasattr(value, "cache_info") and hasattr(value, "__wrapped__"):
        yield from _reachable(name, value.__wrapped__, None, seen, depth)
    else:
        yield from _of_members(name, value, seen, depth)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str | bytes)


def _of_members(name: str, value: Any, seen: set[int], depth: int) -> _Found:
    """What a class of the user's, or an object of one, holds under its names."""
    kind = value if inspect.isclass(value) else type(value)
    if not _is_users(kind.__module__):
        return
    title = kind.__name__ if inspect.isclass(value) else name
    for key, item in list(getattr(value, "__dict__", {}).items()):
        if not key.startswith("__") or inspect.isfunction(item):
            yield from _reachable(f"{title}.{key}", item, _attribute(value, key), seen, depth - 1)
    if kind is value:
        for one in kind.__bases__:
            yield from _reachable(one.__name__, one, None, seen, depth - 1)


def _of_function(function: types.FunctionType, seen: set[int], depth: int) -> _Found:
    if _is_users(function.__module__):
        for name, item, place in (*_defaults(function), *_cells(function), *_globals(function)):
            yield from _reachable(name, item, place, seen, depth - 1)


def _defaults(function: types.FunctionType) -> _Found:
    title = function.__qualname__
    for number, item in enumerate(function.__defaults__ or ()):
        yield f"default {number} of {title}", item, None
    for key, item in (function.__kwdefaults__ or {}).items():
        yield f"default {key} of {title}", item, None
    for key, item in vars(function).items():
        yield f"{title}.{key}", item, _attribute(function, key)


def _cells(function: types.FunctionType) -> _Found:
    for key, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield key, cell.cell_contents, _attribute(cell, "cell_contents")
        except ValueError:  # not filled yet
            continue


def _globals(function: types.FunctionType) -> _Found:
    names = function.__globals__
    for key in _names(function.__code__):
        if key in names:
            yield key, names[key], _Place(functools.partial(names.get, key), functools.partial(names.__setitem__, key))


def _attribute(owner: Any, key: str) -> _Place:
    return _Place(functools.partial(getattr, owner, key, None), functools.partial(setattr, owner, key))


def _names(code: types.CodeType) -> list[str]:
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += _names(constant)
    return names


def _is_users(module: str | None) -> bool:
    room = (module or "").partition(".")[0]
    return room not in _LIBRARY and room not in sys.stdlib_module_names


def _shared(value: Any, place: _Place | None) -> Shared | None:
    """Return what puts `value` back: what it holds, and, where it is bound, the name itself."""
    if isinstance(value, _FIXED):
        return None
    if isinstance(value, itertools.count):
        return None if place is None else _counter(value, place)
    content = _content(value)
    if content is None and place is None:
        return None

    def put_back() -> None:
        if place is not None and place.read() is not value:
            place.write(value)
        if content is not None:
            content.put_back()

    def moved() -> bool:
        rebound = place is not None and place.read() is not value
        return rebound or (content is not None and content.moved())

    return Shared(put_back, moved)


def _counter(value: Any, place: _Place) -> Shared:
    """A count can only be read by its name, and put back by a new one."""
    text = repr(value)
    start, step = (int(number) for number in (*re.findall(r"-?\d+", text), "1")[:2])

    def put_back() -> None:
        place.write(itertools.count(start, step))

    return Shared(put_back, lambda: repr(place.read()) != text)


def _content(value: Any) -> Shared | None:
    """Return what puts back what training changes in place."""
    for kind, read, write in _KINDS:
        if kind(value):
            return _kept(value, read, write)
    return None


def _kept(value: Any, read: Callable[[Any], Any], write: Callable[[Any, Any], object]) -> Shared:
    state = read(value)
    return Shared(lambda: _ignore(write(value, state)), lambda: not _same(read(value), state))


def _ignore(_result: object) -> None:
    """Some setters return what they set."""


def _same(one: Any, other: Any) -> bool:
    """Compare what was kept with what is there: containers by the identity of what they hold."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.shape == other.shape and bool(torch.equal(one, other))
    return one is other or (isinstance(one, _COMPARED) and bool(one == other))


def _refill(items: Any, content: list[Any]) -> None:
    items.clear()
    items.extend(content)


def _update(items: Any, content: Any) -> None:
    items.clear()
    items.update(content)


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    named = (*module.named_parameters(), *module.named_buffers())
    return {name: tensor.detach().clone() for name, tensor in named if tensor.nbytes <= _LARGE}


@torch.no_grad()
def _fill(module: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        tensor.copy_(tensors.get(name, tensor))


@torch.no_grad()
def _copy(tensor: torch.Tensor, content: torch.Tensor) -> None:
    tensor.data.copy_(content)


def _is_stream(value: Any) -> bool:
    return isinstance(value, random.Random) and not isinstance(value, random.SystemRandom)


def _set_bits(value: Any, state: Any) -> None:
    value.bit_generator.state = state


_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any], Any], Callable[[Any, Any], object]], ...] = (
    (_is_stream, lambda value: value.getstate(), lambda value, state: value.setstate(state)),
    (
        lambda value: isinstance(value, torch.Generator),
        lambda value: value.get_state(),
        lambda value, state: value.set_state(state),
    ),
    (lambda value: isinstance(value, list | deque), list, _refill),
    (lambda value: isinstance(value, dict | set), lambda value: value.copy(), _update),
    (lambda value: isinstance(value, nn.Module), _tensors, _fill),
    (
        lambda value: isinstance(value, torch.Tensor) and value.nbytes <= _LARGE,
        lambda value: value.detach().clone(),
        _copy,
    ),
    (
        lambda value: hasattr(value, "cache_info"),
        lambda value: value.cache_info().currsize,
        lambda value, _: value.cache_clear(),
    ),
    (lambda value: hasattr(value, "bit_generator"), lambda value: value.bit_generator.state, _set_bits),
)
