"""Does it move what is not a plain contiguous float32 tensor: layouts, dtypes, complex numbers, sparse gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ._moving import moves
from ._property import ONE, Property
from ._tensors import World, apart, finite, same, values
from ._verdicts import ViolationError

if TYPE_CHECKING:
    from ._case import Case
    from ._trial import Trial

_TOLERANCE = 0.1  # sums in another order differ by far less, a scrambled layout by far more
_LAYOUTS = ("transposed", "strided", "channels-last", "expanded gradient", "transposed gradient")


def _laid_out(choice: str, seed: int) -> Tensor:
    if choice == "transposed":
        return values((2, 3), seed).t()
    if choice == "strided":
        return values((4, 3), seed)[::2, :2]
    if choice == "channels-last":
        return values((2, 3, 2, 2), seed).contiguous(memory_format=torch.channels_last)
    return values((3, 2), seed)  # and its gradient is odd


def _gradient_for(choice: str, param: Tensor, seed: int, step: int) -> Tensor:
    if choice == "expanded gradient":
        return values((3, 1), seed, step).expand(3, 2)
    if choice == "transposed gradient":
        return values((2, 3), seed, step).t()
    return torch.empty_like(param).copy_(values(tuple(param.shape), seed, step))  # as backward() lays it out


def every_layout(case: Case, world: World) -> str | None:
    """A parameter or gradient in an odd layout is trained as its contiguous twin is."""
    odd = _laid_out(world.choice, world.seed)
    twin = values(tuple(odd.shape), 0).copy_(odd).contiguous()
    results, trials, start = [], [], odd.detach().clone()
    for param, is_odd in ((odd, True), (twin, False)):
        trial = case.on([param.detach().requires_grad_()], seed=world.seed)
        trials.append(trial)

        def gradient(step: int, place: int, one: Tensor, trial: Trial = trial, is_odd: bool = is_odd) -> Tensor:  # noqa: FBT001
            drawn = _gradient_for(world.choice, one, trial.seed, step)
            return drawn if is_odd else drawn.contiguous()

        results.append(trial.steps(case.patience, gradient)[0])
    if trials[1].moved(0) and not trials[0].moved(0):
        raise ViolationError(f"{world.choice}: did not move in {case.patience} steps; its contiguous twin did")
    distance = 0.0 if case.random else apart(start, *results)
    if not distance <= _TOLERANCE:
        raise ViolationError(f"{world.choice}: moved otherwise than its contiguous twin, by {distance:.0%} of the way")
    return None


_DTYPES = {"float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}


def every_dtype(case: Case, world: World) -> str | None:
    """A parameter of this dtype moves: at the default lr, or at a larger one that its resolution allows."""
    dtype = _DTYPES[world.choice]
    shape = (4, 4) if len(case.shapes[0]) > 1 else (8,)
    scale = torch.logspace(0, -4, 4).repeat(torch.Size(shape).numel() // 4).view(shape)
    factors = (1,) if case.no_lr else (1, 10, 100, 1000)
    stop: ViolationError | None = None
    for factor in factors:
        param = (values(shape, world.seed) * scale).to(dtype).requires_grad_()
        overrides = {} if factor == 1 else {"lr": (case.lr or 1.0) * factor}
        try:
            moves(case.on([param], seed=world.seed, **overrides), case.patience)
        except ViolationError as error:
            if dtype is torch.float16 and not finite(param):
                return "float16: its arithmetic overflows"
            stop = error
            continue
        return None if factor == 1 else f"{world.choice} moves only from lr {(case.lr or 1.0) * factor:g} on"
    raise ViolationError(f"{world.choice}: {stop}") from None


def complex_numbers(case: Case, world: World) -> str | None:
    """Both parts of a complex parameter move, and not away from where the gradient leads."""
    param = values(world.groups[0][0], world.seed, dtype=torch.complex64).requires_grad_()
    start = param.detach().clone()
    trial = case.on([param], seed=world.seed)
    moves(trial, case.patience)
    parts = {"real": (param.detach().real, start.real), "imaginary": (param.detach().imag, start.imag)}
    for name, (now, before) in parts.items():
        if same(now, before):
            raise ViolationError(f"the {name} part did not move")
    for name, (_, before) in parts.items():
        if _uphill(case, start, name) and not _uphill(case, before, "real"):
            raise ViolationError(f"the {name} part moves uphill: along its gradient, not against it")
    return None


def _uphill(case: Case, start: Tensor, part: str) -> bool:
    """Tell whether a part moves along a gradient that is the same in every step, whatever the sign of that.

    A projection leads uphill on one side only, and what maximizes or has not found its way yet does so with a real
    parameter too.
    """
    for sign in (1, -1):
        trial = case.on([start.clone().requires_grad_()])
        trial.steps(case.patience, lambda step, place, param: trial.constant(step, place, param) * sign)  # noqa: B023
        way, slope = trial.params[0].detach() - start, trial.ordinary(0, 0, start) * sign
        if part == "imaginary":
            way, slope = way.imag, slope.imag
        if not (way.real * slope.real > 0).all():
            return False
    return True


def sparse(case: Case, world: World) -> str | None:
    """Rows with a sparse gradient move, and duplicate entries add up."""
    touched = torch.tensor([[0, 2, 2]])
    results = []
    first: Trial | None = None
    start = values((4, 2), world.seed)
    for coalesced in (False, True):
        trial = case.on([start.clone().requires_grad_()], seed=world.seed)

        def gradient(step: int, place: int, param: Tensor, coalesced: bool = coalesced) -> Tensor:  # noqa: FBT001
            entries = values((3, 2), world.seed, step)
            drawn = torch.sparse_coo_tensor(touched, entries, (4, 2), check_invariants=True)
            return drawn.coalesce() if coalesced else drawn

        results.append(trial.steps(case.patience, gradient)[0])
        first = first or trial
    assert first is not None
    for row in (0, 2):
        if all(same(passed[0][row], start[row]) for passed in first.path):
            raise ViolationError(f"row {row} did not move in {case.patience} steps")
    distance = 0.0 if case.random else apart(start, *results)
    if not distance <= _TOLERANCE:
        raise ViolationError(
            f"two gradient entries for the same row do not add up: {distance:.0%} off the sum of the two"
        )
    return None


_KERNELS = r"not implemented for|not supported|unsupported|does not support"

PROPERTIES = (
    Property(
        name="updates-every-layout",
        judge=every_layout,
        sizes=ONE,
        steps=ONE,
        choices=_LAYOUTS,
        examples=3,
        arithmetic=r"more than one element of the written-to tensor",  # it writes into the gradient, and puts it back
    ),
    Property(
        name="updates-every-dtype",
        judge=every_dtype,
        sizes=ONE,
        steps=ONE,
        choices=tuple(_DTYPES),
        examples=3,
        arithmetic=r"not implemented for|half|bfloat16",
    ),
    Property(
        name="updates-complex",
        judge=complex_numbers,
        sizes=ONE,
        steps=ONE,
        arithmetic=rf"{_KERNELS}|complex",
    ),
    Property(
        name="updates-sparse",
        judge=sparse,
        sizes=ONE,
        steps=ONE,
        arithmetic=rf"{_KERNELS}|sparse",
        unless=lambda case: (
            "it needs second derivatives, which sparse gradients have not" if case.manner.graph else None
        ),
    ),
)
