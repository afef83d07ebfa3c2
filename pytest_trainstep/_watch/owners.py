"""Whose is that tensor? Looks through everything alive, so only after something did not move."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from . import origins

if TYPE_CHECKING:
    from .naming import Slot


class Census:
    """All living modules and optimizers, at one moment."""

    def __init__(self, watched: Iterable[nn.Module]) -> None:
        self.modules: list[nn.Module] = []
        self.optimizers: list[Any] = []
        self.duck_typed: list[Any] = []
        for thing in gc.get_objects():
            self._sort(thing)
        self._watched = {id(inner) for module in watched for _, inner in _inside(module)}
        inner = {id(child) for module in self.modules for child in module._modules.values()}  # noqa: SLF001
        self.roots = [module for module in self.modules if id(module) not in inner]
        self.owner_of: dict[int, nn.Module] = {}
        for root in self.roots:
            for tensor in parameters_inside(root).values():
                self.owner_of.setdefault(id(tensor), root)

    def _sort(self, thing: Any) -> None:
        kind = type(thing)  # never isinstance: it asks proxies and mocks for their class
        if issubclass(kind, nn.Module):
            if "_parameters" in vars(thing):
                self.modules.append(thing)
        elif issubclass(kind, torch.optim.Optimizer):
            if "param_groups" in vars(thing):
                self.optimizers.append(thing)
        elif _groups_of(thing) is not None:
            self.duck_typed.append(thing)

    def is_watched(self, module: nn.Module) -> bool:
        """Tell whether `module` shares a part with what is watched."""
        return any(id(inner) in self._watched for _, inner in _inside(module))

    def holding(self, tensor_ids: set[int]) -> list[Any]:
        """Return the living optimizers (also duck-typed ones) that hold one of these tensors."""
        return [
            optimizer
            for optimizer in (*self.optimizers, *self.duck_typed)
            if any(id(tensor) in tensor_ids for tensor in held_tensors(optimizer))
        ]

    def copy_of(self, failed: Mapping[str, Slot], trained: set[int]) -> tuple[str, set[str]] | None:
        """Find an unwatched module that was trained and has the layout of a failed part of the model.

        `failed` are the failed parameters by name, `trained` the ids of the tensors that optimizers
        updated or gradients reached. Returns the module's class and the names it is a copy of.
        """
        shapes = {name: tuple(slot.tensor.shape) for name, slot in failed.items()}
        for module in self.modules:
            own = parameters_inside(module)
            if not own or not any(id(tensor) in trained for tensor in own.values()):
                continue
            if len(own) > len(shapes) or self.is_watched(module):
                continue
            names = _same_layout({name: tuple(one.shape) for name, one in own.items()}, shapes)
            # a single layer of equal shape is no evidence, unless it is all there is
            if names and (len(names) == len(shapes) or len(names) >= TELLING):
                return type(module).__name__, names
        return None


TELLING = 3


def _inside(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """List a module and all below it with their paths; by no method that a subclass may have made its own."""
    seen: dict[int, tuple[str, nn.Module]] = {}
    waiting = [("", module)]
    while waiting:
        path, inner = waiting.pop()
        if id(inner) in seen:
            continue
        seen[id(inner)] = (path, inner)
        children = vars(inner).get("_modules") or {}
        waiting += [(f"{path}{name}.", child) for name, child in children.items() if isinstance(child, nn.Module)]
    return list(seen.values())


def parameters_inside(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return the parameters of a module and all below it by name, whatever it says itself."""
    found: dict[str, torch.Tensor] = {}
    for path, inner in _inside(module):
        table = vars(inner).get("_parameters") or {}
        found.update({f"{path}{name}": tensor for name, tensor in table.items() if isinstance(tensor, torch.Tensor)})
    return found


def _same_layout(own: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> set[str] | None:
    """Find the prefix under which every name and shape of `own` occurs in `wanted`."""
    first = next(iter(own))
    for name in wanted:
        if name != first and not name.endswith(f".{first}"):
            continue
        prefix = name.removesuffix(first)
        if all(wanted.get(prefix + key) == shape for key, shape in own.items()):
            return {prefix + key for key in own}
    return None


def _groups_of(thing: Any) -> Any:
    """Return `param_groups` of something that only resembles an optimizer, read without any protocol."""
    try:
        own = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        return None
    groups = own.get("param_groups") if type(own) is dict else None
    return groups if isinstance(groups, list) else None


def tensors_of(optimizer: Any) -> list[Any]:
    """Return all tensors of all groups, as an optimizer itself tells them: a wrapper may ask the one that it wraps."""
    return [tensor for group in optimizer.param_groups for tensor in group["params"]]


def shapes_of(tensors: Iterable[Any]) -> list[tuple[int, ...]]:
    """Return their shapes in an order that does not depend on theirs."""
    return sorted(tuple(one.shape) for one in tensors)


def held_tensors(optimizer: Any) -> list[torch.Tensor]:
    """Return all tensors of an optimizer's groups, also of what only looks like an optimizer."""
    groups = vars(optimizer).get("param_groups", [])
    return [
        tensor
        for group in groups
        if isinstance(group, Mapping)
        for tensor in group.get("params", [])
        if isinstance(tensor, torch.Tensor)
    ]


def why_unobserved(optimizer: Any) -> str | None:
    """Say why no step of this optimizer can be heard; None if it can."""
    step = getattr(type(optimizer), "step", None)
    if not isinstance(optimizer, torch.optim.Optimizer):
        return "it is not a torch.optim.Optimizer"
    own = vars(optimizer).get("step")
    if own is not None and getattr(own, "_wrapped_by_lr_sched", None) is not True:
        return "its `step` was replaced on the instance"
    if getattr(step, "hooked", False) is not True:
        initialised = "_optimizer_step_pre_hooks" in vars(optimizer)
        return "its `step` was replaced on the class" if initialised else "it never called super().__init__()"
    return None


def why_mocked(optimizer: Any) -> str | None:
    """Say so if what runs as its `step` is a mock, which torch has wrapped like any other step."""
    inner = getattr(type(optimizer).step, "__wrapped__", None)
    mocked = type(inner).__module__ == "unittest.mock" or hasattr(inner, "mock_calls")
    return "its `step` is a mock" if mocked else None


def birthplace(optimizer: Any) -> str | None:
    """Return where it was built, if that is known."""
    try:
        return origins.birthplace(optimizer)
    except TypeError:  # not hashable, or without weak references
        return None
