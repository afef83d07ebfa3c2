"""Where samples meet: two runs, one sample apart, compared operation by operation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from . import nests, sites

if TYPE_CHECKING:
    from .forwards import Runner

_OPERATIONS = 4_000
_BYTES = 256 * 2**20


class Place(NamedTuple):
    """An operation, the line it stands in and the module it belongs to."""

    operation: str
    at: str | None
    module: str | None


class _Recorder(TorchFunctionMode):
    def __init__(self, inside: list[str]) -> None:
        super().__init__()
        self.inside = inside
        self.seen: list[tuple[Place, torch.Tensor]] = []
        self.bytes = 0

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = str(getattr(func, "__name__", func))
        if name not in ("__get__", "__set__") and len(self.seen) < _OPERATIONS and self.bytes < _BYTES:
            for tensor in nests.tensors_in(result, 2):
                self.bytes += tensor.numel() * tensor.element_size()
                place = Place(name, sites.here(), self.inside[-1] if self.inside else None)
                self.seen.append((place, tensor.detach().clone()))
        return result


def meeting_place(runner: Runner, batch: Any, other: Any, size: int, index: int) -> Place | None:
    """Return the first operation after which the change of sample `index` is no longer confined to it.

    The sample may move to another axis or be laid out in one with others, block by block. None where the two runs
    do not consist of the same operations, or no such operation is seen.
    """
    try:
        one, two = _recorded(runner, batch), _recorded(runner, other)
    except Exception:  # noqa: BLE001 - a trace is worth having, not more
        return None
    for (place, before), (same, after) in zip(one, two, strict=False):
        if place.operation != same.operation or before.shape != after.shape:
            return None
        changed = (before != after) & ~((before != before) & (after != after))  # noqa: PLR0124 - NaN
        axes = [axis for axis in range(changed.dim()) if changed.shape[axis] % size == 0 and changed.shape[axis]]
        if axes and bool(changed.any()) and not any(_confined(changed, axis, size, index) for axis in axes):
            return place
    return None


def _confined(changed: torch.Tensor, axis: int, size: int, index: int) -> bool:
    along = changed.movedim(axis, 0).reshape(changed.shape[axis], -1).any(1)
    for blocks in (along.reshape(size, -1), along.reshape(-1, size).T):
        others = blocks.any(1)
        others[index] = False
        if not bool(others.any()):
            return True
    return False


def _recorded(runner: Runner, batch: Any) -> list[tuple[Place, torch.Tensor]]:
    inside: list[str] = []
    with _followed(runner.modules, inside), _Recorder(inside) as recorder:
        runner.run(batch)
    seen: list[tuple[Place, torch.Tensor]] = recorder.seen
    return seen


@contextmanager
def _followed(modules: Mapping[str, nn.Module], inside: list[str]) -> Iterator[None]:
    handles: list[Any] = []
    for prefix, module in modules.items():
        for path, inner in module.named_modules(prefix=prefix):
            label = f"{path} ({type(inner).__name__})" if path else type(inner).__name__
            handles.append(inner.register_forward_pre_hook(lambda *_, label=label: inside.append(label)))
            handles.append(inner.register_forward_hook(lambda *_: inside.pop() and None))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def bidirectional(modules: Mapping[str, nn.Module]) -> tuple[str, ...]:
    """Return the names of recurrent layers that also run backwards."""
    return tuple(
        path or type(inner).__name__
        for prefix, module in modules.items()
        for path, inner in module.named_modules(prefix=prefix)
        if isinstance(inner, nn.RNNBase) and inner.bidirectional
    )
