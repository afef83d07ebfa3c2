"""Batches and outputs of any structure: copies, samples put in place of others, rows to compare."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

Column = torch.Tensor | list[list[torch.Tensor]]  # one tensor with the rows in front, or the tensors of each row


def copied(nest: Any, change: Callable[[torch.Tensor], torch.Tensor] = torch.clone) -> Any:
    """Copy a nest of tensors, containers and plain values; what is neither stays the same object."""
    if isinstance(nest, torch.Tensor):
        new = change(nest.detach())
        return new.requires_grad_() if nest.requires_grad and not new.requires_grad else new
    if isinstance(nest, Mapping):
        items = {key: copied(value, change) for key, value in nest.items()}
        return items if type(nest) is dict else _rebuilt(nest, items)
    if isinstance(nest, list | tuple):
        parts = [copied(value, change) for value in nest]
        if isinstance(nest, list):
            return parts
        return type(nest)(*parts) if hasattr(nest, "_fields") else tuple(parts)
    return nest


def _rebuilt(nest: Mapping[Any, Any], items: dict[Any, Any]) -> Any:
    try:
        return type(nest)(items)  # type: ignore[call-arg]
    except Exception:  # noqa: BLE001 - a mapping of the user's that is built otherwise
        return items


def tensors_in(nest: Any, depth: int = 4) -> list[torch.Tensor]:
    """List the tensors of a nest, also of a user's own object, in order."""
    if isinstance(nest, torch.Tensor):
        return [nest]
    if depth == 0 or nest is None or isinstance(nest, str | bytes | int | float):
        return []
    if isinstance(nest, Mapping):
        parts = list(nest.values())
    elif isinstance(nest, list | tuple):
        parts = list(nest)
    else:
        parts = list(getattr(nest, "__dict__", {}).values())
    return [tensor for part in parts for tensor in tensors_in(part, depth - 1)]


def size_of(batch: Any, axis: int) -> int | None:
    """Return how many samples (axis 0) or positions (axis 1) a batch has; None where it cannot be told."""
    if axis == 0 and isinstance(batch, list):
        return len(batch)
    sizes = [tensor.shape[axis] for tensor in tensors_in(batch) if tensor.dim() > axis]
    if not sizes:
        return len(batch) if axis == 0 and isinstance(batch, tuple) else None
    if axis == 0 and isinstance(batch, tuple) and len(set(sizes)) > 1:
        return len(batch)
    return sizes[0]


def swapped(batch: Any, target: int, source: int, size: int, axis: int) -> Any:
    """Return a copy of `batch` in which sample (or position) `target` is a copy of `source`."""
    if isinstance(batch, torch.Tensor):
        new = batch.detach().clone()
        if new.dim() > axis and new.shape[axis] == size:
            new.select(axis, target).copy_(batch.detach().select(axis, source))
        return new.requires_grad_(batch.requires_grad)
    if axis == 0 and is_samples(batch, size):
        parts = [copied(part) for part in batch]
        parts[target] = copied(batch[source])
        return parts if isinstance(batch, list) else tuple(parts)
    if isinstance(batch, Mapping):
        items = {key: swapped(value, target, source, size, axis) for key, value in batch.items()}
        return items if type(batch) is dict else _rebuilt(batch, items)
    if isinstance(batch, list | tuple):
        parts = [swapped(part, target, source, size, axis) for part in batch]
        if isinstance(batch, list):
            return parts
        return type(batch)(*parts) if hasattr(batch, "_fields") else tuple(parts)
    return batch


def is_samples(batch: Any, size: int) -> bool:
    """Tell whether a batch is a sequence of samples, rather than of tensors with one row for each."""
    return isinstance(batch, list | tuple) and len(batch) == size and not _is_fields(batch, size)


def _is_fields(batch: Any, size: int) -> bool:
    """A tuple of tensors that all have one row for each sample: fields of a batch, not samples."""
    return isinstance(batch, tuple) and all(
        isinstance(part, torch.Tensor) and part.dim() > 0 and part.shape[0] == size for part in batch
    )


def equal(one: Any, other: Any) -> bool:
    """Tell whether two batches hold the same values (where that can be seen)."""
    left, right = tensors_in(one), tensors_in(other)
    if not left and not right:
        return bool(one == other)
    return len(left) == len(right) and all(
        a.shape == b.shape and torch.equal(a.detach(), b.detach()) for a, b in zip(left, right, strict=True)
    )


def columns_of(output: Any, size: int, axis: int) -> list[Column]:
    """Return the parts of an output that have one row for each sample (or position), these rows in front."""
    tensors = tensors_in(output)
    fitting = [(tensor, _axis_of(tensor, size, axis)) for tensor in tensors]
    clear = [(tensor, place) for tensor, place in fitting if place is not None]
    sure = [(tensor, place) for tensor, place in clear if list(tensor.shape[:3]).count(size) == 1]
    columns: list[Column] = [tensor.detach().movedim(place, 0) for tensor, place in sure or clear]
    if not columns and axis == 0 and isinstance(output, list | tuple) and len(output) == size:
        return [[tensors_in(part) for part in output]]
    return columns


def _axis_of(tensor: torch.Tensor, size: int, axis: int) -> int | None:
    if tensor.dim() > axis and tensor.shape[axis] == size:
        return axis
    if axis == 0:
        return None
    return next((place for place in (2, 0, 3) if tensor.dim() > place and tensor.shape[place] == size), None)


def change(before: Column, after: Column) -> list[float]:
    """Return the largest absolute difference in each row; infinite where one of two numbers is not finite."""
    if isinstance(before, list) or isinstance(after, list):
        pairs = zip(_rows(before), _rows(after), strict=True)
        return [
            max((max(_differences(a[None], b[None])) for a, b in zip(x, y, strict=False)), default=0.0)
            for x, y in pairs
        ]
    return _differences(before, after)


def _rows(column: Column) -> list[list[torch.Tensor]]:
    return column if isinstance(column, list) else [[row] for row in column]


def _differences(before: torch.Tensor, after: torch.Tensor) -> list[float]:
    """Compare what both have: rows that are padded to another length are compared as far as both go."""
    if before.dim() != after.dim():
        return [math.inf] * len(before)
    common = tuple(slice(0, min(a, b)) for a, b in zip(before.shape, after.shape, strict=True))
    one, other = _wide(before[common]), _wide(after[common])
    same = (one == other) | (one.isnan() & other.isnan())
    gap = torch.where(same, 0.0, (one - other).abs()).nan_to_num(math.inf, math.inf)
    flat = gap.reshape(len(gap), -1)
    return [float(value) for value in (flat.amax(1) if flat.shape[1] else flat.sum(1))]


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to(torch.complex128 if tensor.is_complex() else torch.float64)


def magnitude(column: Column) -> float:
    """Return the largest finite absolute value."""
    tensors = [tensor for row in column for tensor in row] if isinstance(column, list) else [column]
    finite = [_wide(tensor)[torch.isfinite(tensor)].abs() for tensor in tensors]
    return max((float(values.max()) for values in finite if values.numel()), default=0.0)


def resolution(column: Column) -> float:
    """Return the relative spacing of the numbers in it; 0 for whole numbers."""
    tensors = [tensor for row in column for tensor in row] if isinstance(column, list) else [column]
    return max((torch.finfo(one.dtype).eps for one in tensors if one.is_floating_point()), default=0.0)
