"""Parameters a model uses without registering them: in lists, dicts, tuples, or behind a cast."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from types import FunctionType, SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import nn

from .naming import Slot

_DEPTH = 3
_CAST_LENGTH = 20
_FOREIGN = {"torch", "numpy", "builtins", "pytest_trainstep", "_pytest"}
_INTERNAL = {"_parameters", "_buffers", "_modules"}


class Hidden(NamedTuple):
    """A tensor found outside `named_parameters()`: its name, and how it is kept."""

    name: str
    tensor: torch.Tensor
    container: str  # list, dict, tuple, attribute ...
    cast: bool
    fixed: bool  # belongs to a hidden network that is in eval mode while the model trains


def find(modules: Mapping[str, nn.Module], registered: set[int]) -> Iterator[Hidden]:
    """Search the attributes of every submodule for parameters (and casts of them) of the model's own."""
    visited: set[int] = {id(inner) for module in modules.values() for inner in module.modules()}
    for prefix, module in modules.items():
        for path, inner in module.named_modules(prefix=prefix):
            search = _Search(visited, registered, training=inner.training)
            dotted = f"{path}." if path else ""
            for key, buffer in inner._buffers.items():  # noqa: SLF001 - where nn.Module keeps them
                if buffer is not None and buffer.is_leaf and buffer.requires_grad:
                    yield Hidden(dotted + key, buffer, "buffer", cast=False, fixed=False)
            for key, value in vars(inner).items():
                if key not in _INTERNAL and not key.endswith("_hooks"):
                    yield from search.look(dotted + key, value, "attribute", _DEPTH)


class _Search:
    def __init__(self, visited: set[int], registered: set[int], *, training: bool) -> None:
        self.visited = visited
        self.registered = registered
        self.training = training

    def look(self, name: str, value: Any, container: str, depth: int) -> Iterator[Hidden]:
        if isinstance(value, torch.Tensor):
            yield from self._tensor(name, value, container)
        elif isinstance(value, nn.Module):
            yield from self._module(name, value, container, depth)
        elif depth > 0:
            for key, item, kind in _items(value):
                yield from self.look(f"{name}.{key}", item, kind, depth - 1)

    def _tensor(self, name: str, value: torch.Tensor, container: str) -> Iterator[Hidden]:
        if id(value) in self.registered or not value.requires_grad:
            return
        if value.is_leaf:
            yield Hidden(name, value, container, cast=False, fixed=False)
        else:
            leaf = _cast_of(value)
            if leaf is not None and id(leaf) not in self.registered:
                yield Hidden(name, leaf, container, cast=True, fixed=False)

    def _module(self, name: str, module: nn.Module, container: str, depth: int) -> Iterator[Hidden]:
        if id(module) in self.visited:
            return
        self.visited.update(id(inner) for inner in module.modules())
        for inner_name, tensor in module.named_parameters():
            if id(tensor) not in self.registered:
                fixed = self.training and not module.training
                yield Hidden(f"{name}.{inner_name}", tensor, container, cast=False, fixed=fixed)
        for path, inner in module.named_modules():
            for key, value in vars(inner).items():
                if key not in _INTERNAL and not key.endswith("_hooks") and depth > 0:
                    full = ".".join(part for part in (name, path, key) if part)
                    yield from self.look(full, value, "attribute", depth - 1)


def _items(value: Any) -> Iterator[tuple[str, Any, str]]:
    """Look into containers, the user's own plain objects and closures; never through their protocols."""
    kind = type(value)
    if isinstance(value, dict):
        yield from ((str(key), item, "dict") for key, item in list(dict.items(value)))
    elif kind in (list, tuple, set, frozenset) or issubclass(kind, list | tuple):
        yield from (
            (str(key), item, "list" if issubclass(kind, list) else "tuple") for key, item in enumerate(list(value))
        )
    elif kind is FunctionType:
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=False)
        yield from ((name, _content(cell), "closure") for name, cell in cells)
    elif _is_users(kind):
        own = _attributes(value)
        yield from ((key, item, "object") for key, item in list(own.items()))


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _is_users(kind: type) -> bool:
    room = str(kind.__module__).partition(".")[0]
    return kind is SimpleNamespace or (room not in _FOREIGN and room not in sys.stdlib_module_names)


def _attributes(value: Any) -> dict[str, Any]:
    try:
        own = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return own if type(own) is dict else {}


def _cast_of(value: torch.Tensor) -> torch.Tensor | None:
    """Follow a chain of single-input operations (`.to(...)`, `.cuda()`) back to a parameter of equal size."""
    node: Any = value.grad_fn
    for _ in range(_CAST_LENGTH):
        if node is None:
            return None
        if type(node).__name__ == "AccumulateGrad":
            leaf: torch.Tensor = node.variable
            same = isinstance(leaf, nn.Parameter) and leaf.numel() == value.numel()
            return leaf if same else None
        children = [child for child, _ in node.next_functions if child is not None]
        node = children[0] if len(children) == 1 else None
    return None


def slot_of(hidden: Hidden) -> Slot:
    """Make a hidden tensor nameable like any other."""
    return Slot(hidden.name, hidden.name, hidden.tensor, None, hidden.name)
