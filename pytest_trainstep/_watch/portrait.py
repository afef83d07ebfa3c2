"""A portrait of models and an optimizer, to tell afterwards what is not as it was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from . import naming
from .snapshots import unequal

_LARGEST_NEST = 6
_ULPS = 4.0  # averages that are swapped in and out by arithmetic come back with a rounding error or two


class Found(NamedTuple):
    """One thing that is not as it was found, in words."""

    aspect: str  # weights, buffers, modes, gradients, requires_grad, grad_mode, optimizer
    name: str
    was: str
    now: str
    kind: str = ""


class Portrait:
    """Values, modes, gradients and switches at one moment."""

    def __init__(self, modules: Mapping[str, nn.Module], optimizers: Sequence[Any] = ()) -> None:
        self.modules = modules
        self.slots = naming.slots_of(modules)
        self.buffers = naming.buffer_slots_of(modules)
        self.values = [_copy(slot.tensor) for slot in (*self.slots, *self.buffers)]
        self.grads = [_copy(_grad(slot.tensor)) for slot in self.slots]
        self.required = [slot.tensor.requires_grad for slot in self.slots]
        self.modes = [(name, inner, inner.training) for name, inner in _named(modules)]
        self.norms, self.passing = _kinds_of_buffers(modules)
        self.grad_mode = torch.is_grad_enabled()
        names = {id(slot.tensor): slot.name for slot in self.slots}
        self.optimizers = [(optimizer, dict(_facts(optimizer, names)), names) for optimizer in optimizers]

    def changes(self) -> list[Found]:
        """Compare everything with what it was."""
        found: list[Found] = []
        if torch.is_grad_enabled() != self.grad_mode:
            found.append(Found("grad_mode", "torch", _on(self.grad_mode), _on(not self.grad_mode)))
        found += [
            Found("modes", name or "(the model)", _mode(was), _mode(not was))
            for name, inner, was in self.modes
            if inner.training != was
        ]
        found += self.weight_changes()
        present = {slot.raw: slot.tensor for slot in naming.slots_of(self.modules)}
        for slot, required, grad in zip(self.slots, self.required, self.grads, strict=True):
            now = present.get(slot.raw)
            if now is None:
                continue
            if now.requires_grad != required:
                found.append(Found("requires_grad", slot.name, str(required), str(not required)))
            found += _gradient_change(slot.name, grad, _grad(now))
        for optimizer, facts, names in self.optimizers:
            found += _optimizer_changes(type(optimizer).__name__, facts, dict(_facts(optimizer, names)))
        return found

    def weight_changes(self) -> list[Found]:
        """Compare weights and buffers only."""
        # asked of the modules anew: a whole layer may have been replaced
        weights = {slot.raw: slot.tensor for slot in naming.slots_of(self.modules)}
        buffers = {slot.raw: slot.tensor for slot in naming.buffer_slots_of(self.modules)}
        found = []
        for slot, old in zip(self.slots, self.values, strict=False):
            found += _weight_change(slot, old, weights.get(slot.raw))
        for slot, old in zip(self.buffers, self.values[len(self.slots) :], strict=True):
            found += self._buffer_change(slot, old, buffers.get(slot.raw))
        return found

    def _buffer_change(self, slot: naming.Slot, old: torch.Tensor | None, now: torch.Tensor | None) -> list[Found]:
        if now is not None and _same(old, now):
            if now.is_inference() and not slot.tensor.is_inference():
                return [Found("buffers", slot.name, "a tensor", "an inference tensor of equal values")]
            return []
        key = (id(slot.holder), slot.key)
        if key in self.passing and (old is None or now is None or old.shape != now.shape):
            return []  # not part of the state: a cache that grew, shrank or was dropped
        kind = "statistics" if key in self.norms else _rounded(old, now)
        return [Found("buffers", slot.name, _told(old), _told(now, old), kind)]


def _named(modules: Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    for prefix, module in modules.items():
        yield from nn.Module.named_modules(module, prefix=prefix)


def _kinds_of_buffers(modules: Mapping[str, nn.Module]) -> tuple[set[tuple[int, str]], set[tuple[int, str]]]:
    """Return the buffers that are running statistics, and those that are not part of the state."""
    norms: set[tuple[int, str]] = set()
    passing: set[tuple[int, str]] = set()
    for _, inner in _named(modules):
        table = inner._buffers  # noqa: SLF001 - where nn.Module keeps them
        passing |= {(id(table), key) for key in inner._non_persistent_buffers_set}  # noqa: SLF001 - no public way
        if isinstance(inner, nn.modules.batchnorm._NormBase):  # noqa: SLF001 - no public base class
            norms |= {(id(table), key) for key in table}
    return norms, passing


def _grad(tensor: torch.Tensor) -> torch.Tensor | None:
    return tensor.grad if tensor.is_leaf else None


def _copy(tensor: torch.Tensor | None) -> torch.Tensor | None:
    if tensor is None or tensor.device.type == "meta" or is_lazy(tensor):
        return None
    plain = tensor.detach()
    return plain.to_dense().clone() if plain.layout is not torch.strided else plain.clone()


def _same(old: torch.Tensor | None, new: torch.Tensor) -> bool:
    values = _copy(new)
    if old is None or values is None:
        return old is values
    if old.shape != values.shape or old.dtype != values.dtype or old.device != values.device:
        return False
    return torch.equal(old, values) or not bool(unequal(old, values).any())


def _weight_change(slot: naming.Slot, old: torch.Tensor | None, now: torch.Tensor | None) -> list[Found]:
    if now is None:
        return [Found("weights", slot.name, _told(old), "gone", "replaced")]
    if not _same(old, now) and not _within_rounding(old, now):
        kind = _rounded(old, now) or ("" if now is slot.tensor else "replaced")
        return [Found("weights", slot.name, _told(old), _told(now, old), kind)]
    if now is not slot.tensor:
        return [Found("weights", slot.name, "this tensor", "another tensor of equal values", "replaced")]
    return []


def _within_rounding(old: torch.Tensor | None, new: torch.Tensor) -> bool:
    if (
        old is None
        or old.shape != new.shape
        or old.dtype != new.dtype
        or new.dtype not in (torch.float32, torch.float64)
    ):
        return False
    most = _ULPS * torch.finfo(old.dtype).eps * float(old.abs().max())
    return bool(((new.detach() - old).abs() <= most).all())


def _rounded(old: torch.Tensor | None, new: torch.Tensor | None) -> str:
    """Name the dtype through which the values went and came back, if that is what happened."""
    if old is None or new is None or old.shape != new.shape or not old.dtype.is_floating_point:
        return ""
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        if torch.finfo(dtype).bits < torch.finfo(old.dtype).bits and torch.equal(
            old.to(dtype).to(new.dtype), new.detach()
        ):
            return f"rounded {str(dtype).removeprefix('torch.')}"
    return ""


def _told(tensor: torch.Tensor | None, old: torch.Tensor | None = None) -> str:
    if tensor is None:
        return "nothing"
    values = tensor.detach()
    kind = f"{str(values.dtype).removeprefix('torch.')} {tuple(values.shape)}".replace(", ", ",")
    if old is None or old.shape != values.shape or not values.numel() or values.device.type == "meta":
        return kind
    off = (values.to("cpu", torch.float64) - old.to("cpu", torch.float64)).abs().max() if not values.is_complex() else 0
    same = values.dtype == old.dtype
    return f"off by up to {float(off):.1e}" if same else f"{kind}, off by up to {float(off):.1e}"


def _gradient_change(name: str, old: torch.Tensor | None, new: torch.Tensor | None) -> list[Found]:
    empty_before, empty_now = _empty(old), _empty(new)
    if empty_before and empty_now:
        return []  # None and zeros come to the same
    if empty_now:
        return [Found("gradients", name, _norm(old), "None" if new is None else "0", "dropped")]
    if empty_before:
        return [Found("gradients", name, "None" if old is None else "0", _norm(new), "added")]
    assert new is not None
    return [] if _same(old, new) else [Found("gradients", name, _norm(old), _norm(new), "changed")]


def _empty(grad: torch.Tensor | None) -> bool:
    return grad is None or grad.device.type == "meta" or not bool(grad.to_dense().any())


def _norm(grad: torch.Tensor | None) -> str:
    return "None" if grad is None else f"norm {float(torch.linalg.vector_norm(grad.detach().to_dense())):.1e}"


def _facts(optimizer: Any, names: Mapping[int, str]) -> Iterator[tuple[str, object]]:
    """Lay an optimizer's groups and state flat: a path in words, and a value."""
    for number, group in enumerate(optimizer.param_groups):
        yield f"parameters of group {number}", tuple(id(one) for one in group["params"])
        for key, value in group.items():
            if key != "params":
                yield from _leaves(f"{key} of group {number}", value)
    state = getattr(optimizer, "state", {})
    for tensor, value in state.items() if isinstance(state, Mapping) else ():
        name = names.get(id(tensor), f"a tensor of shape {tuple(getattr(tensor, 'shape', ()))}")
        yield from _leaves(f"{name}:", value)


def _leaves(path: str, value: object, depth: int = _LARGEST_NEST) -> Iterator[tuple[str, object]]:
    if isinstance(value, torch.Tensor):
        yield path, _copy(value)
    elif isinstance(value, Mapping) and depth:
        for key, item in value.items():
            yield from _leaves(f"{path} {key}", item, depth - 1)
    elif isinstance(value, list | tuple) and depth:
        for place, item in enumerate(value):
            yield from _leaves(f"{path} {place}", item, depth - 1)
    else:
        yield path, value


def _optimizer_changes(kind: str, old: Mapping[str, object], new: Mapping[str, object]) -> list[Found]:
    found = []
    for path in dict.fromkeys((*old, *new)):
        if path not in old or path not in new:
            found.append(
                Found(
                    "optimizer",
                    f"{kind}, {path}",
                    "there" if path in old else "none",
                    "there" if path in new else "none",
                )
            )
            continue
        was, now = old[path], new[path]
        if isinstance(was, torch.Tensor) and isinstance(now, torch.Tensor):
            if not _same(was, now):
                found.append(Found("optimizer", f"{kind}, {path}", _told(was), _told(now, was)))
        elif was is not now and was != now:
            found.append(
                Found(
                    "optimizer",
                    f"{kind}, {path}",
                    *((str(was), str(now)) if "parameters" not in path else ("these", "others")),
                )
            )
    return found


def _mode(training: bool) -> str:  # noqa: FBT001 - the word for a switch
    return "train" if training else "eval"


def _on(enabled: bool) -> str:  # noqa: FBT001 - as above
    return "on" if enabled else "off"
