"""Values kept for comparison: exact copies up to a budget of memory, fingerprints above it.

A tensor has *moved* when some element differs; a zero that changes sign and a NaN that stays NaN
have not. Versions are never asked: fused optimizers, `.data` and numpy write without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.nn.parameter import UninitializedParameter

from .fingerprints import fingerprint

BUDGET = 256 * 2**20  # bytes of exact copies
SAMPLE = 16_384  # elements of a large tensor that are looked at first
PLAIN = (torch.Tensor, torch.nn.Parameter)  # nearly all, and known to have no surprises


@dataclass(slots=True)
class Snapshot:
    """One tensor's values at one time: a copy, or a fingerprint and a sample, or nothing."""

    copy: torch.Tensor | None = None
    print: int | None = None
    sample: torch.Tensor | None = None
    shape: tuple[int, ...] = ()

    @property
    def empty(self) -> bool:
        """There was nothing to read."""
        return self.copy is None and self.print is None


def readable(tensor: torch.Tensor) -> bool:
    """Tell whether the tensor has values that can be read at all."""
    lazy = type(tensor) not in PLAIN and isinstance(tensor, UninitializedParameter)
    return not lazy and not without_values(tensor) and tensor.numel() > 0


def without_values(tensor: Any) -> bool:
    """Tell whether the tensor is on the meta device, and not only says so, as a subclass may that holds values."""
    if not tensor.is_meta or type(tensor) in PLAIN:
        return bool(tensor.is_meta)
    if hasattr(tensor, "to_local"):
        tensor = tensor.to_local()
    if hasattr(tensor, "__tensor_flatten__"):
        return any(without_values(getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0])
    return type(tensor).__torch_dispatch__ is torch.Tensor.__torch_dispatch__


def device_of(tensor: Any) -> str:
    """Name the device on which the values are; what only says meta is named by its class."""
    if tensor.is_meta and not without_values(tensor):
        return type(tensor).__name__
    return str(tensor.device)


def local(tensor: torch.Tensor) -> torch.Tensor:
    """Return the plain values behind a parameter: detached, dense, this rank's shard."""
    plain: Any = tensor.detach()
    if type(tensor) not in PLAIN and hasattr(plain, "to_local"):
        plain = plain.to_local()
    if plain.layout is not torch.strided:
        plain = plain.to_dense()
    if plain.is_quantized:
        plain = plain.dequantize()
    return plain  # type: ignore[no-any-return]


@torch.no_grad()
def take(tensors: Sequence[torch.Tensor], budget: int = BUDGET) -> list[Snapshot]:
    """Snapshot all `tensors`: the first ones exactly, as far as `budget` (in bytes) goes."""
    snapshots: list[Snapshot] = []
    targets: list[torch.Tensor] = []
    sources: list[torch.Tensor] = []
    for tensor in tensors:
        if not readable(tensor):
            snapshots.append(Snapshot())
            continue
        values = local(tensor)
        size = values.numel() * values.element_size()
        if size <= budget:
            budget -= size
            copy = torch.empty_like(values)
            targets.append(copy)
            sources.append(values)
            snapshots.append(Snapshot(copy=copy, shape=tuple(values.shape)))
        else:
            snapshots.append(_printed(values))
    _copy_all(targets, sources)
    return snapshots


def _copy_all(targets: list[torch.Tensor], sources: list[torch.Tensor]) -> None:
    """Copy in one call where the tensors are alike, which is four times as fast for small ones."""
    if not targets:
        return
    try:
        torch._foreach_copy_(targets, sources)
    except (RuntimeError, AttributeError, NotImplementedError):
        for target, source in zip(targets, sources, strict=True):
            target.copy_(source)


def _printed(values: torch.Tensor) -> Snapshot:
    return Snapshot(print=fingerprint(values), sample=sample_of(values).clone(), shape=tuple(values.shape))


def sample_of(values: torch.Tensor) -> torch.Tensor:
    flat = values.reshape(-1) if values.is_contiguous() else values.contiguous().reshape(-1)
    return flat[:: max(1, flat.numel() // SAMPLE)]


@torch.no_grad()
def moved(before: Snapshot, tensor: torch.Tensor) -> bool:
    """Tell whether `tensor` now differs from its snapshot."""
    if not readable(tensor):
        return False
    values = local(tensor)
    if tuple(values.shape) != before.shape:
        return before.copy is not None or before.print is not None
    if before.copy is None:
        return before.print is not None and _print_differs(before, values)
    old = before.copy
    if old.dtype != values.dtype or old.device != values.device:
        values = values.to(device=old.device, dtype=old.dtype)
    large = values.numel() > 4 * SAMPLE and values.is_contiguous() and old.is_contiguous()
    if large and _differs(sample_of(old), sample_of(values)):
        return True
    return _differs(old, values)


class Difference(NamedTuple):
    """How many elements differ, of how many that were looked at."""

    changed: int
    looked: int


@torch.no_grad()
def differing(before: Sequence[Snapshot], tensors: Sequence[torch.Tensor]) -> list[Difference]:
    """Count differing elements: all of those of small tensors (in one pass), else of a sample."""
    results: list[Difference | None] = [None] * len(tensors)
    groups: dict[tuple[torch.dtype, torch.device], list[int]] = {}
    for index, (old, tensor) in enumerate(zip(before, tensors, strict=True)):
        copy = old.copy
        if (
            copy is not None
            and copy.numel() <= SAMPLE
            and copy.dtype == tensor.dtype
            and tensor.layout is torch.strided
            and old.shape == tuple(tensor.shape)
            and copy.device == tensor.device
            and (type(tensor) in PLAIN or not hasattr(tensor, "to_local"))
        ):
            groups.setdefault((copy.dtype, copy.device), []).append(index)
        else:
            results[index] = _difference(old, tensor)
    for indices in groups.values():
        olds = torch.cat([before[index].copy.reshape(-1) for index in indices])  # type: ignore[union-attr]
        news = torch.cat([tensors[index].detach().reshape(-1) for index in indices])
        sizes = [tensors[index].numel() for index in indices]
        ends = torch.tensor(sizes).cumsum(0) - 1
        totals = [0, *unequal(olds, news).to(torch.int64).cumsum(0).cpu()[ends].tolist()]
        for place, index in enumerate(indices):
            results[index] = Difference(totals[place + 1] - totals[place], sizes[place])
    return [result if result is not None else Difference(0, 0) for result in results]


def _difference(before: Snapshot, tensor: torch.Tensor) -> Difference:
    if not readable(tensor):
        return Difference(0, 0)
    values = local(tensor)
    old = before.sample
    if before.copy is not None and values.numel() > SAMPLE:
        old = sample_of(before.copy)
    if old is not None and tuple(values.shape) == before.shape:
        sample = sample_of(values).to(device=old.device, dtype=old.dtype)
        count = int(unequal(old, sample).sum())
        if count:
            return Difference(count, old.numel())
    return Difference(int(moved(before, tensor)), values.numel())


def _differs(old: torch.Tensor, new: torch.Tensor) -> bool:
    if torch.equal(old, new):
        return False
    if old.dtype.is_floating_point or old.dtype.is_complex:
        return bool(unequal(old, new).any())
    return True


def unequal(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """Element by element; NaN and NaN are the same."""
    return (old != new) & ~((old != old) & (new != new))  # noqa: PLR0124 - x != x is the NaN test


def _print_differs(before: Snapshot, values: torch.Tensor) -> bool:
    assert before.sample is not None
    sample = sample_of(values)
    if sample.dtype == before.sample.dtype and _differs(before.sample, sample):
        return True
    return fingerprint(values) != before.print
