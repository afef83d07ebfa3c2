"""Does it move what it should: parameters, groups, shapes, layouts, dtypes, complex and sparse ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ._property import Property
from ._tensors import Shape, World, apart, copies, finite, same, values, written
from ._verdicts import ViolationError

if TYPE_CHECKING:
    from ._case import Case
    from ._trial import Gradient, Trial

_SHAPES: dict[str, Shape] = {
    "0-dim": (),
    "one element": (1,),
    "empty": (0,),
    "empty matrix": (0, 3),
    "5-D": (2, 1, 2, 1, 2),
}
_TOLERANCE = 0.1  # sums in another order differ by far less, a scrambled layout by far more


def moves(trial: Trial, within: int, gradient: Gradient | None = None) -> int:
    """Step until every parameter that has elements has moved; return the step in which the last one did."""
    still = {place for place, one in enumerate(trial.params) if one.numel()}
    start = copies(trial.params)
    for step in range(1, within + 1):
        trial.step(gradient)
        for place in list(still):
            if not same(trial.params[place], start[place]):
                still.discard(place)
        broken = [place for place, one in enumerate(trial.params) if not finite(one)]
        if broken:
            raise ViolationError(f"{_which(trial, broken)} not finite after step {trial.done}")
        if not still:
            return step
    raise ViolationError(f"{_which(trial, sorted(still))} did not move in {within} steps")


def _which(trial: Trial, places: list[int]) -> str:
    shapes = ", ".join(f"parameter {place} {written(trial.params[place].shape)}" for place in places[:3])
    return shapes if len(places) <= 3 else f"{len(places)} parameters ({shapes}, ...)"  # noqa: PLR2004


def updates(case: Case, world: World) -> str | None:
    """Every parameter with a gradient moves, and goes on moving."""
    trial = case.trial(world)
    first = moves(trial, case.within)
    try:
        moves(trial, case.within)
    except ViolationError as stop:
        raise ViolationError(f"moved by step {first}, then {stop}") from None
    return f"moved first in step {first}" if first > 1 else None


def every_group(case: Case, world: World) -> str | None:
    """Parameters of every group move."""
    trial = case.trial(world)
    sizes = [len(group) for group in world.groups]
    try:
        moves(trial, case.patience)
    except ViolationError as still:
        raise ViolationError(f"of groups of {' and '.join(map(str, sizes))}: {still}") from None
    return None


def every_shape(case: Case, world: World) -> str | None:
    """A parameter of this shape moves, alone and beside an ordinary one."""
    shape, ordinary = _SHAPES[world.choice], world.groups[0][0]
    alone = [] if world.choice.startswith("empty") else [(shape,)]  # nothing but nothing is nobody's case
    for shapes in (*alone, (ordinary, shape), (shape, ordinary)):
        params = [values(one, world.seed, place).requires_grad_() for place, one in enumerate(shapes)]
        moves(case.on(params, seed=world.seed), case.patience)
    return None


_LAYOUTS = ("transposed", "strided", "channels-last", "expanded gradient", "transposed gradient")


def _laid_out(choice: str, seed: int) -> tuple[Tensor, bool]:
    """Return a parameter in an odd layout, and whether it is the gradient that is odd instead."""
    if choice == "transposed":
        return values((2, 3), seed).t(), False
    if choice == "strided":
        return values((4, 3), seed)[::2, :2], False
    if choice == "channels-last":
        return values((2, 3, 2, 2), seed).contiguous(memory_format=torch.channels_last), False
    return values((3, 2), seed), True


def every_layout(case: Case, world: World) -> str | None:
    """A parameter or gradient in an odd layout is trained as its contiguous twin is."""
    odd, by_gradient = _laid_out(world.choice, world.seed)
    twin = values(tuple(odd.shape), 0).copy_(odd).contiguous()
    results, trials, start = [], [], odd.detach().clone()
    for param, is_odd in ((odd, True), (twin, False)):
        trial = case.on([param.detach().requires_grad_()], seed=world.seed)
        trials.append(trial)

        def gradient(step: int, place: int, one: Tensor, trial: Trial = trial, is_odd: bool = is_odd) -> Tensor:  # noqa: FBT001
            drawn = values((3, 1) if by_gradient else tuple(one.shape), trial.seed, step)
            if world.choice == "expanded gradient":
                return drawn.expand(3, 2) if is_odd else drawn.expand(3, 2).contiguous()
            if by_gradient:
                drawn = values((2, 3), trial.seed, step).t()
                return drawn if is_odd else drawn.contiguous()
            return drawn

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
    """Both parts of a complex parameter move."""
    param = values(world.groups[0][0], world.seed, dtype=torch.complex64).requires_grad_()
    start = param.detach().clone()
    trial = case.on([param], seed=world.seed)
    moves(trial, case.patience)
    parts = {"real": (param.detach().real, start.real), "imaginary": (param.detach().imag, start.imag)}
    for name, (now, before) in parts.items():
        if same(now, before):
            raise ViolationError(f"the {name} part did not move")
    return None


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
_ONE = (1, 1)

PROPERTIES = (
    Property(name="updates", judge=updates, examples=12),
    Property(name="updates-every-group", judge=every_group, groups=(2, 3), sizes=(1, 2), examples=10),
    Property(name="updates-every-shape", judge=every_shape, sizes=_ONE, steps=_ONE, choices=tuple(_SHAPES), examples=4),
    Property(name="updates-every-layout", judge=every_layout, sizes=_ONE, steps=_ONE, choices=_LAYOUTS, examples=3),
    Property(
        name="updates-every-dtype",
        judge=every_dtype,
        sizes=_ONE,
        steps=_ONE,
        choices=tuple(_DTYPES),
        examples=3,
        arithmetic=r"not implemented for|half|bfloat16",
    ),
    Property(
        name="updates-complex",
        judge=complex_numbers,
        sizes=_ONE,
        steps=_ONE,
        arithmetic=rf"{_KERNELS}|complex",
    ),
    Property(
        name="updates-sparse",
        judge=sparse,
        sizes=_ONE,
        steps=_ONE,
        arithmetic=rf"{_KERNELS}|sparse",
        unless=lambda case: (
            "it needs second derivatives, which sparse gradients have not" if case.manner.graph else None
        ),
    ),
)
