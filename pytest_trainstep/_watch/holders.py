"""Who keeps living things alive, in words that lead there: `log['running'] (a variable of step)`.

Follows the references of all of them backwards at once, level by level, to the first things that have a name.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import (
    BuiltinMethodType,
    CellType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)
from typing import Any, NamedTuple

from torch import nn

_DEPTH = 8
_BREADTH = 400
_VAGUE = 3  # the rank from which a better name is worth looking for
_OURS = ("pytest_trainstep", "_pytest", "pluggy")
_MODULE_TABLES = ("_parameters", "_buffers", "_modules")


class Holder(NamedTuple):
    """A name for what holds something: the shorter the way and the lower the rank, the better."""

    name: str
    rank: int = 0
    container: str | None = None  # the kind of list, deque or dict that it lies in, if any


@dataclass(slots=True)
class _Way:
    """From something back to the things that are asked about."""

    thing: Any
    sources: frozenset[int]
    path: str = ""  # `['running'][...]`, from here on
    container: str | None = None
    key: str | None = None  # its place in the last dictionary, which may turn out to hold attributes
    inner: str = ""  # the path behind that place
    outer: str | None = None  # the container without that dictionary
    cell: Any = None  # the cell of a variable


def holders_of(things: Sequence[Any], modules: Mapping[int, str], hidden: set[int]) -> dict[int, Holder]:
    """Return the nearest named holder of each thing, by its number.

    `modules` names the parts of the model by id; `hidden` are objects of ours that hold the things too.
    """
    found: dict[int, Holder] = {}
    level = {id(thing): _Way(thing, frozenset([number])) for number, thing in enumerate(things)}
    seen = {*hidden, id(things), *level}
    for _ in range(_DEPTH):
        referrers = gc.get_referrers(*[way.thing for way in level.values()])
        seen.add(id(referrers))
        above: dict[int, _Way] = {}
        named: dict[int, Holder] = {}
        for referrer in referrers:
            if id(referrer) in seen or _is_ours(referrer):
                continue
            for held in {id(one) for one in gc.get_referents(referrer)}.intersection(level):
                _follow(referrer, level[held], modules, named, above)
        for number, holder in named.items():
            if number not in found or holder.rank < found[number].rank:
                found[number] = holder
        settled = {number for number, holder in found.items() if holder.rank < _VAGUE}
        level = {key: way for key, way in above.items() if not way.sources <= settled}
        seen.update(level)
        if not level or len(level) > _BREADTH:
            break
    return found


def _follow(
    referrer: Any, way: _Way, modules: Mapping[int, str], named: dict[int, Holder], above: dict[int, _Way]
) -> None:
    step = _step(referrer, way, modules)
    if isinstance(step, Holder):
        for number in way.sources:
            if number not in named or step.rank < named[number].rank:
                named[number] = step
    elif step is not None:
        known = above.get(id(referrer))
        if known is None:
            above[id(referrer)] = step
        elif known.path != step.path:
            known.path, known.sources = f"[...]{step.path[step.path.find(']') + 1 :]}", known.sources | step.sources
        else:
            known.sources |= step.sources


def _is_ours(referrer: Any) -> bool:
    if isinstance(referrer, FrameType):
        return str(referrer.f_globals.get("__name__", "")).startswith(_OURS)
    return str(getattr(type(referrer), "__module__", "")).startswith(_OURS)


def _step(referrer: Any, way: _Way, modules: Mapping[int, str]) -> Holder | _Way | None:
    """Name the referrer's hold if a person would recognise it, else go on from the referrer."""
    if isinstance(referrer, list | tuple | set | deque):
        return _of_sequence(referrer, way)
    if isinstance(referrer, dict):
        return _of_dictionary(referrer, way)
    if isinstance(referrer, CellType | BuiltinMethodType | MethodType | partial):
        # `losses.append` leads on to whatever calls it
        return replace(way, thing=referrer, cell=referrer if isinstance(referrer, CellType) else None)
    if isinstance(referrer, FrameType | GeneratorType):
        frame = referrer.gi_frame if isinstance(referrer, GeneratorType) else referrer
        return _of_frame(frame, way) if isinstance(frame, FrameType) else None
    if isinstance(referrer, FunctionType):
        return _of_function(referrer, way)
    return None if isinstance(referrer, ModuleType | type) else _of_instance(referrer, way, modules)


def _of_sequence(sequence: Any, way: _Way) -> _Way:
    if way.cell is not None:
        return replace(way, thing=sequence)
    kind = way.container or type(sequence).__name__
    return replace(way, thing=sequence, path=f"[...]{way.path}", container=kind, key=None)


def _of_frame(frame: FrameType, way: _Way) -> Holder | None:
    name = next((key for key, value in frame.f_locals.items() if value is way.thing), None)
    place = f"{name}{way.path} (a local variable of {frame.f_code.co_name})"
    return Holder(place, 4, way.container) if name else None


def _of_function(function: FunctionType, way: _Way) -> Holder | None:
    closure = function.__closure__
    if way.cell is not None and closure is way.thing:
        names = dict(zip(map(id, closure), function.__code__.co_freevars, strict=False))
        return Holder(f"{names[id(way.cell)]}{way.path} (a variable of {function.__name__})", 1, way.container)
    if way.thing is function.__defaults__ or way.thing is function.__kwdefaults__:
        return Holder(f"a default argument of {function.__name__}", 2, way.outer or way.container)
    return None


def _of_dictionary(table: dict[Any, Any], way: _Way) -> Holder | _Way:
    key = next((key for key, value in table.items() if value is way.thing), None)
    if isinstance(key, str) and "__name__" in table and "__builtins__" in table:
        return Holder(f"{key}{way.path} (a global of {table['__name__']})", 2, way.container)
    shown = f"[{key!r}]" if isinstance(key, str | int) else "[...]"
    return _Way(
        thing=table,
        sources=way.sources,
        path=f"{shown}{way.path}",
        container=way.container or type(table).__name__,
        key=key if isinstance(key, str) else None,
        inner=way.path,
        outer=way.container,
    )


def _of_instance(owner: Any, way: _Way, modules: Mapping[int, str]) -> Holder | None:
    """An instance that keeps it in its dictionary, in the place of one, or in a slot."""
    own = _own_dictionary(owner)
    if own is way.thing and way.key is not None:
        return _attribute(owner, way.key, way.inner, way.outer, modules)
    names = [*(own or {}), *(name for kind in type(owner).__mro__ for name in vars(kind).get("__slots__", ()))]
    for name in names:
        value = (own or {}).get(name)
        if value is None and isinstance(name, str) and name not in (own or {}):
            value = getattr(owner, name, None)
        if value is way.thing:
            return _attribute(owner, str(name), way.path, way.container, modules)
    return None


def _attribute(owner: Any, key: str, path: str, container: str | None, modules: Mapping[int, str]) -> Holder:
    kind = type(owner)
    if isinstance(owner, nn.Module) and id(owner) in modules:
        within = modules[id(owner)]
        name = f"model.{within}." if within else "model."
    else:
        name = f"{kind.__name__}."
    if key in _MODULE_TABLES and path.startswith("['"):
        key, _, path = path[2:].partition("']")
        container = container if path else None
    return Holder(f"{name}{key}{path}", 3 if kind is SimpleNamespace else 0, container)


def _own_dictionary(owner: Any) -> dict[str, Any] | None:
    try:
        own = object.__getattribute__(owner, "__dict__")
    except (AttributeError, TypeError):
        return None
    return own if type(own) is dict else None
