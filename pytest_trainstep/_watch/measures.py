"""Numbers about tensors: how far they moved, how large their gradients are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from .fingerprints import fingerprint
from .snapshots import PLAIN, SAMPLE, Snapshot, local, readable, sample_of, unequal, without_values

PIECE = 2**18  # elements that are subtracted at a time: few enough to stay in the processor's cache


@dataclass(slots=True)
class Change:
    """How far a tensor has gone from its snapshot."""

    moved: bool
    max_change: float = 0.0
    rms_change: float = 0.0
    rms_before: float = 0.0
    elements: int = 0
    sampled: bool = False
    finite: bool = True


@torch.no_grad()
def changes(before: Sequence[Snapshot], tensors: Sequence[torch.Tensor]) -> list[Change]:
    """Measure all changes; many small tensors of one kind are measured together."""
    results: list[Change | None] = [None] * len(tensors)
    groups: dict[tuple[torch.dtype, torch.device], list[int]] = {}
    values: list[torch.Tensor | None] = []
    for index, (old, tensor) in enumerate(zip(before, tensors, strict=True)):
        now = local(tensor) if readable(tensor) else None
        values.append(now)
        small = now is not None and now.numel() <= SAMPLE and not now.dtype.is_complex
        if small and _alike(old, now):  # type: ignore[arg-type]
            groups.setdefault((now.dtype, now.device), []).append(index)  # type: ignore[union-attr]
        else:
            results[index] = _change(old, now)
    for indices in groups.values():
        olds = [before[index].copy for index in indices]
        news = [values[index] for index in indices]
        for index, change in zip(indices, _together(olds, news), strict=True):  # type: ignore[arg-type]
            results[index] = change
    return [change if change is not None else Change(moved=False) for change in results]


def _alike(old: Snapshot, now: torch.Tensor) -> bool:
    copy = old.copy
    if copy is None or old.shape != tuple(now.shape):
        return False
    return copy.dtype == now.dtype and copy.device == now.device


def _together(olds: list[torch.Tensor], news: list[torch.Tensor]) -> list[Change]:
    """One pass over many small tensors laid end to end."""
    sizes = [old.numel() for old in olds]
    old = _wide(torch.cat([tensor.reshape(-1) for tensor in olds]))
    new = _wide(torch.cat([tensor.reshape(-1) for tensor in news]))
    first = torch.tensor([0, *sizes[:-1]], device=old.device).cumsum(0)
    owner = torch.zeros(len(old), dtype=torch.int64, device=old.device)
    owner[first[1:]] = 1  # repeat_interleave would start threads, which is slow where many tests run side by side
    owner = owner.cumsum(0)
    differs = unequal(old, new)
    gap = torch.where(differs, (new - old).abs(), 0)
    zeros = old.new_zeros(len(sizes))
    counts = zeros.index_add(0, owner, differs.to(old.dtype)).tolist()
    squares = zeros.index_add(0, owner, gap.square()).tolist()
    before = zeros.index_add(0, owner, old.square()).tolist()
    largest = zeros.scatter_reduce(0, owner, gap, "amax").tolist()
    bad = zeros.index_add(0, owner, (~torch.isfinite(new)).to(old.dtype)).tolist()
    return [
        Change(
            moved=counts[i] > 0,
            max_change=largest[i],
            rms_change=math.sqrt(squares[i] / size) if squares[i] == squares[i] else math.nan,
            rms_before=math.sqrt(before[i] / size) if before[i] == before[i] else math.nan,
            elements=int(counts[i]),
            finite=bad[i] == 0,
        )
        for i, size in enumerate(sizes)
    ]


def _wide(values: torch.Tensor) -> torch.Tensor:
    """Widen so that squares neither overflow nor vanish."""
    return values.double() if not values.dtype.is_complex else torch.view_as_real(values).double()


def _change(before: Snapshot, values: torch.Tensor | None) -> Change:
    if values is None or (before.copy is None and before.print is None):
        return Change(moved=False)
    if tuple(values.shape) != before.shape:
        return Change(moved=True, max_change=math.nan, rms_change=math.nan, elements=values.numel())
    if before.copy is None:
        return _sampled_change(before, values)
    old = before.copy
    if old.dtype != values.dtype or old.device != values.device:
        values = values.to(device=old.device, dtype=old.dtype)
    return _measure(old, values)


def _sampled_change(before: Snapshot, values: torch.Tensor) -> Change:
    assert before.sample is not None
    change = _measure(before.sample, sample_of(values).to(before.sample.dtype))
    if not change.moved:
        change.moved = fingerprint(values) != before.print
    share = change.elements / before.sample.numel()
    change.elements, change.sampled = round(share * values.numel()), True
    if change.moved and change.elements == 0:
        change.elements = 1
    return change


def _measure(old: torch.Tensor, new: torch.Tensor) -> Change:
    old, new = old.reshape(-1), new.reshape(-1)
    total = Change(moved=False)
    squares = before = 0.0
    for start in range(0, old.numel(), PIECE):
        a, b = old[start : start + PIECE], new[start : start + PIECE]
        quick = _finite_sums(a, b)
        if quick is not None:
            before += quick.before
            squares += quick.squares
            total.max_change = max(total.max_change, quick.largest)
            total.elements += quick.elements
            continue
        differs = unequal(a, b)
        count = int(differs.sum())
        wide_a = _wide(a)
        before += float(wide_a.square().sum())
        total.finite = total.finite and bool(torch.isfinite(b).all())
        if count:
            gap = _wide(b) - wide_a
            gap = gap[differs] if gap.dim() == 1 else gap[differs].reshape(-1)
            squares += float(gap.square().sum())
            total.max_change = max(total.max_change, float(gap.abs().max()))
            total.elements += count
    total.moved = total.elements > 0
    total.rms_change = math.sqrt(squares / old.numel()) if squares == squares else math.nan  # noqa: PLR0124
    total.rms_before = math.sqrt(before / old.numel()) if before == before else math.nan  # noqa: PLR0124
    return total


class _Sums(NamedTuple):
    """What one piece adds to the numbers of a tensor."""

    before: float
    squares: float
    largest: float
    elements: int


def _finite_sums(old: torch.Tensor, new: torch.Tensor) -> _Sums | None:
    """Measure what is finite and of a common dtype, ten times as fast; None for everything else."""
    if old.dtype in (torch.float16, torch.bfloat16):
        old, new = old.float(), new.float()
    if old.dtype not in (torch.float32, torch.float64):
        return None
    gap = new - old
    before, squares = (float(torch.linalg.vector_norm(one, dtype=torch.float64)) ** 2 for one in (old, gap))
    low, high = (float(one) for one in torch.aminmax(gap))
    if not math.isfinite(before + squares + low + high):
        return None
    return _Sums(before, squares, max(-low, high), int(torch.count_nonzero(old != new)))


def largest(tensors: Sequence[torch.Tensor]) -> list[float]:
    """Return the largest absolute value of each tensor (0 if empty; NaN and infinity survive)."""
    result = [0.0] * len(tensors)
    small: list[int] = []
    for index, tensor in enumerate(tensors):
        values = _gradient_values(tensor)
        if values is None or values.numel() == 0:
            continue
        if values is tensor and values.numel() <= SAMPLE and values.dtype.is_floating_point:
            small.append(index)
        else:
            low, high = torch.aminmax(values)
            result[index] = _extreme(float(low), float(high))
    for index, value in zip(small, _norms([tensors[i] for i in small]), strict=True):
        result[index] = value
    return result


def signs_left(gradient: torch.Tensor) -> bool:
    """Tell whether a gradient of zeros was scaled by 0, which leaves signs behind (-0.0); writing zeros does not."""
    if gradient.layout is not torch.strided:
        return False
    values = torch.view_as_real(gradient.detach()) if gradient.dtype.is_complex else gradient.detach()
    return bool(torch.signbit(values).any())


def _gradient_values(tensor: torch.Tensor) -> torch.Tensor | None:
    if without_values(tensor):
        return None
    values: Any = tensor.detach() if tensor.requires_grad else tensor
    if type(tensor) not in PLAIN and hasattr(values, "to_local"):
        values = values.to_local()
    if values.layout is torch.sparse_coo:
        values = values._values() if values.is_coalesced() else values.coalesce()._values()  # noqa: SLF001 - values() insists on coalescing in place
    elif values.layout is not torch.strided:
        values = values.to_dense()
    if values.dtype.is_complex:
        values = torch.view_as_real(values)
    return values  # type: ignore[no-any-return]


def _extreme(low: float, high: float) -> float:
    if math.isnan(low) or math.isnan(high):
        return math.nan
    return max(abs(low), abs(high))


def _norms(tensors: list[torch.Tensor]) -> list[float]:
    if not tensors:
        return []
    try:
        return torch.stack(torch._foreach_norm(tensors, math.inf)).double().tolist()  # noqa: SLF001 - the loop below is the fallback
    except (RuntimeError, AttributeError, NotImplementedError):
        pairs = [torch.aminmax(tensor) for tensor in tensors]
        return [_extreme(float(low), float(high)) for low, high in pairs]
