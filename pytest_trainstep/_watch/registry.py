"""Names of parameters for which no model was given: remembered when modules register them, checked when asked."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn.modules import module as hooks

_LISTS = (torch.nn.ParameterList, torch.nn.ParameterDict)
_LIMIT = 100_000  # entries; what is older may lose its name

# The modules are held weakly, the parameters not at all: a weak reference would forbid swapping them.
_parameters: dict[int, tuple[weakref.ref[Any], str]] = {}
_children: dict[int, tuple[weakref.ref[Any], str]] = {}


def install() -> Callable[[], None]:
    """Begin to remember; return what ends it."""
    handles = [
        hooks.register_module_parameter_registration_hook(_parameter),
        hooks.register_module_module_registration_hook(_child),
    ]

    def remove() -> None:
        for handle in handles:
            handle.remove()
        _parameters.clear()
        _children.clear()

    return remove


def _parameter(module: Any, name: str, parameter: Any) -> None:
    _remember(_parameters, module, name, parameter)


def _child(module: Any, name: str, child: Any) -> None:
    _remember(_children, module, name, child)


def _remember(where: dict[int, tuple[weakref.ref[Any], str]], module: Any, name: str, thing: Any) -> None:
    try:
        if thing is not None:
            if len(where) >= _LIMIT:
                where.clear()
            where[id(thing)] = weakref.ref(module), name
    except Exception:  # noqa: BLE001 - an observer must never break the user's module
        return


def owner(tensor: torch.Tensor) -> tuple[Any, str] | None:
    """Return the living module that registers this tensor, and its name there."""
    reference, name = _parameters.get(id(tensor), (None, ""))
    module = None if reference is None else reference()
    if module is None or vars(module).get("_parameters", {}).get(name) is not tensor:
        return None
    return module, name


def of_models(tensors: Iterable[torch.Tensor]) -> set[int]:
    """Return the identities of those that a layer registers now: neither a loose tensor nor one in a mere list."""
    owners = ((id(tensor), owner(tensor)) for tensor in tensors)
    return {key for key, found in owners if found is not None and not isinstance(found[0], _LISTS)}


def name_of(tensor: torch.Tensor) -> str | None:
    """Return the name of a parameter as far up as modules are known: `encoder.0.weight`."""
    found = owner(tensor)
    if found is None:
        return None
    module, name = found
    for _ in range(32):
        reference, step = _children.get(id(module), (None, ""))
        parent = None if reference is None else reference()
        if parent is None or vars(parent).get("_modules", {}).get(step) is not module:
            return name if "." in name else f"{name} of {type(module).__name__}"
        module, name = parent, f"{step}.{name}"
    return name
