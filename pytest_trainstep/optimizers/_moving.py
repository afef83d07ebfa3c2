"""Does it move what it should: every parameter in all its elements, every group, every shape."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ._property import ONE, Property
from ._tensors import Shape, World, copies, finite, same, values, written
from ._trial import Trial, leaves
from ._verdicts import ViolationError

if TYPE_CHECKING:
    from ._case import Case
    from ._trial import Gradient

_SHAPES: dict[str, Shape] = {
    "0-dim": (),
    "one element": (1,),
    "empty": (0,),
    "empty matrix": (0, 3),
    "vector": (3,),
    "matrix": (2, 3),
    "3-D": (2, 1, 3),
    "4-D": (2, 3, 2, 1),
    "5-D": (2, 1, 2, 1, 2),
}
_RESOLUTION = 1e-3  # as a part of a value: far more than the resolution of any dtype that is tried this way
_FAINT = 0.01
_PAUSE = 10  # steps after which it must still go on


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
    """Every parameter with a gradient moves, in all its elements, and goes on moving."""
    trial = case.trial(world)
    try:
        first = moves(trial, case.within)
    except ViolationError as still:
        raise ViolationError(f"{still}{_unless_called(case, world)}") from None
    pause = max(case.patience, _PAUSE)
    trial.steps(pause)
    try:
        moves(trial, case.within)
    except ViolationError as stop:
        raise ViolationError(f"moved by step {first}, but from step {first + pause + 1} on {stop}") from None
    if not case.random:
        _in_all_elements(case, world, trial)
    return f"moved first in step {first}" if first > 1 else None


def _unless_called(case: Case, world: World) -> str:
    """Say so where nothing moves only because there is no closure."""
    manner = dataclasses.replace(case.manner, closure=True)
    called = Trial(case.subject, manner, leaves(world), seed=world.seed)
    try:
        moves(called, case.within)
    except Exception:  # noqa: BLE001  # of the optimizer, which is accused already
        return ""
    return ", but did when step was given a closure" if not case.manner.closure else ""


def _in_all_elements(case: Case, world: World, trial: Trial) -> None:
    for place, one in enumerate(trial.params):
        still = [at for at, stood in enumerate(_still(trial, place).flatten().tolist()) if stood]
        stuck = [at for at in still if not any(_stirs(case, world, place, at, sign) for sign in (1, -1))]
        if stuck:
            raise ViolationError(
                f"{len(stuck)} of {one.numel()} elements of {_which(trial, [place])} did not move in"
                f" {len(trial.path)} steps while others did"
            )


def _still(trial: Trial, place: int) -> Tensor:
    """Return which elements stood still all the way, where others moved far beyond the resolution of these."""
    passed = torch.stack([one[place] for one in trial.path])
    start = trial.start[place]
    far = float((passed - start).abs().max()) if start.numel() else 0.0
    return (passed == start).all(0) & (start.abs() * _RESOLUTION < far)


def _stirs(case: Case, world: World, place: int, element: int, sign: int) -> bool:
    """Tell whether an element moves when it has by far the largest gradient, the same in every step.

    So an optimizer that picks elements by size, or waits for two gradients of the same sign, is not accused.
    """
    trial = case.trial(world)

    def gradient(step: int, at: int, param: Tensor) -> Tensor:
        drawn = trial.constant(step, at, param)
        if at == place:
            drawn *= _FAINT
            drawn.view(-1)[element] = sign
        return drawn

    trial.steps(case.within, gradient)
    return not bool(_still(trial, place).flatten()[element])


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


PROPERTIES = (
    Property(name="updates", judge=updates, examples=12),
    Property(name="updates-every-group", judge=every_group, groups=(2, 3), sizes=(1, 2), examples=10),
    Property(name="updates-every-shape", judge=every_shape, sizes=ONE, steps=ONE, choices=tuple(_SHAPES), examples=4),
)
