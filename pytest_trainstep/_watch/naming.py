"""Which tensors are watched, under which names, and how to find them again later."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pytest_trainstep._errors import TrainStepUsageError

_WRAPPERS = {"_orig_mod", "_forward_module"}
_NAMED = 3  # in a note


@dataclass(slots=True)
class Slot:
    """One named place for a parameter: how it is called and where it is now."""

    name: str
    raw: str
    tensor: torch.Tensor
    holder: dict[str, Any] | None  # the `_parameters` of the module that registers it
    key: str
    aliases: tuple[str, ...] = ()
    buffer: bool = False

    def current(self) -> torch.Tensor | None:
        """Return the tensor that now has this name, None when the name is gone."""
        if self.holder is None:
            return self.tensor
        now = self.holder.get(self.key)
        return now if isinstance(now, torch.Tensor) else None


def modules_of(model: Any) -> dict[str, nn.Module]:
    """Return the watched modules by prefix ("" for a single one).

    Raises:
        TrainStepUsageError: `model` is neither a module nor a mapping of names to modules.
    """
    if isinstance(model, nn.Module):
        return {"": model}
    if isinstance(model, Mapping):
        named = {str(name): module for name, module in model.items()}
        wrong = [name for name, module in named.items() if not isinstance(module, nn.Module)]
        if named and not wrong:
            return named
        detail = f"{wrong[0]!r} is {_kind(model[wrong[0]])}" if wrong else "the mapping is empty"
        msg = f"model must be a torch.nn.Module or a mapping of names to modules; {detail}"
        raise TrainStepUsageError(msg)
    hint = _inner_module_hint(model)
    msg = f"model must be a torch.nn.Module or a mapping of names to modules, not {_kind(model)}{hint}"
    raise TrainStepUsageError(msg)


def _kind(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def _inner_module_hint(model: object) -> str:
    for attribute in ("module_", "model", "module", "net", "policy"):
        if isinstance(getattr(model, attribute, None), nn.Module):
            return f"; did you mean its `.{attribute}`?"
    return ""


def slots_of(modules: Mapping[str, nn.Module]) -> list[Slot]:
    """List every registered parameter once, under the name a user would call it."""
    slots: dict[int, Slot] = {}
    for prefix, module in modules.items():
        holders, wrapper = _holders(module), _is_wrapper(module)
        for raw, tensor in _named_parameters(module):
            full = f"{prefix}.{raw}" if prefix else raw
            known = slots.get(id(tensor))
            if known is not None:
                known.aliases = (*known.aliases, _plain_name(full, prefix, wrapper=wrapper))
                continue
            holder, key = holders.get(id(tensor), (None, raw))
            slots[id(tensor)] = Slot(_plain_name(full, prefix, wrapper=wrapper), full, tensor, holder, key)
    return _without_clashes(list(slots.values()))


def buffer_slots_of(modules: Mapping[str, nn.Module]) -> list[Slot]:
    """List every buffer once, as `slots_of` lists the parameters."""
    slots: dict[int, Slot] = {}
    for prefix, module in modules.items():
        wrapper = _is_wrapper(module)
        for path, inner in module.named_modules(prefix=prefix):
            table: Any = inner._buffers  # noqa: SLF001 - where nn.Module keeps them
            for key, tensor in table.items():
                if tensor is not None:
                    full = f"{path}.{key}" if path else key
                    holder = table if isinstance(table, dict) else None
                    name = _plain_name(full, prefix, wrapper=wrapper)
                    slots.setdefault(id(tensor), Slot(name, full, tensor, holder, key, buffer=True))
    return _without_clashes(list(slots.values()))


def farewell(names: Sequence[str]) -> str:
    """Say which parameters no watched model has any more."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"no longer in the model at the end: {', '.join(names[:_NAMED])}{more}"


def slots_of_mapping(params: Mapping[str, Any]) -> list[Slot]:
    """List the tensors of functional training, which are looked up by name again at the end."""
    wrong = [name for name, tensor in params.items() if not isinstance(tensor, torch.Tensor)]
    if wrong or not params:
        detail = f"{wrong[0]!r} is {_kind(params[wrong[0]])}" if wrong else "it is empty"
        msg = f"params must map names to tensors; {detail}"
        raise TrainStepUsageError(msg)
    return [Slot(str(name), str(name), tensor, None, str(name)) for name, tensor in params.items()]


def mapping_getter(params: Any) -> Callable[[], Mapping[str, torch.Tensor]]:
    """Turn `params=` (a mapping or a callable that returns one) into a callable.

    Raises:
        TrainStepUsageError: It is neither.
    """
    if callable(params):
        return lambda: dict(params())
    if isinstance(params, Mapping):
        return lambda: params
    msg = f"params must be a mapping of names to tensors or a callable returning one, not {_kind(params)}"
    raise TrainStepUsageError(msg)


def _named_parameters(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """The module's own account of its parameters, torch's where that one cannot be used."""
    pairs: list[tuple[Any, Any]]
    try:
        pairs = list(module.named_parameters(remove_duplicate=False))
    except Exception:  # noqa: BLE001 - an override may take no arguments, or raise
        try:
            pairs = list(module.named_parameters())
        except Exception:  # noqa: BLE001 - see above
            pairs = list(nn.Module.named_parameters(module))
    return ((str(name), tensor) for name, tensor in pairs if isinstance(tensor, torch.Tensor))


def _holders(module: nn.Module) -> dict[int, tuple[dict[str, Any], str]]:
    found: dict[int, tuple[dict[str, Any], str]] = {}
    for inner in nn.Module.modules(module):
        table: Any = inner._parameters  # noqa: SLF001 - where nn.Module keeps them
        if isinstance(table, dict):  # a scripted module has another kind of table, and keeps its parameters for good
            found.update({id(tensor): (table, key) for key, tensor in table.items() if id(tensor) not in found})
    return found


def _plain_name(full: str, prefix: str, *, wrapper: bool) -> str:
    parts = [part for part in full.split(".") if part not in _WRAPPERS]
    position = 1 if prefix else 0
    if wrapper and len(parts) > position + 1 and parts[position] == "module":
        del parts[position]
    return ".".join(parts)


def _is_wrapper(module: nn.Module) -> bool:
    """DataParallel and its like, compiled or not: one child called `module`, nothing of its own."""
    children = dict(nn.Module.named_children(module))
    while list(children) == ["_orig_mod"]:
        module = children["_orig_mod"]
        children = dict(nn.Module.named_children(module))
    return list(children) == ["module"] and not len(module._parameters)  # noqa: SLF001 - where nn.Module keeps them


def _without_clashes(slots: list[Slot]) -> list[Slot]:
    """Give back the full names where stripping a prefix made two names equal."""
    count: dict[str, int] = {}
    for slot in slots:
        count[slot.name] = count.get(slot.name, 0) + 1
    for slot in slots:
        if count[slot.name] > 1:
            slot.name = slot.raw
        elif slot.raw != slot.name:
            slot.aliases = (slot.raw, *slot.aliases)
    return slots
