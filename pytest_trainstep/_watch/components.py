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

from .owners import tensors_of
from .restore import random_states

_DEPTH = 2
_FEW = 64  # of a longer list nobody asks which item was lost
_FOREIGN = {"torch", "numpy", "builtins"}
Keys = tuple[Any, ...]  # how to get to a part: names of attributes, keys of dictionaries, places in lists


@dataclass(slots=True)
class Part:
    """One piece of state: its path in the trainer, its kind, a copy, and how to put the copy into a trainer."""

    path: str
    kind: str
    state: Any
    put: Callable[[Any], None]  # into the trainer given


def parts_of(trainer: Any) -> dict[str, Part]:
    """Capture every part of `trainer`, the random streams of the process included."""
    walk = _Walk()
    found = {part.path: part for part in walk.through((), trainer, _DEPTH)}
    for keys, optimizer in walk.optimizers:
        path = f"{shown(keys)} order"
        found[path] = Part(path, "order", walk.order(optimizer), _left_alone)
    found["<random streams>"] = Part("<random streams>", "streams", stream_states(), _restorer())
    return found


def _restorer() -> Callable[[Any], None]:
    back = random_states()
    return lambda _trainer: back()


def _left_alone(_trainer: Any) -> None:
    """Some parts are compared only: ties and orders are made by code, not by state."""


def stream_states() -> dict[str, Any]:
    """Copy the states of the global streams."""
    states: dict[str, Any] = {"python": random.getstate(), "torch": torch.get_rng_state()}
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        states["numpy"] = numpy.get_state()
    return states


class _Walk:
    """The way through a trainer's attributes; each object is met once."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.optimizers: list[tuple[Keys, torch.optim.Optimizer]] = []
        self.names: dict[int, str] = {}

    def through(self, keys: Keys, holder: Any, depth: int) -> Iterator[Part]:
        if id(holder) in self.seen:
            return
        self.seen.add(id(holder))
        for key, value in _children(holder):
            yield from self.at((*keys, key), value, depth)

    def at(self, keys: Keys, value: Any, depth: int) -> Iterator[Part]:
        kind = kind_of(value)
        if kind is None or kind == "opaque":
            if depth > 0 and (kind == "opaque" or _is_users(type(value))):
                yield from self.through(keys, value, depth - 1)
        elif kind == "module":
            yield from self.module(keys, value)
        else:
            if kind == "optimizer":
                self.optimizers.append((keys, value))
            state = copied(kind, value)
            yield Part(shown(keys), kind, state, _putter(keys, kind, state))

    def module(self, keys: Keys, module: nn.Module) -> Iterator[Part]:
        if id(module) in self.seen:
            return
        self.seen.update(map(id, module.modules()))
        path = shown(keys)
        parameters = dict(module.named_parameters())
        self.names.update({id(one): f"{path}.{name}" for name, one in parameters.items()})
        weights = {name: one.detach().clone() for name, one in parameters.items() if _readable(one)}
        buffers = {name: one.detach().clone() for name, one in module.named_buffers() if _readable(one)}
        grads = {name: None if one.grad is None else one.grad.detach().clone() for name, one in parameters.items()}
        mode = _mode(module)
        yield Part(path, "weights", weights, _tensor_putter(keys, weights))
        yield Part(f"{path} buffers", "buffers", buffers, _tensor_putter(keys, buffers))
        yield Part(f"{path} gradients", "gradients", grads, _gradient_putter(keys, grads))
        yield Part(f"{path} mode", "mode", mode, _mode_putter(keys, mode))
        yield Part(f"{path} ties", "ties", _ties(module), _left_alone)
        for inner, value in _plain_attributes(module):
            kind, state = str(kind_of(value)), copied(str(kind_of(value)), value)
            yield Part(shown((*keys, *inner)), kind, state, _putter((*keys, *inner), kind, state))

    def order(self, optimizer: torch.optim.Optimizer) -> list[str]:
        """The names of the optimizer's parameters, in its order."""
        return [self.names.get(id(one), "?") for one in tensors_of(optimizer)]


def shown(keys: Keys) -> str:
    """Write a path as Python does: `optimizers[0]`, `model.updates`."""
    text = "".join(f".{key}" if isinstance(key, str) else f"[{key!r}]" for key in keys)
    return text.removeprefix(".")


def at(trainer: Any, keys: Keys) -> Any:
    """Follow a path."""
    for key in keys:
        trainer = trainer[key] if isinstance(trainer, list | tuple | deque | dict) else getattr(trainer, key)
    return trainer


def _children(holder: Any) -> list[tuple[Any, Any]]:
    if isinstance(holder, dict):
        return list(holder.items())[:_FEW]
    if isinstance(holder, list | tuple | deque):
        return list(enumerate(holder))[:_FEW]
    own = getattr(holder, "__dict__", None)
    slots = {name: getattr(holder, name) for name in getattr(holder, "__slots__", ()) if hasattr(holder, name)}
    return list({**slots, **(own if isinstance(own, dict) else {})}.items())


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


_PLAIN = ("number", "generator", "container", "tensor")
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


def _plain_attributes(module: nn.Module) -> Iterator[tuple[Keys, Any]]:
    """What a module and those inside it keep besides parameters and buffers: counters, generators, lists."""
    for name, one in module.named_modules():
        for key, value in list(vars(one).items()):
            private = key.startswith("_") and not _is_users(type(one))
            if key not in _OF_EVERY_MODULE and not private and kind_of(value) in _PLAIN and not _of_weights(value):
                yield (*(name.split(".") if name else ()), key), value


def _of_weights(value: Any) -> bool:
    """Tell whether a list is another view of the parameters, which are looked after already."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, _CONTAINERS) else (value,)
    return any(isinstance(one, nn.Parameter) for one in items)


def _mode(module: nn.Module) -> dict[str, bool]:
    """Which modules are in training mode, which parameters are trainable."""
    modes = {f"{name} training": one.training for name, one in module.named_modules()}
    return modes | {f"{name} trainable": one.requires_grad for name, one in module.named_parameters()}


def _readable(tensor: torch.Tensor) -> bool:
    return tensor.device.type != "meta"


def _ties(module: nn.Module) -> frozenset[frozenset[str]]:
    """Which names of parameters stand for one tensor."""
    names: dict[int, set[str]] = {}
    for name, tensor in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(tensor), set()).add(name)
    return frozenset(frozenset(group) for group in names.values() if len(group) > 1)


def _tensor_putter(keys: Keys, values: dict[str, torch.Tensor]) -> Callable[[Any], None]:
    def put(trainer: Any) -> None:
        module = at(trainer, keys)
        own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        with torch.no_grad():
            for name, value in values.items():
                if name in own:
                    own[name].copy_(value)

    return put


def _gradient_putter(keys: Keys, grads: dict[str, torch.Tensor | None]) -> Callable[[Any], None]:
    def put(trainer: Any) -> None:
        for name, tensor in at(trainer, keys).named_parameters():
            grad = grads.get(name)
            tensor.grad = None if grad is None else grad.clone()

    return put


def _mode_putter(keys: Keys, mode: dict[str, bool]) -> Callable[[Any], None]:
    def put(trainer: Any) -> None:
        module = at(trainer, keys)
        for name, one in module.named_modules():
            one.training = mode.get(f"{name} training", one.training)
        for name, tensor in module.named_parameters():
            tensor.requires_grad_(mode.get(f"{name} trainable", tensor.requires_grad))

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


def _putter(keys: Keys, kind: str, state: Any) -> Callable[[Any], None]:
    def put(trainer: Any) -> None:
        owner, key = at(trainer, keys[:-1]), keys[-1]
        held = isinstance(owner, _CONTAINERS)
        value = owner[key] if held else getattr(owner, key, None)
        if kind in ("optimizer", "scheduler", "scaler", "stateful") and value is not None:
            value.load_state_dict(copy.deepcopy(state))
        elif kind == "generator" and value is not None:
            _set_generator(value, state)
        elif kind == "tensor" and isinstance(value, torch.Tensor) and value.shape == state.shape:
            with torch.no_grad():
                value.data.copy_(state)
        elif held:
            owner[key] = copy.deepcopy(state)
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


def tensors_in(state: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of a state, through dictionaries and lists."""
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, _CONTAINERS):
        for item in state.values() if isinstance(state, dict) else state:
            yield from tensors_in(item)


def differing(saved: dict[str, Part], loaded: dict[str, Part]) -> list[Part]:
    """Return the parts of `saved` that a loaded trainer does not have, or has otherwise."""
    return [part for path, part in saved.items() if path not in loaded or not same(part.state, loaded[path].state)]
