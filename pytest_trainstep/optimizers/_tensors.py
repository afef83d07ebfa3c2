"""Generated worlds as plain values, and the tensors that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Shape = tuple[int, ...]

_AWAY_FROM_ZERO = 0.1


@dataclass(frozen=True, slots=True)
class World:
    """What a property is tried on: parameters in groups, a number of steps, and a choice of the property's own."""

    groups: tuple[tuple[Shape, ...], ...] = (((2,),),)
    steps: int = 1
    choice: str = ""
    seed: int = 0

    def __str__(self) -> str:
        shapes = " | ".join(", ".join(map(written, group)) for group in self.groups)
        choice = f"{self.choice}: " if self.choice else ""
        steps = "1 step" if self.steps == 1 else f"{self.steps} steps"
        return f"{choice}parameters {shapes}; {steps}; values {self.seed}"


def written(shape: Sequence[int]) -> str:
    """Write a shape as Python does, without blanks."""
    return str(tuple(shape)).replace(" ", "")


def values(shape: Shape, *key: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return numbers of ordinary size, none near zero, that depend on the key alone."""
    seed = 0
    for part in key:
        seed = (seed * 1_000_003 + part + 1) % (2**31)
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=_drawable(dtype))
    if dtype.is_complex:
        return torch.complex(_off_zero(drawn.real), _off_zero(drawn.imag)).to(dtype)
    return _off_zero(drawn).to(dtype)


def _drawable(dtype: torch.dtype) -> torch.dtype:
    return torch.complex64 if dtype.is_complex else torch.float32


def _off_zero(drawn: Tensor) -> Tensor:
    return drawn + torch.where(drawn < 0, -_AWAY_FROM_ZERO, _AWAY_FROM_ZERO)


def copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copy the values."""
    return [one.detach().clone() for one in tensors]


def same(one: Tensor, other: Tensor) -> bool:
    """Tell whether two tensors hold the same values; a NaN that stays is the same."""
    one, other = one.detach(), other.detach()
    return torch.equal(one, other) or bool(((one == other) | ((one != one) & (other != other))).all())  # noqa: PLR0124  # NaN


def all_same(ones: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Tell whether all are the same."""
    return all(same(one, other) for one, other in zip(ones, others, strict=True))


def finite(tensor: Tensor) -> bool:
    """Tell whether no element is NaN or infinite."""
    return bool(torch.isfinite(tensor.detach()).all())


def farthest(one: Tensor, other: Tensor) -> float:
    """Return the largest distance of two elements at the same place."""
    return float((one.detach() - other.detach()).abs().max()) if one.numel() else 0.0


def apart(start: Tensor, one: Tensor, other: Tensor) -> float:
    """Return how far two results of the same start are apart, as a part of the way that they came.

    Differences of a few units in the last place are none.
    """
    one, other, start = one.detach().double(), other.detach().double(), start.detach().double()
    distance = float((one - other).norm())
    if distance <= 16 * torch.finfo(torch.float32).eps * float(one.norm()):
        return 0.0
    way = max(float((one - start).norm()), float((other - start).norm()))
    return distance / way if way else 0.0
