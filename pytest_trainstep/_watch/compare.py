"""Two ways from the same weights, as numbers: how far each went, how far apart they are, and what is only noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn.parameter import is_lazy

if TYPE_CHECKING:
    from .naming import Slot

NOISE = 10.0  # how many times its answer to a nudge by one rounding error a way may be off


Values = Sequence[torch.Tensor | None]


class Gap(NamedTuple):
    """One parameter: norms of both updates and of their difference, and what of it would be noise."""

    name: str
    shape: tuple[int, ...]
    numel: int
    moved: float
    wanted: float
    error: float
    dot: float  # of the two updates
    weights: float  # norm at the start
    along: float  # of the difference with the weights at the start
    floor: float  # rounding of the stored weights


def values_of(slots: Sequence[Slot]) -> list[torch.Tensor | None]:
    """Copy what now stands under the names."""
    return [_copy(slot.current()) for slot in slots]


def _copy(tensor: torch.Tensor | None) -> torch.Tensor | None:
    if tensor is None or tensor.device.type == "meta" or is_lazy(tensor):
        return None
    plain = tensor.detach()
    if hasattr(plain, "to_local"):
        plain = plain.to_local()
    return plain.clone()


@torch.no_grad()
def gaps(
    slots: Sequence[Slot],
    start: Values,
    mine: Values,
    wanted: Values,
    *,
    other_start: Values | None = None,
    steps: int = 1,
) -> list[Gap]:
    """Compare the two ways, parameter by parameter; `other_start` is where the second one began."""
    result = []
    for slot, a, b, c, d in zip(slots, start, mine, wanted, other_start or start, strict=True):
        if b is None or c is None or not b.numel():
            continue
        a = torch.zeros_like(b) if a is None else a  # noqa: PLW2901 - a lazy layer: what it was filled with counts
        d = torch.zeros_like(c) if d is None else d  # noqa: PLW2901 - as above
        if a.shape != b.shape or d.shape != c.shape or a.shape != d.shape:
            nan = math.nan
            result.append(Gap(slot.name, tuple(a.shape), a.numel(), nan, nan, nan, nan, nan, nan, 0.0))
            continue
        result.append(_gap(slot.name, a, b, c, d, steps))
    return result


def _gap(name: str, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, d: torch.Tensor, steps: int) -> Gap:
    old, ours, theirs = _wide(a), _wide(b) - _wide(a), _wide(c) - _wide(d)
    apart = ours - theirs
    inexact = a.dtype.is_floating_point or a.dtype.is_complex
    weights = float(old.norm())
    floor = torch.finfo(a.dtype).eps * max(weights, float((old + ours).norm())) * math.sqrt(steps) if inexact else 0.0
    return Gap(
        name=name,
        shape=tuple(a.shape),
        numel=a.numel(),
        moved=float(ours.norm()),
        wanted=float(theirs.norm()),
        error=float(apart.norm()),
        dot=float(ours @ theirs),
        weights=weights,
        along=float(apart @ old),
        floor=floor if math.isfinite(floor) else 0.0,
    )


def _wide(values: torch.Tensor) -> torch.Tensor:
    plain = torch.view_as_real(values) if values.dtype.is_complex else values
    return plain.to("cpu", torch.float64).reshape(-1)


@torch.no_grad()
def distances(slots: Sequence[Slot], first: tuple[Values, Values], second: tuple[Values, Values]) -> dict[str, float]:
    """Return by name how far two updates, each from a start to an end, are apart; nothing where that cannot be said."""
    result = {}
    for slot, a0, a, b0, b in zip(slots, *first, *second, strict=True):
        if a is None or b is None or a0 is None or b0 is None or not a.shape == a0.shape == b.shape == b0.shape:
            continue
        apart = float(((_wide(a) - _wide(a0)) - (_wide(b) - _wide(b0))).norm())
        result[slot.name] = apart if math.isfinite(apart) else 0.0
    return result


def limits(gaps: Sequence[Gap], rtol: float, noise: Mapping[str, float] | None = None) -> list[float]:
    """Return how far apart the two may be, for each parameter: relative to the largest update of all."""
    largest = max((max(gap.moved, gap.wanted) for gap in gaps if math.isfinite(gap.moved + gap.wanted)), default=0.0)
    extra = noise or {}
    return [rtol * largest + gap.floor + NOISE * extra.get(gap.name, 0.0) for gap in gaps]


def beyond(gaps: Sequence[Gap], most: Sequence[float]) -> bool:
    """Tell whether some parameter is farther off than it may be; NaN is."""
    return any(not gap.error <= limit for gap, limit in zip(gaps, most, strict=True))


class Fit(NamedTuple):
    """How what the passes of a window added makes up another gradient."""

    weights: tuple[float, ...]  # of the passes, so that their sum comes nearest
    residue: float  # what then still differs, relative to the gradient
    plain: float  # what differs when each counts the same, as much as the scale of the loss says


@torch.no_grad()
def fit(parts: Sequence[Values], whole: Values, scale: float) -> Fit | None:
    """Find the weights of `parts` (each multiplied by `scale`) with which their sum comes nearest to `whole`."""
    count = len(parts)
    gram, size = torch.zeros(count + 1, count + 1, dtype=torch.float64), _dot(whole, whole)
    for rows in zip(*parts, whole, strict=True):
        known = [one for one in rows if one is not None]
        if known:
            matrix = torch.stack([_wide(known[0]) * 0 if one is None else _wide(one) for one in rows])
            gram += matrix @ matrix.T
    if not count or not size or not bool(torch.isfinite(gram).all()):
        return None
    inner, target = gram[:-1, :-1], gram[:-1, -1]
    weights = torch.linalg.lstsq(inner, target[:, None], driver="gelsd").solution[:, 0]

    def off(tried: torch.Tensor) -> float:
        square = float(tried @ inner @ tried - 2 * tried @ target) + size
        return math.sqrt(max(square, 0.0) / size)

    plain = torch.full((count,), 1 / scale, dtype=torch.float64)
    return Fit(tuple((weights * scale).tolist()), off(weights), off(plain))


class Match(NamedTuple):
    """One gradient against another: how much longer it is, and the cosine between them."""

    factor: float
    cosine: float


@torch.no_grad()
def match(ours: Values, theirs: Values) -> Match:
    """Compare two gradients as whole vectors."""
    a, b = math.sqrt(_dot(ours, ours)), math.sqrt(_dot(theirs, theirs))
    return Match(a / b if b else math.nan, _dot(ours, theirs) / (a * b) if a and b else math.nan)


def _dot(ours: Values, theirs: Values) -> float:
    pairs = zip(ours, theirs, strict=True)
    return float(sum(float(_wide(a) @ _wide(b)) for a, b in pairs if a is not None and b is not None))
