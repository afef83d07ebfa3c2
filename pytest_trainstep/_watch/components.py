"""What a trainer consists of, as far as a checkpoint is concerned: captured, compared, transplanted.

A *part* is one attribute of the trainer whose state matters for how training goes on: a module, an
optimizer, a scheduler, a scaler, a generator, a counter, a container of numbers, tensors.
"""

from __future__ import annotations

import copy
import random
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .restore import random_states

_DEPTH = 2
_FOREIGN = {"torch", "numpy", "builtins"}


@dataclass(slots=True)
class Part:
    """One piece of state: its path in the trainer, its kind, a copy, and how to put the copy into a trainer."""

    path: str
    kind: str
    state: Any
    put: Callable[[Any], None]  # into the trainer given


def parts_of(trainer: Any) -> dict[str, Part]:
    """Capture every part of `trainer`, the random streams of the process included."""
    found = {part.path: part for part in _walk("", trainer, set(), _DEPTH)}
    found["<random streams>"] = Part("<random streams>", "streams", stream_states(), _restorer())
    return found


def _restorer() -> Callable[[Any], None]:
    back = random_states()
    return lambda _trainer: back()


def stream_states() -> dict[str, Any]:
    """Copy the states of the global streams."""
    states: dict[str, Any] = {"python": random.getstate(), "torch": torch.get_rng_state()}
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        states["numpy"] = numpy.get_state()
    return states


def _walk(path: str, holder: Any, seen: set[int], depth: int) -> Iterator[Part]:
    if id(holder) in seen:
        return
    seen.add(id(holder))
    for key, value in list(_attributes(holder).items()):
        full = f"{path}.{key}" if path else key
        kind = kind_of(value)
        if kind is None:
            if depth > 0 and _is_users(type(value)):
                yield from _walk(full, value, seen, depth - 1)
            continue
        if kind == "module":
            yield from _module_parts(full, value, seen)
        elif kind != "opaque":
            if kind == "optimizer":
                yield Part(f"{full} order", "order", _order(value, holder), lambda _trainer: None)
            yield Part(full, kind, copied(kind, value), _putter(full, kind, copied(kind, value)))


def _attributes(holder: Any) -> dict[str, Any]:
    own = getattr(holder, "__dict__", None)
    slots = {name: getattr(holder, name) for name in getattr(holder, "__slots__", ()) if hasattr(holder, name)}
    return {**slots, **own} if isinstance(own, dict) else slots


def _is_users(kind: type) -> bool:
    room = kind.__module__.partition(".")[0]
    return room not in _FOREIGN and room not in sys.stdlib_module_names


_CONTAINERS = (list, deque, dict, set, tuple)
_KINDS: tuple[tuple[str, Callable[[Any], bool]], ...] = (
    ("module", lambda value: isinstance(value, nn.Module)),
    ("optimizer", lambda value: isinstance(value, torch.optim.Optimizer)),
    ("scaler", lambda value: isinstance(value, torch.amp.GradScaler)),
    ("generator", lambda value: isinstance(value, torch.Generator | random.Random)),
    ("generator", lambda value: hasattr(value, "bit_generator")),
    ("scheduler", lambda value: hasattr(value, "optimizer") and hasattr(value, "state_dict")),
    ("tensor", lambda value: isinstance(value, torch.Tensor)),
    ("number", lambda value: isinstance(value, bool | int | float | str)),
    ("container", lambda value: isinstance(value, _CONTAINERS) and _is_plain(value)),
    ("opaque", lambda value: isinstance(value, _CONTAINERS)),
    ("stateful", lambda value: hasattr(value, "state_dict") and hasattr(value, "load_state_dict")),
)


def kind_of(value: Any) -> str | None:
    """Name the kind of a part, the first that fits; None for what is none of them."""
    return next((kind for kind, fits in _KINDS if fits(value)), None)


def _is_plain(value: Any, depth: int = 3) -> bool:
    """Tell whether a container holds numbers, strings and tensors only (so that copying it is safe)."""
    if value is None or isinstance(value, bool | int | float | str | bytes | torch.Tensor):
        return True
    if depth == 0:
        return False
    if isinstance(value, dict):
        return all(_is_plain(item, depth - 1) for item in value.values())
    if isinstance(value, list | deque | set | tuple):
        return all(_is_plain(item, depth - 1) for item in value)
    return False


def _module_parts(path: str, module: nn.Module, seen: set[int]) -> Iterator[Part]:
    seen.add(id(module))
    weights = {name: one.detach().clone() for name, one in module.named_parameters() if _readable(one)}
    buffers = {name: one.detach().clone() for name, one in module.named_buffers() if _readable(one)}
    grads = {name: None if one.grad is None else one.grad.detach().clone() for name, one in module.named_parameters()}
    yield Part(path, "weights", weights, _tensor_putter(path, weights))
    yield Part(f"{path} buffers", "buffers", buffers, _tensor_putter(path, buffers))
    yield Part(f"{path} gradients", "gradients", grads, _gradient_putter(path, grads))
    yield Part(f"{path} ties", "ties", _ties(module), lambda _trainer: None)


def _order(optimizer: torch.optim.Optimizer, trainer: Any) -> list[str]:
    """The names of the optimizer's parameters, in its order."""
    names = {
        id(tensor): f"{key}.{name}"
        for key, value in _attributes(trainer).items()
        if isinstance(value, nn.Module)
        for name, tensor in value.named_parameters()
    }
    return [names.get(id(one), "?") for group in optimizer.param_groups for one in group["params"]]


def _readable(tensor: torch.Tensor) -> bool:
    return tensor.device.type != "meta"


def _ties(module: nn.Module) -> frozenset[frozenset[str]]:
    """Which names of parameters stand for one tensor."""
    names: dict[int, set[str]] = {}
    for name, tensor in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(tensor), set()).add(name)
    return frozenset(frozenset(group) for group in names.values() if len(group) > 1)


def at(trainer: Any, path: str) -> Any:
    """Follow a dotted path."""
    for key in path.split("."):
        trainer = getattr(trainer, key)
    return trainer


def _tensor_putter(path: str, values: dict[str, torch.Tensor]) -> Callable[[Any], None]:
    def put(trainer: Any) -> None:
        module = at(trainer, path)
        own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        with torch.no_grad():
            for name, value in values.items():
                if name in own:
                    own[name].copy_(value)

    return put


def _gradient_putter(path: str, grads: dict[str, torch.Tensor | None]) -> Callable[[Any], None]:
    def put(trainer: Any) -> None:
        for name, tensor in at(trainer, path).named_parameters():
            grad = grads.get(name)
            tensor.grad = None if grad is None else grad.clone()

    return put


def copied(kind: str, value: Any) -> Any:
    """Copy the state of a part."""
    if kind in ("optimizer", "scheduler", "scaler", "stateful"):
        return copy.deepcopy(value.state_dict())
    if kind == "generator":
        return _generator_state(value)
    if kind == "tensor":
        return value.detach().clone()
    return copy.deepcopy(value) if kind == "container" else value


def _generator_state(value: Any) -> Any:
    if isinstance(value, torch.Generator):
        return value.get_state().clone()
    if isinstance(value, random.SystemRandom):
        return None
    if isinstance(value, random.Random):
        return value.getstate()
    return copy.deepcopy(value.bit_generator.state)


def _putter(path: str, kind: str, state: Any) -> Callable[[Any], None]:
    def put(trainer: Any) -> None:
        holder, _, key = path.rpartition(".")
        owner = at(trainer, holder) if holder else trainer
        value = getattr(owner, key, None)
        if kind in ("optimizer", "scheduler", "scaler", "stateful") and value is not None:
            value.load_state_dict(copy.deepcopy(state))
        elif kind == "generator" and value is not None:
            _set_generator(value, state)
        elif kind == "tensor" and isinstance(value, torch.Tensor) and value.shape == state.shape:
            with torch.no_grad():
                value.data.copy_(state)
        else:
            setattr(owner, key, copy.deepcopy(state))

    return put


def _set_generator(value: Any, state: Any) -> None:
    if isinstance(value, torch.Generator):
        value.set_state(state)
    elif isinstance(value, random.SystemRandom):
        return
    elif isinstance(value, random.Random):
        value.setstate(state)
    else:
        value.bit_generator.state = copy.deepcopy(state)


def same(one: Any, other: Any) -> bool:
    """Compare two states bit for bit, through dictionaries, lists and tensors."""
    if isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor):
        return (
            isinstance(one, torch.Tensor)
            and isinstance(other, torch.Tensor)
            and one.shape == other.shape
            and torch.equal(torch.nan_to_num(one), torch.nan_to_num(other))
        )
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple | deque) and isinstance(other, list | tuple | deque):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if type(one).__module__ == "numpy":
        return bool((one == other).all())
    return bool(one == other) or (one != one and other != other)  # noqa: PLR0124 - NaN is NaN


def differing(saved: dict[str, Part], loaded: dict[str, Part]) -> list[Part]:
    """Return the parts of `saved` that a loaded trainer does not have, or has otherwise."""
    return [part for path, part in saved.items() if path not in loaded or not same(part.state, loaded[path].state)]
