"""The stage on which a claim runs things twice: everything noted, so that it can be put back as often as needed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from pytest_trainstep._errors import TrainStepUsageError

from . import origins, owners
from .restore import Memory, keep, random_streams_kept

_INTERNAL = {"_parameters", "_buffers", "_modules", "training"}
_LARGEST_TABLE = 1000  # entries of a list or dictionary that is an attribute of a module


class Stage:
    """The state of models and optimizers, of the plain attributes of the modules, and of the random streams."""

    def __init__(self, modules: Mapping[str, nn.Module], optimizers: Sequence[Any]) -> None:
        self.memory = Memory(list(modules.values()), optimizers)
        self._attributes = [_Attributes(inner) for inner in unique(modules)]
        self._known = {id(optimizer) for optimizer in optimizers}
        self._late: list[Memory] = []

    def adopt(self, optimizer: Any) -> None:
        """Note the state of an optimizer that nobody knew of, just before its first step."""
        if id(optimizer) not in self._known:
            self._known.add(id(optimizer))
            self._late.append(Memory([], [optimizer]))

    @property
    def known(self) -> int:
        """How many optimizers have been met."""
        return len(self._known)

    def restore(self) -> None:
        """Put everything back, bit by bit."""
        for late in reversed(self._late):
            late.restore()
        for attributes in self._attributes:
            attributes.restore()
        self.memory.restore()


class _Attributes:
    """The children of one module and its plain attributes: hidden states, counters, short lists of either."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.children = dict(module._modules)  # noqa: SLF001 - where nn.Module keeps them
        self.kept: dict[str, Callable[[], Any]] = {}
        for key, value in vars(module).items():
            if key not in _INTERNAL and not key.endswith("_hooks") and _is_plain(value):
                self.kept[key] = keep(value)

    def restore(self) -> None:
        own = vars(self.module)
        for key, value in self.kept.items():
            own[key] = value()
        table = self.module._modules  # noqa: SLF001 - as above
        if table != self.children:
            table.clear()
            table.update(self.children)


def _is_plain(value: object) -> bool:
    if isinstance(value, list | dict):
        return len(value) <= _LARGEST_TABLE
    return value is None or isinstance(value, torch.Tensor | int | float | str | tuple)


def unique(modules: Mapping[str, nn.Module]) -> Iterator[nn.Module]:
    """Go through the modules and everything inside them, each once."""
    seen: set[int] = set()
    for module in modules.values():
        for inner in nn.Module.modules(module):
            if id(inner) not in seen:
                seen.add(id(inner))
                yield inner


def optimizers_of(modules: Mapping[str, nn.Module]) -> list[Any]:
    """Return the living optimizers, of those whose construction was seen, that hold a parameter of these."""
    own = {id(tensor) for module in modules.values() for tensor in nn.Module.parameters(module)}
    return [one for one in origins.known() if any(id(tensor) in own for tensor in owners.held_tensors(one))]


def twin_of(modules: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Deep-copy the models; what depends on a graph (as after a forward pass of old norms) comes along without it.

    Raises:
        TrainStepUsageError: They cannot be copied.
    """
    memo: dict[int, Any] = {}
    for inner in unique(modules):
        for key, value in vars(inner).items():
            if key not in _INTERNAL:
                _prepare(value, memo)
    try:
        with random_streams_kept():
            return copy.deepcopy(dict(modules), memo)
    except Exception as error:
        msg = f"the model cannot be copied for the reference ({type(error).__name__}: {error})"
        raise TrainStepUsageError(msg) from error


def _prepare(value: Any, memo: dict[int, Any], depth: int = 2) -> None:
    """Make the copies that `deepcopy` refuses to make: tensors that are no leaves, random generators."""
    if isinstance(value, torch.Tensor):
        if not value.is_leaf:
            memo[id(value)] = value.detach().clone()
    elif isinstance(value, torch.Generator):
        twin = torch.Generator(value.device)
        twin.set_state(value.get_state())
        memo[id(value)] = twin
    elif depth and isinstance(value, list | tuple | dict) and len(value) <= _LARGEST_TABLE:
        for part in value.values() if isinstance(value, dict) else value:
            _prepare(part, memo, depth - 1)


@torch.no_grad()
def nudge(tensors: Sequence[torch.Tensor]) -> None:
    """Move every second weight up, the others down, by one part in the resolution of its dtype."""
    for tensor in tensors:
        if tensor.dtype.is_floating_point and tensor.device.type != "meta":
            values = tensor.data.view(-1) if tensor.is_contiguous() else tensor.data.flatten()
            signs = torch.ones_like(values)
            signs[1::2] = -1
            values += values * signs * torch.finfo(tensor.dtype).eps
            if not tensor.is_contiguous():
                tensor.data.copy_(values.view(tensor.shape))
