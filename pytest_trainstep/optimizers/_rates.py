"""What the learning rate does: nothing at zero, something when it changes, an error when it makes no sense."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ._property import ONE, Property
from ._subject import lr_of
from ._tensors import World, all_same, apart, copies, farthest, finite, same
from ._verdicts import ViolationError, words_of

if TYPE_CHECKING:
    from ._case import Case
    from ._trial import Trial

_CHANGED_BY = (3.0, 1 / 3, 1e-3, 1e-6)  # lr may be a limit, which only binds when it is small
_RAISED_BY = (30.0, 1e3)  # or its steps may be no shorter than some length, which lr must exceed
_TOLERANCE = 0.1


def zero_lr(case: Case, world: World) -> str | None:
    """With lr 0 nothing moves, except that weights may be projected."""
    trial = case.trial(world, lr=0.0)
    for step in range(1, case.patience + 2):
        before = copies(trial.params)
        trial.step()
        moved = [place for place, one in enumerate(trial.params) if not same(one, before[place])]
        if moved and case.grows:
            return f"with lr 0 its own step sizes start smaller: {_far(trial, before, moved):.1e} in step {step}"
        if moved and not _projects(case, world):
            far = _far(trial, before, moved)
            raise ViolationError(
                f"with lr 0, {len(moved)} of {len(before)} parameters moved by {far:.1e} in step {step}"
            )
    return None if all_same(trial.params, trial.start) else "weights are projected at lr 0, whatever the gradient"


def _far(trial: Trial, before: list[Tensor], moved: list[int]) -> float:
    return max(farthest(trial.params[place], before[place]) for place in moved)


def _projects(case: Case, world: World) -> bool:
    """Tell a projection or normalisation: the same whatever the gradient, and done with once it is done."""
    ends = []
    for sign in (1.0, -1.0):
        trial = case.trial(world, lr=0.0)

        def gradient(step: int, place: int, param: Tensor, trial: Trial = trial, sign: float = sign) -> Tensor:
            return trial.ordinary(step, place, param) * sign

        once = trial.steps(case.patience, gradient)
        again = trial.steps(case.patience, gradient)
        for one, other in zip(once, again, strict=True):
            if not torch.allclose(one, other, rtol=1e-5, atol=1e-7):
                return False
        ends.append(once)
    return all(torch.allclose(one, other, rtol=1e-5, atol=1e-7) for one, other in zip(*ends, strict=True))


def follows_lr(case: Case, world: World) -> str | None:
    """A changed learning rate changes the steps, however it is changed."""
    if world.choice == "in a tensor":
        _same_as_number(case, world)
    if world.choice == "in the last group":
        world = dataclasses.replace(world, groups=world.groups * 2)
    unchanged, _ = _run(case, world, 1.0)
    lrs: list[tuple[float | None, float | None]] = []  # what it was changed to, and what was found after the steps
    for factor in _CHANGED_BY:
        changed, told = _run(case, world, factor)
        if all(changed.differs(unchanged, place) for place in _last_group(world)):
            _others_keep(case, world, [unchanged, changed])
            return None if factor in _CHANGED_BY[:2] else f"lr is a limit: it changes the steps at {told:g}"
        lrs.append((told, lr_of(changed.optimizer, -1)))
    return _raised(case, world, unchanged) or _explained(case, world, *lrs[0])


def _raised(case: Case, world: World, unchanged: Trial) -> str | None:
    """Tell whether a much larger lr makes a difference, to steps that are finite."""
    for factor in _RAISED_BY:
        changed = None
        with suppress(Exception):  # at a rate that nobody chose
            changed, told = _run(case, world, factor)
        if changed is None or told is None or not all(map(finite, changed.params)):
            continue
        if all(changed.differs(unchanged, place) for place in _last_group(world)):
            _others_keep(case, world, [unchanged, changed])
            return f"its steps have a shortest length: lr changes them from {told:g} on"
    return None


def _run(case: Case, world: World, factor: float) -> tuple[Trial, float | None]:
    """Do steps with lr changed on the way; return the run and what lr was changed to."""
    as_tensor: dict[str, Any] = {"lr": torch.tensor(case.lr)} if world.choice == "in a tensor" else {}
    trial = case.trial(world, **as_tensor)
    if world.choice != "before the first step":
        trial.steps(case.patience)
    if factor != 1:
        _change(trial.optimizer, world, factor)
    told = lr_of(trial.optimizer, -1)
    trial.steps(case.patience)
    return trial, told


def _last_group(world: World) -> range:
    count = sum(map(len, world.groups))
    return range(count - len(world.groups[-1]), count)


def _explained(case: Case, world: World, told: float | None, found: float | None) -> str:
    if found not in (told, case.lr):
        return f"it writes the lr of its groups itself ({told:g} became {found:g})"
    if world.choice != "before the first step" and case.grows:
        return "lr is where its own step sizes start; later changes have no effect"
    raise ViolationError(f"lr changed {world.choice} from {case.lr:g} to {told:g} makes no difference to the steps")


def _others_keep(case: Case, world: World, trials: list[Trial]) -> None:
    kept = not any(trials[0].differs(trials[1], place) for place in range(len(world.groups[0])))
    if world.choice == "in the last group" and not kept and not case.coupled:
        raise ViolationError("lr changed in the last group alone changes the steps of the first")


def _change(optimizer: Any, world: World, factor: float) -> None:
    if world.choice in ("by a scheduler", "in a tensor"):
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: factor if epoch else 1.0)
        schedule.step()
        return
    groups = optimizer.param_groups
    for group in groups[-1:] if world.choice == "in the last group" else groups:
        group["lr"] = group["lr"] * factor


def _same_as_number(case: Case, world: World) -> None:
    lr = torch.tensor(case.lr)
    plain, trial = case.trial(world, lr=case.lr), case.trial(world, lr=lr)
    expected, got = plain.steps(case.patience), trial.steps(case.patience)
    if lr.item() != torch.tensor(case.lr).item():
        raise ViolationError(f"a tensor passed as lr was written: {case.lr:g} became {lr.item():g}")
    for place, start in enumerate(trial.start):
        distance = 0.0 if case.random else apart(start, expected[place], got[place])
        if not distance <= _TOLERANCE:
            raise ViolationError(f"a tensor as lr makes other steps than the number, by {distance:.0%} of the way")


def rejects(case: Case, world: World) -> str | None:
    """A negative learning rate and NaN are refused, at once or in the first step."""
    for bad in (-0.1, float("nan")):
        try:
            case.trial(world, lr=bad).step()
        except Exception as error:  # noqa: BLE001  # any error will do
            if isinstance(error, TypeError) and "unexpected keyword" in str(error):
                return words_of(error)
            continue
        raise ViolationError(f"lr={bad:g} is accepted without a word")
    return None


def _no_lr(case: Case) -> str | None:
    return case.no_lr


def _no_lr_argument(case: Case) -> str | None:
    return None if case.subject.takes_lr else case.no_lr


_CHANGES = ("before the first step", "between steps", "in the last group", "by a scheduler", "in a tensor")

PROPERTIES = (
    Property(name="zero-lr-is-identity", judge=zero_lr, unless=_no_lr, examples=8),
    Property(name="follows-lr", judge=follows_lr, choices=_CHANGES, unless=_no_lr, examples=3),
    Property(name="rejects-bad-hyperparameters", judge=rejects, sizes=ONE, unless=_no_lr_argument, examples=2),
)
