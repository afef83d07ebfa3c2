"""How gradients are treated: missing ones, whole groups without, zeros, and those of other parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ._property import Judge, Property
from ._tensors import World, apart, copies, finite, same, values, written
from ._trial import Gradient, Trial, leaves
from ._verdicts import RefusalError, ViolationError, words_of

if TYPE_CHECKING:
    from ._case import Case

_TOLERANCE = 1e-3
_LARGE = 100.0  # beyond what is usually clipped
_IN_A_ROW = 3  # steps without gradient in which it moves: not the slow copy of a wrapper that comes by now and then


def _or_one_vector(judge: Judge) -> Judge:
    """Let what an optimizer does to parameters together be its nature where it says that it takes one group only."""

    def judged(case: Case, world: World) -> str | None:
        try:
            return judge(case, world)
        except ViolationError as violation:
            if case.one_group is None:
                raise
            raise RefusalError(f"{case.one_group}: {violation}") from None

    return judged


@_or_one_vector
def skips_missing(case: Case, world: World) -> str | None:
    """A parameter without gradient stands still, and the others do not notice."""
    if world.choice == "after some steps":
        return _lost_later(case, world)
    missing = world.seed % len(world.groups[0])
    trial = case.trial(world)
    trial.steps(case.patience, _without(trial, missing))
    if not same(trial.params[missing], trial.start[missing]) and not _settled(trial, missing):
        raise ViolationError(f"parameter {missing} moved although its gradient was None in every step")
    _compare_others(case, world, trial, missing)
    return None


def _without(trial: Trial, missing: int) -> Gradient:
    return lambda step, place, param: None if place == missing else trial.ordinary(step, place, param)


def _settled(trial: Trial, missing: int) -> bool:
    """Tell whether it was put somewhere once (a projection) and stays there."""
    before = trial.params[missing].detach().clone()
    trial.steps(2, _without(trial, missing))
    return torch.allclose(before, trial.params[missing].detach(), rtol=1e-5, atol=1e-7)


def _compare_others(case: Case, world: World, trial: Trial, missing: int) -> None:
    others = [place for place in range(len(trial.params)) if place != missing]
    for place in others:
        if not trial.moved(place):
            raise ViolationError(f"parameter {place} did not move because parameter {missing} has no gradient")
    if case.random:
        return
    alone = case.on([trial.start[place].clone().requires_grad_() for place in others], seed=world.seed)
    end = alone.steps(trial.done, lambda step, place, param: alone.ordinary(step, others[place], param))
    for place, expected in zip(others, end, strict=True):
        if not apart(trial.start[place], trial.params[place], expected) <= _TOLERANCE:
            raise ViolationError(f"parameter {place} moved otherwise because parameter {missing} has no gradient")


def _lost_later(case: Case, world: World) -> str | None:
    missing = world.seed % len(world.groups[0])
    trial = case.trial(world)
    trial.steps(case.patience)
    row = 0
    for _ in range(2 * _IN_A_ROW):
        before = trial.params[missing].detach().clone()
        trial.step(_without(trial, missing))
        row = 0 if same(trial.params[missing], before) else row + 1
        if row == _IN_A_ROW:
            raise ViolationError(f"parameter {missing} moves on in every step although its gradient is None by now")
    return None


def empty_groups(case: Case, world: World) -> str | None:
    """A group without parameters, or without any gradient, changes nothing for the others."""
    shapes = world.groups[0]
    params = [values(shape, world.seed, place).requires_grad_() for place, shape in enumerate(shapes)]
    idle = values(case.shapes[0], world.seed, 77).requires_grad_()
    empty: list[Tensor] = [] if world.choice.endswith("parameters") else [idle]
    order = [*empty, *params] if world.choice.startswith("first") else [*params, *empty]
    sizes = [len(empty), len(params)] if world.choice.startswith("first") else [len(params), len(empty)]
    trial = Trial(case.subject, case.manner, order, groups=sizes, seed=world.seed)
    at = next((place for place, one in enumerate(order) if one is idle), -1)
    trial.steps(case.patience, _without(trial, at))
    for place, one in enumerate(order):
        if one is not idle and not trial.moved(place):
            raise ViolationError(f"a parameter {written(one.shape)} of the {_other(world)} group did not move")
    return None


def _other(world: World) -> str:
    return "second" if world.choice.startswith("first") else "first"


def leaves_gradients_alone(case: Case, world: World) -> str | None:
    """After a step every gradient is what it was, however large."""
    trial = case.trial(world)
    trial.in_place = world.choice == "in the same tensor"
    large = world.choice == "large ones"

    def gradient(step: int, place: int, param: Tensor) -> Tensor:
        return trial.ordinary(step, place, param) * (_LARGE if large else 1.0)

    for step in range(1, world.steps + 2):
        try:
            trial.step(gradient)
        except Exception as error:
            if not large:
                raise
            return f"with gradients {_LARGE:g} times as large it raises {words_of(error)}"
        for place, param in enumerate(trial.params):
            _check_gradient(case, trial, place, gradient(step - 1, place, param))
    return None


def _check_gradient(case: Case, trial: Trial, place: int, expected: Tensor) -> None:
    grad, given = trial.params[place].grad, trial.given[place]
    if grad is None:
        raise ViolationError(f"the gradient of parameter {place} is None after step {trial.done}")
    # One with a graph depends on where the parameter stood.
    if grad is not given or not (case.manner.graph or same(_dense(grad), expected)):
        kept = "; its state holds the gradient itself, not a copy" if trial.in_place else ""
        raise ViolationError(f"the gradient of parameter {place} is another after step {trial.done}{kept}")


def _dense(grad: Tensor) -> Tensor:
    return grad.to_dense() if grad.layout is not torch.strided else grad


_ZEROS: dict[str, Callable[[int, Tensor], Tensor]] = {
    "zero from the start": lambda _, drawn: drawn * 0,
    "zero after a step": lambda step, drawn: drawn * 0 if step else drawn,
    "zero in places": lambda _, drawn: drawn * _comb(drawn),
    "zero weights too": lambda _, drawn: drawn * 0,
}


def _comb(like: Tensor) -> Tensor:
    mask = torch.ones(like.numel())
    mask[::2] = 0
    return mask.view(like.shape)


def finite_on_zero(case: Case, world: World) -> str | None:
    """Zero gradients make no NaN and no infinity."""
    params = leaves(world)
    if world.choice == "zero weights too":
        params = [torch.zeros_like(one, requires_grad=True) for one in params]
    trial = case.on(params, seed=world.seed)
    make = _ZEROS[world.choice]
    for step in range(1, case.patience + 1):
        trial.step(lambda step, place, param: make(step, trial.ordinary(step, place, param)))
        broken = [place for place, one in enumerate(trial.params) if not finite(one)]
        if broken:
            raise ViolationError(f"parameter {broken[0]} is not finite after step {step}")
    return None


@_or_one_vector
def independent(case: Case, world: World) -> str | None:
    """A parameter is trained as if it were alone."""
    count = len(world.groups[0])
    chosen = world.seed % count
    start = copies(leaves(world))
    together, beside_zeros = case.trial(world), case.trial(world)
    alone = case.on([start[chosen].clone().requires_grad_()], seed=world.seed)
    one = together.steps(case.patience)[chosen]
    two = alone.steps(case.patience, lambda step, _, param: alone.ordinary(step, chosen, param))[0]
    distance = apart(start[chosen], one, two)
    if distance <= _TOLERANCE:
        return None
    zeros = beside_zeros.steps(
        case.patience,
        lambda step, place, param: beside_zeros.ordinary(step, place, param) * (1.0 if place == chosen else 0.0),
    )[chosen]
    by_presence = not apart(start[chosen], zeros, two) <= _TOLERANCE
    how = "even if these have zero gradients" if by_presence else "through their gradients"
    raise ViolationError(
        f"parameter {chosen} moves otherwise when others are present, {how}: {distance:.0%} of its way apart"
    )


def _random(case: Case) -> str | None:
    return "its steps are random, so runs with and without other parameters cannot be compared" if case.random else None


PROPERTIES = (
    Property(
        name="skips-missing-gradients",
        judge=skips_missing,
        sizes=(2, 3),
        choices=("from the start", "after some steps"),
        examples=8,
    ),
    Property(
        name="tolerates-empty-groups",
        judge=empty_groups,
        sizes=(1, 2),
        choices=(
            "first group without parameters",
            "last group without parameters",
            "first group without gradients",
            "last group without gradients",
        ),
        examples=3,
    ),
    Property(
        name="leaves-gradients-alone",
        judge=leaves_gradients_alone,
        choices=("ordinary ones", "large ones", "in the same tensor"),
        examples=4,
    ),
    Property(name="finite-on-zero-gradient", judge=finite_on_zero, choices=tuple(_ZEROS), examples=4),
    Property(name="parameters-independent", judge=independent, sizes=(2, 3), examples=12, unless=_random),
)
